"""The one contract: a denoiser maps (x, level, condition) to a prediction, and every method wraps a denoiser."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scenewright.attention import Layer, Taps
from scenewright.scene import Scene
from scenewright.schedule import Level, Schedule

if TYPE_CHECKING:
    from scenewright.lint import ModelFacts


class Prediction(NamedTuple):
    """What a denoiser says of x_t = alpha * x0 + sigma * eps; all tensors (N, C, h, w).

    `nudge` is added to x after the step (ZestGuide moves x_{t-1} along a gradient taken at x_t). `eta`, when set, is
    the stochasticity that a guidance asks of this one step.
    """

    x0: Tensor
    eps: Tensor
    nudge: Tensor | None = None
    eta: float | None = None


@dataclass(frozen=True, eq=False)
class Parent:
    """A map that rows are drawn under: `latents` (N, C, h, w) at `level`, clean or still being drawn itself.

    `picture` (N, 3, H, W) in [-1, 1] is the map in pixels, known only when it is clean.
    """

    latents: Tensor
    level: Level
    picture: Tensor | None = None

    def rows(self, index: Sequence[int]) -> "Parent":
        """Some rows, in the order of `index`."""
        chosen = list(index)
        return Parent(self.latents[chosen], self.level, None if self.picture is None else self.picture[chosen])


@dataclass(frozen=True, eq=False)
class Condition:
    """N scenes encoded for one model, one row per picture. Segments are padded to K per row; padding is not `present`.

    Shapes: `text` and `empty` (N, T, D) are the prompt's and the negative prompt's states; `groups` (N, K, T) holds 1
    where a token belongs to a segment's phrase; `masks` (N, K, H, W) in [0, 1]; `strengths` and `present` (N, K);
    `noise` (N, C, h, w) is the noise the run began with. `pictures` tells which picture of the batch each row draws.
    `prompts` is the text really encoded and `appended` the phrases added to the caption because it did not contain
    them. `parents` are the maps a factor is drawn under, by name; they stay when the text is taken away. `cache` is
    shared by all conditions made from one encoding.
    """

    model: "Model"
    text: Tensor
    empty: Tensor
    groups: Tensor
    masks: Tensor
    strengths: Tensor
    present: Tensor
    texts: tuple[tuple[str, ...], ...]
    prompts: tuple[str, ...]
    appended: tuple[tuple[str, ...], ...]
    pictures: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0,)
    noise: Tensor | None = None
    taps: Taps | None = None
    parents: Mapping[str, Parent] = field(default_factory=dict)
    cache: dict[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.text)

    def tapped(self, taps: Taps) -> "Condition":
        """The same condition whose next call records and edits what `taps` says."""
        return replace(self, taps=taps)

    def begun(self, noise: Tensor, seeds: Sequence[int]) -> "Condition":
        """The same condition, knowing the noise its run starts from and the seed of each row."""
        return replace(self, noise=noise, seeds=tuple(seeds), pictures=tuple(range(len(self))))

    def under(self, parents: Mapping[str, Parent]) -> "Condition":
        """The same condition under these maps, a row each."""
        return replace(self, parents=parents)

    def rows(self, index: Sequence[int]) -> "Condition":
        """Some rows, in the order of `index`; a row may be repeated."""
        chosen = list(index)
        tensors = {name: getattr(self, name)[chosen] for name in _TENSORS}
        tuples = {name: tuple(getattr(self, name)[i] for i in chosen) for name in _TUPLES}
        parents = {name: parent.rows(chosen) for name, parent in self.parents.items()}
        noise = None if self.noise is None else self.noise[chosen]
        return replace(self, **tensors, **tuples, parents=parents, noise=noise)

    def prompted(self, text: Tensor, prompts: Sequence[str]) -> "Condition":
        """The same rows with other text states (N, T, D) and no segments."""
        count = len(self)
        return replace(
            self,
            text=text,
            prompts=tuple(prompts),
            groups=self.groups[:, :0],
            masks=self.masks[:, :0],
            strengths=self.strengths[:, :0],
            present=self.present[:, :0],
            texts=((),) * count,
            appended=((),) * count,
        )

    def unconditional(self) -> "Condition":
        """The negative prompt of each row, with no segments."""
        return self.prompted(self.empty, ("",) * len(self))

    @cached_property
    def halves(self) -> "Condition":
        """Conditional rows followed by unconditional ones, 2N rows: the two halves of classifier-free guidance in one
        call.
        """
        return concatenate([self, self.unconditional()])

    @cached_property
    def parts(self) -> "tuple[Rows, Rows]":
        """Rows that have segments, and rows that have none."""
        has = self.present.any(1).tolist() if self.present.shape[1] else [False] * len(self)
        withs = [i for i, some in enumerate(has) if some]
        others = [i for i, some in enumerate(has) if not some]
        return Rows(withs, self.rows(withs)), Rows(others, self.rows(others))

    def masks_at(self, grid: tuple[int, int]) -> Tensor:
        """Masks (N, K, rows, columns) as the covered share of each cell; computed once per grid."""

        def resize() -> Tensor:
            if not self.masks.shape[1]:
                return self.masks.new_zeros(*self.masks.shape[:2], *grid)
            return F.adaptive_avg_pool2d(self.masks, grid)

        return self.once(("masks", grid), self.masks, resize)

    def once(self, key: Hashable, source: Tensor, compute: Callable[[], Any]) -> Any:
        """The value of `compute`, kept for as long as `key` is asked of the same `source` tensor.

        Copies of a condition share their tensors and their cache, so a value survives the copies made at every step.
        """
        stored = self.cache.get((key, id(source)))
        if stored is None:  # the source is kept with the value, so that its id cannot be given to another tensor
            stored = self.cache[key, id(source)] = (source, compute())
        return stored[1]


class Rows(NamedTuple):
    """Part of a condition: which rows, and their condition."""

    numbers: list[int]
    condition: Condition


_TENSORS = ("text", "empty", "groups", "masks", "strengths", "present")
_TUPLES = ("texts", "prompts", "appended", "pictures", "seeds")


def concatenate(conditions: Sequence[Condition]) -> Condition:
    """Stack conditions of one model row by row; masks must have one size and maps one level. The first one's taps and
    cache are kept.
    """
    most = max(condition.present.shape[1] for condition in conditions)

    def stack(name: str) -> Tensor:
        values = [getattr(condition, name) for condition in conditions]
        return torch.cat(values if name in ("text", "empty") else [_padded(value, most) for value in values])

    noises = [condition.noise for condition in conditions if condition.noise is not None]
    return replace(
        conditions[0],
        **{name: stack(name) for name in _TENSORS},
        **{name: sum((getattr(condition, name) for condition in conditions), ()) for name in _TUPLES},
        noise=torch.cat(noises) if len(noises) == len(conditions) else None,
        parents={name: _stacked([c.parents[name] for c in conditions]) for name in conditions[0].parents},
    )


def _stacked(parents: Sequence[Parent]) -> Parent:
    pictures = [parent.picture for parent in parents if parent.picture is not None]
    whole = torch.cat(pictures) if len(pictures) == len(parents) else None
    return Parent(torch.cat([parent.latents for parent in parents]), parents[0].level, whole)


def _padded(value: Tensor, length: int) -> Tensor:
    """Grow axis 1 to `length` with zeros (false)."""
    return F.pad(value, (0, 0) * (value.ndim - 2) + (0, length - value.shape[1]))


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

    def prompts(self, texts: Sequence[str]) -> Tensor:
        """States (len(texts), T, D) of whole prompts."""
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

    def decode(self, latents: Tensor) -> np.ndarray:
        """Latents (N, C, h, w) -> pictures uint8 (N, H, W, 3)."""
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
