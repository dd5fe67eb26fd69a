"""The one contract: a denoiser maps (x, level, condition) to a prediction, and every method wraps a denoiser."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from scenewright.attention import Layer
from scenewright.condition import Condition, Parent, Rows, Text, concatenate
from scenewright.scene import Scene
from scenewright.schedule import Level, Schedule

if TYPE_CHECKING:
    from scenewright.lint import ModelFacts

__all__ = [
    "Classifier", "Condition", "Denoise", "During", "Guidance", "Model", "Parent", "Prediction", "Progress", "Rows",
    "Text", "concatenate",
]  # fmt: skip


class Prediction(NamedTuple):
    """What a denoiser says of x_t = alpha * x0 + sigma * eps; all tensors (N, C, h, w).

    `nudge` is added to x after the step (ZestGuide moves x_{t-1} along a gradient taken at x_t). `eta`, when set, is
    the stochasticity that a guidance asks of this one step.
    """

    x0: Tensor
    eps: Tensor
    nudge: Tensor | None = None
    eta: float | None = None


class Denoise(Protocol):
    """x (N, C, h, w) at `level` -> prediction for each row of `condition`."""

    def __call__(self, x: Tensor, level: Level, condition: Condition) -> Prediction: ...


class Guidance(Protocol):
    """Wraps a denoiser: calls it as often as it likes, with whatever condition it likes."""

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction: ...


@dataclass(frozen=True)
class During:
    """Apply `guidance` while start <= progress < stop (fractions of the run), or for the first `steps` steps if that
    is given.
    """

    guidance: Guidance
    start: float = 0.0
    stop: float = 1.0
    steps: int | None = None

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        inside = self.start <= level.progress < self.stop if self.steps is None else level.index < self.steps
        return self.guidance(denoise, x, level, condition) if inside else denoise(x, level, condition)


class Classifier(Protocol):
    """Names a class for every pixel, differentiably."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) in [-1, 1] -> logits (N, classes, H, W)."""
        ...

    def class_id(self, text: str) -> int | None:
        """The class that a text names, if there is one."""
        ...


class Model(Protocol):
    """A backbone: text and pictures in, predictions and pictures out."""

    @property
    def schedule(self) -> Schedule:
        """The levels it was trained on."""
        ...

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Its cross-attention layers in the order they run; empty when it has none that can be read."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Native picture height and width in pixels."""
        ...

    def encode(self, scene: Scene, negative: str = "", size: tuple[int, int] | None = None) -> Condition:
        """Encode one scene for pictures of `size` (default: the native one); raises UserError when a segment has no
        token.
        """
        ...

    def prompts(self, texts: Sequence[str]) -> Text:
        """Whole prompts, one row each."""
        ...

    def words(self, words: Sequence[str]) -> list[Tensor]:
        """For each word or phrase encoded alone, the states (tokens, D) of its own tokens."""
        ...

    def noise(self, seeds: Sequence[int | torch.Generator], size: tuple[int, int] | None = None) -> Tensor:
        """Standard normal latents (N, C, h, w), each row drawn on the CPU from its own seed or generator."""
        ...

    def denoise(self, x: Tensor, level: Level, condition: Condition) -> Prediction:
        """One call of the network."""
        ...

    def spatial(self, weights: str, x: Tensor, level: Level, condition: Condition) -> Prediction:
        """One call of the SpaText network `weights` (a name or folder), which sees the segments too; raises UserError
        if there is none for this model.
        """
        ...

    def decode(self, latents: Tensor) -> np.ndarray:
        """Latents (N, C, h, w) -> pictures uint8 (N, H, W, 3)."""
        ...

    def pixels(self, latents: Tensor) -> Tensor:
        """Latents (N, C, h, w) -> pictures (N, 3, H, W), about [-1, 1]; unlike `decode` it lets gradients pass."""
        ...

    def classifier(self, source: str) -> "Classifier":
        """A segmentation network to be guided by, by name, folder or hub id; raises UserError if there is none."""
        ...

    def encode_image(self, images: np.ndarray) -> Tensor:
        """Pictures uint8 (N, H, W, 3) -> latents (N, C, h, w), the mode of the encoder's distribution."""
        ...

    def facts(self) -> "ModelFacts":
        """What lint has to know."""
        ...

    def identity(self) -> Mapping[str, str]:
        """Name, sha256 of the weights, family and dtype, for the record."""
        ...


Progress = Callable[[int, int], None]
