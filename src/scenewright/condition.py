"""What a denoiser is told: scenes encoded for one model, a row each."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from scenewright.attention import Taps
from scenewright.schedule import Level

if TYPE_CHECKING:
    from scenewright.denoiser import Model


class Text(NamedTuple):
    """Prompts as one model encodes them: `states` (N, T, D) of their tokens and, where the family has one, the `pooled`
    vector (N, P) of each whole prompt.
    """

    states: Tensor
    pooled: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Text":
        """The same change to both."""
        return Text(change(self.states), None if self.pooled is None else change(self.pooled))


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

    Shapes: `text` and `empty` (N, T, D) are the prompt's and the negative prompt's states, `pooled` and `pooled_empty`
    (N, P) their pooled vectors where the family has them; `groups` (N, K, T) holds 1 where a token belongs to a
    segment's phrase; `masks` (N, K, H, W) in [0, 1]; `strengths` and `present` (N, K); `noise` (N, C, h, w) is the
    noise the run began with. `pictures` tells which picture of the batch each row draws. `prompts` is the text really
    encoded and `appended` the phrases added to the caption because it did not contain them. `distilled` is the
    strength told to a guidance-distilled network (None: the model's own). With `grounding` the model itself is told
    where each segment's box is and what its phrase says; only models trained for that (GLIGEN) know what to do with
    it. `parents` are the maps a factor is drawn under, by name; they stay when the text is taken away. `cache` is
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
    pooled: Tensor | None = None
    pooled_empty: Tensor | None = None
    shown: Tensor | None = None
    shown_empty: Tensor | None = None
    distilled: float | None = None
    taps: Taps | None = None
    grounding: bool = False
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
        options = {name: None if (own := getattr(self, name)) is None else own[chosen] for name in _OPTIONAL}
        tuples = {name: tuple(getattr(self, name)[i] for i in chosen) for name in _TUPLES}
        parents = {name: parent.rows(chosen) for name, parent in self.parents.items()}
        return replace(self, **tensors, **options, **tuples, parents=parents)

    def prompted(self, text: Text, prompts: Sequence[str]) -> "Condition":
        """The same rows with another text and no segments."""
        count = len(self)
        return replace(
            self,
            text=text.states,
            pooled=text.pooled,
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
        negative = self.prompted(Text(self.empty, self.pooled_empty), ("",) * len(self))
        return replace(negative, shown=self.shown_empty)

    @cached_property
    def grounded(self) -> "Condition":
        """The same condition with `grounding`."""
        return replace(self, grounding=True)

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
_OPTIONAL = ("noise", "pooled", "pooled_empty", "shown", "shown_empty")
_TUPLES = ("texts", "prompts", "appended", "pictures", "seeds")


def concatenate(conditions: Sequence[Condition]) -> Condition:
    """Stack conditions of one model row by row; masks must have one size and maps one level. The first one's taps and
    cache are kept.
    """
    most = max(condition.present.shape[1] for condition in conditions)

    def stack(name: str) -> Tensor:
        values = [getattr(condition, name) for condition in conditions]
        return torch.cat(values if name in ("text", "empty") else [_padded(value, most) for value in values])

    def joined(name: str) -> Tensor | None:
        values = [own for condition in conditions if (own := getattr(condition, name)) is not None]
        return torch.cat(values) if len(values) == len(conditions) else None

    return replace(
        conditions[0],
        **{name: stack(name) for name in _TENSORS},
        **{name: joined(name) for name in _OPTIONAL},
        **{name: sum((getattr(condition, name) for condition in conditions), ()) for name in _TUPLES},
        parents={name: _stacked([c.parents[name] for c in conditions]) for name in conditions[0].parents},
    )


def _stacked(parents: Sequence[Parent]) -> Parent:
    pictures = [parent.picture for parent in parents if parent.picture is not None]
    whole = torch.cat(pictures) if len(pictures) == len(parents) else None
    return Parent(torch.cat([parent.latents for parent in parents]), parents[0].level, whole)


def _padded(value: Tensor, length: int) -> Tensor:
    """Grow axis 1 to `length` with zeros (false)."""
    return F.pad(value, (0, 0) * (value.ndim - 2) + (0, length - value.shape[1]))
