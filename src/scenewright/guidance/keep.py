"""Holding part of a picture fixed while the rest is drawn (RePaint's replacement, Lugmayr et al. 2022, on x0)."""

from dataclasses import dataclass

from torch import Tensor

from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.errors import UserError
from scenewright.schedule import Level


@dataclass(frozen=True, eq=False)
class Keep:
    """Where `free` (h, w) is 0 the clean latents are `latents` (N, C, h, w), where it is 1 they are the model's.

    Put it outermost. In between the two are mixed. The result outside is exact at a clean last level.
    """

    latents: Tensor
    free: Tensor

    def __post_init__(self) -> None:
        if self.free.shape != self.latents.shape[-2:]:
            raise UserError(
                f"a mask of {tuple(self.free.shape)} cells does not fit latents of {tuple(self.latents.shape[-2:])}; "
                "resize one of them."
            )

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        prediction = denoise(x, level, condition)
        free, latents = self.free.to(x), self.latents.to(x)
        x0 = free * prediction.x0 + (1 - free) * latents
        eps = (x - level.alpha * x0) / level.sigma
        return prediction._replace(x0=x0, eps=eps, nudge=None if prediction.nudge is None else free * prediction.nudge)
