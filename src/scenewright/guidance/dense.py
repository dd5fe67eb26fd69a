"""DenseDiffusion (Kim et al., ICCV 2023, arXiv 2308.12964): attention modulated between segments, without gradients."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scenewright.attention import Layer, Taps
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.families import refuse
from scenewright.guidance.gradient import check_range, chosen_layers
from scenewright.schedule import Level


@dataclass(frozen=True)
class DenseDiffusion:
    """logits + M R S (max - logits) - (1 - M) R S (logits - min), M the pairs that belong together (ibid., eq. 2 to 6).

    R = weight (t / 1000)^5; S = 1 - the share of the picture that the cell's own segment covers; max and min are those
    of the cell's logits. In cross-attention a cell belongs with its segment's words, in self-attention with the cells
    of its segment. Conditional half, first `fraction` of the run. `own_words` replaces the states of each phrase's
    tokens in the caption by those of the phrase encoded alone. Cells outside every segment keep their cross-attention
    (in the paper every cell has words), and belong together. Defaults are the release's.
    """

    weight: float = 1.0
    self_weight: float = 0.3
    fraction: float = 0.3
    own_words: bool = True

    def __post_init__(self) -> None:
        check_range("weight", self.weight, 0)
        check_range("self_weight", self.self_weight, 0)
        check_range("fraction", self.fraction, 0, 1)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        refuse("dense", condition.model.facts().refused)
        if not condition.present.any():
            return denoise(x, level, condition)
        if self.own_words:
            condition = replace(condition, text=_own_words(condition))
        if level.progress >= self.fraction or self.weight == self.self_weight == 0:
            return denoise(x, level, condition)
        latent, decay = (x.shape[-2], x.shape[-1]), (level.timestep / 1000) ** 5
        layers = {layer.name: layer for layer in chosen_layers(condition, "all")}

        def cross(name: str, logits: Tensor) -> Tensor:
            return _modulation(logits, *_words_of(condition, layers[name].grid(latent)), self.weight * decay)

        def among(name: str, logits: Tensor) -> Tensor:
            grid = _grid(layers.values(), latent, logits.shape[-1])
            if grid is None:
                return logits.new_zeros(1, 1, 1, 1)
            return _modulation(logits, *_neighbours_of(condition, grid), self.self_weight * decay)

        taps = condition.taps or Taps()
        return denoise(x, level, condition.tapped(taps.also(edit=cross, self_edit=among)))


def _modulation(logits: Tensor, pairs: Tensor, sizes: Tensor, weight: float) -> Tensor:
    """The bias of `logits` (N, heads, cells, keys): `pairs` (N, 1, cells, keys) bool, `sizes` (N, 1, cells, 1) the S of
    each cell, 0 where it is to be left alone.
    """
    low, high = logits.amin(-1, keepdim=True), logits.amax(-1, keepdim=True)
    return weight * sizes.to(logits) * torch.where(pairs, high - logits, low - logits)


def _own(condition: Condition, grid: tuple[int, int]) -> Tensor:
    """(N, K, cells) bool: the segments that cover half of a cell or more."""
    return (condition.masks_at(grid).flatten(-2) >= 0.5) & condition.present[..., None]


def _words_of(condition: Condition, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Which tokens (N, 1, cells, T) belong to each cell, and S (N, 1, cells, 1)."""

    def pair() -> tuple[Tensor, Tensor]:
        own = _own(condition, grid).float()
        pairs = torch.einsum("nkc,nkt->nct", own, condition.groups.float()) > 0
        together = torch.einsum("nkc,nkd->ncd", own, own) > 0
        sizes = (1 - together.float().mean(-1)) * own.any(1)
        return pairs[:, None], sizes[:, None, :, None]

    return condition.once(("dense words", grid), condition.groups, pair)


def _neighbours_of(condition: Condition, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Which cells (N, 1, cells, cells) belong together, and S (N, 1, cells, 1); rows without segments have S = 0."""

    def pair() -> tuple[Tensor, Tensor]:
        own = _own(condition, grid).float()
        rest = 1 - own.amax(1, keepdim=True)
        own = torch.cat([own, rest], 1)
        pairs = torch.einsum("nkc,nkd->ncd", own, own) > 0
        sizes = (1 - pairs.float().mean(-1)) * condition.present.any(1)[:, None]
        return pairs[:, None], sizes[:, None, :, None]

    return condition.once(("dense neighbours", grid), condition.groups, pair)


def _grid(layers: Iterable[Layer], latent: tuple[int, int], cells: int) -> tuple[int, int] | None:
    """The grid with so many cells among those of the cross-attention layers."""
    grids = {layer.grid(latent) for layer in layers}
    return next((grid for grid in grids if grid[0] * grid[1] == cells), None)


def _own_words(condition: Condition) -> Tensor:
    """Text states (N, T, D) in which each phrase's tokens have the states of the phrase encoded alone.

    A phrase that occurs several times has them everywhere; one that its tokens do not fill exactly is left as it is.
    """

    def write() -> Tensor:
        text = condition.text.clone()
        phrases = tuple(dict.fromkeys(text for row in condition.texts for text in row))
        states = dict(zip(phrases, condition.model.words(phrases), strict=True))
        for row, texts in enumerate(condition.texts):
            for k, phrase in enumerate(texts):
                places = condition.groups[row, k].nonzero().flatten()
                own = states[phrase]
                if condition.present[row, k] and len(own) and len(places) % len(own) == 0:
                    text[row, places] = own.repeat(len(places) // len(own), 1).to(text)
        return text

    return condition.once("dense text", condition.text, write)
