"""What a model says when it is asked for something that only Stable Diffusion's kind can do."""

from typing import NoReturn

from torch import Tensor

from scenewright.denoiser import Condition
from scenewright.errors import UserError
from scenewright.schedule import Level


class Unable:
    """A model that no classifier can guide and no SpaText has grown out of."""

    def pixels(self, latents: Tensor) -> Tensor:
        """Gradients do not pass from pictures: raises UserError."""
        raise UserError("gradients do not pass through this model's pictures; use another method.")

    def classifier(self, source: str) -> NoReturn:
        """There is none: raises UserError."""
        raise UserError(f"the classifier '{source}' cannot guide this model; use another method.")

    def spatial(self, weights: str, x: Tensor, level: Level, condition: Condition) -> NoReturn:
        """There is none: raises UserError."""
        raise UserError("this model has no SpaText network; use another method.")
