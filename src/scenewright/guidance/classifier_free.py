"""Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598, eq. 6)."""

from dataclasses import dataclass, replace

from torch import Tensor, cat

from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.guidance.gradient import check_range
from scenewright.schedule import Level


@dataclass(frozen=True)
class ClassifierFree:
    """prediction = empty + scale * (conditional - empty), both halves in one call; scale 1 makes the empty call
    needless.

    The paper's w is scale - 1; this is the convention of diffusers. Wrap it around the methods that need the
    conditional half. `distilled` is the strength told to a network that was distilled with its guidance (Flux dev;
    None: the model's own, 3.5), which needs no second half: leave `scale` at 1 there.
    """

    scale: float = 4.0
    distilled: float | None = None

    def __post_init__(self) -> None:
        check_range("scale", self.scale, 0)
        if self.distilled is not None:
            check_range("distilled", self.distilled, 0)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        condition = self._told(condition)
        if self.scale == 1:
            return denoise(x, level, condition)
        both = denoise(cat([x, x]), level, condition.halves)
        rows = len(condition)
        x0, eps = (half[rows:] + self.scale * (half[:rows] - half[rows:]) for half in (both.x0, both.eps))
        return Prediction(x0, eps, None if both.nudge is None else both.nudge[:rows], both.eta)

    def _told(self, condition: Condition) -> Condition:
        """The condition with the strength to tell: one object for the whole run, so that what it prepared is kept."""
        if self.distilled is None:
            return condition
        told = condition.once(
            ("distilled", self.distilled), condition.text, lambda: replace(condition, distilled=self.distilled)
        )
        return told if told.taps is condition.taps else replace(told, taps=condition.taps)
