"""SpaText (Avrahami et al., CVPR 2023, arXiv 2211.14305): guidance by a network that was trained to see segments."""

from dataclasses import dataclass, replace

from torch import Tensor

from scenewright.denoiser import Condition, Denoise, Prediction, Text, concatenate
from scenewright.families import refuse
from scenewright.guidance.gradient import check_range
from scenewright.schedule import Level


@dataclass(frozen=True)
class SpaText:
    """Asks the model's SpaText network in place of the model itself: put it innermost.

    With classifier-free guidance around it, caption and segments go as one condition (ibid., the fast variant: one
    scale). `weights` is a name or folder; the model must be the one that they grew out of.
    """

    weights: str = "embedded"

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        if self.weights == "embedded":  # other weights may belong to any model
            refuse("spatext", condition.model.facts().refused)
        return condition.model.spatial(self.weights, x, level, condition)


@dataclass(frozen=True)
class MultiScale:
    """A scale each for the caption and the map of segments (ibid., eq. 5): e = e(0) + s_text (e(text) - e(0)) + s_map
    (e(map) - e(0)), three calls in one batch. Scales are at least 0; of 3, as of classifier-free guidance.
    """

    text_scale: float = 3.0
    map_scale: float = 3.0

    def __post_init__(self) -> None:
        check_range("text_scale", self.text_scale, 0)
        check_range("map_scale", self.map_scale, 0)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        count = len(condition)
        three = condition.once("scales", condition.text, lambda: _parted(condition))
        answer = denoise(x.repeat(3, 1, 1, 1), level, three)
        parts = zip(answer.x0.split(count), answer.eps.split(count), strict=True)
        (map_x0, map_eps), (text_x0, text_eps), (x0, eps) = parts
        x0 = x0 + self.text_scale * (text_x0 - x0) + self.map_scale * (map_x0 - x0)
        eps = eps + self.text_scale * (text_eps - eps) + self.map_scale * (map_eps - eps)
        return Prediction(x0, eps)


def _parted(condition: Condition) -> Condition:
    """The segments alone, the caption alone, and neither: 3N rows."""
    text = condition.prompted(Text(condition.text, condition.pooled), condition.prompts)
    segments = replace(condition, text=condition.empty, pooled=condition.pooled_empty, prompts=("",) * len(condition))
    return concatenate([segments, text, condition.unconditional()])
