"""Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598, eq. 6)."""

from dataclasses import dataclass

from torch import Tensor, cat

from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.guidance.gradient import check_range
from scenewright.schedule import Level


@dataclass(frozen=True)
class ClassifierFree:
    """prediction = empty + scale * (conditional - empty), both halves in one call; scale 1 makes the empty call
    needless.

    The paper's w is scale - 1; this is the convention of diffusers. Wrap it around the methods that need the
    conditional half.
    """

    scale: float = 4.0

    def __post_init__(self) -> None:
        check_range("scale", self.scale, 0)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        if self.scale == 1:
            return denoise(x, level, condition)
        both = denoise(cat([x, x]), level, condition.halves)
        rows = len(condition)
        x0, eps = (half[rows:] + self.scale * (half[:rows] - half[rows:]) for half in (both.x0, both.eps))
        return Prediction(x0, eps, None if both.nudge is None else both.nudge[:rows], both.eta)
