"""External-classifier guidance: a segmentation network looks at the picture that is predicted, and its opinion is
descended (Dhariwal & Nichol 2021, arXiv 2105.05233, section 4, with a segmenter in the classifier's place; the rival of
ZestGuide's paper).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from scenewright.attention import Taps
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.guidance.gradient import Descend
from scenewright.schedule import Level


@dataclass(frozen=True)
class Classified:
    """Energy: mean over the conditioned pixels of the cross-entropy between what a segmentation network sees in the
    decoded x0 and the class that the segment there asks for.

    Where segments overlap each counts with its mask and strength; texts that name none of the network's classes do
    not count. The gradient goes through network, decoder and denoiser.
    """

    network: str = "embedded"
    layers: str = ""
    absent: tuple[str, ...] = ()

    def __call__(self, prediction: Prediction, taps: Taps, condition: Condition) -> Tensor:
        """Energy (N,)."""
        model = condition.model
        classify = model.classifier(self.network)
        seen = classify(model.pixels(prediction.x0)).log_softmax(1)  # (N, classes, H, W)
        ids = [[classify.class_id(text) for text in row] for row in condition.texts]
        shares = torch.zeros_like(seen)
        masks = condition.masks * (condition.present * condition.strengths)[..., None, None]
        for row, own in enumerate(ids):
            for segment, index in enumerate(own):
                if index is not None:
                    shares[row, index] += masks[row, segment].to(seen)
        return -(shares * seen).sum((1, 2, 3)) / shares.sum((1, 2, 3)).clamp_min(1)


@dataclass(frozen=True)
class ExternalClassifier:
    """`Classified` descended by ZestGuide's rule, so that the two differ in the energy alone.

    `network` is a classifier by name, folder or hub id; "embedded" is one of the reference world, trained for this and
    never a judge.
    """

    eta: float = 1.0
    decay: str = "sigma"
    ddim_eta: float | None = None
    network: str = "embedded"

    def __post_init__(self) -> None:
        _ = self.descent  # checks every field now, where the user's value enters

    @cached_property
    def descent(self) -> Descend:
        """The guidance that does the work."""
        return Descend(((Classified(self.network), 1.0),), self.eta, self.decay, self.ddim_eta)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        return self.descent(denoise, x, level, condition)
