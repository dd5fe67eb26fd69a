"""GLIGEN (Li et al., CVPR 2023, arXiv 2301.07093): the network itself was trained to draw phrases in boxes."""

from dataclasses import dataclass

from torch import Tensor

from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.errors import UserError
from scenewright.families import refuse
from scenewright.guidance.gradient import check_range, interleave
from scenewright.schedule import Level


@dataclass(frozen=True)
class Gligen:
    """Tells the model the box around each segment and its phrase, in the first `fraction` of the run (the paper's
    scheduled sampling, its tau; 0.3 is the default of diffusers).

    Put it outermost: what is inside sees the grounded network, the energies of BoxDiff and Attention Refocusing too.
    Classifier-free guidance gives the empty prompt no boxes. Rows without segments are left alone. Raises UserError on
    a model without grounding layers.
    """

    fraction: float = 0.3

    def __post_init__(self) -> None:
        check_range("fraction", self.fraction, 0, 1)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        facts = condition.model.facts()
        refuse("gligen", facts.refused)
        if "gligen" not in facts.guidance:
            raise UserError("this model was not trained to take boxes; use a GLIGEN pipeline or another method.")
        withs, others = condition.parts
        # diffusers rounds the number of grounded steps down.
        if not withs.numbers or level.index >= int(self.fraction * level.count):
            return denoise(x, level, condition)
        prediction = denoise(x[withs.numbers], level, withs.condition.grounded)
        if not others.numbers:
            return prediction
        plain = denoise(x[others.numbers], level, others.condition)
        return interleave(withs.numbers, prediction, others.numbers, plain)
