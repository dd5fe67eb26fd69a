"""MultiDiffusion, region-based (Bar-Tal et al., ICML 2023, arXiv 2302.08113): one prediction per region prompt, fused
by masks.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scenewright.denoiser import Condition, Denoise, Prediction, Text
from scenewright.guidance.gradient import check_range
from scenewright.schedule import Level

_COLOURS = 20  # pre-encoded flat backgrounds, as in the released code


class Regions(NamedTuple):
    """One row per region prompt: its condition, the picture row it belongs to, its mask (R, 1, h, w), whether it is
    foreground (R,).
    """

    condition: Condition
    owners: list[int]
    masks: Tensor
    foreground: Tensor


@dataclass(frozen=True)
class MultiDiffusion:
    """Denoise the picture under each segment's own text and under the caption (the background), then average by masks
    .

     Averaging (x0, eps) equals averaging the DDIM steps, because the step is linear in them. For the first
     `bootstrapping` fraction of the run everything outside a segment is replaced by a noised random flat colour (20 of
     50 steps in the paper), so that the object fills its mask. `soft` keeps fractional masks instead of cutting them
     at one half. Put it outermost.
    """

    bootstrapping: float = 0.4
    soft: bool = False

    def __post_init__(self) -> None:
        check_range("bootstrapping", self.bootstrapping, 0, 1)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        if not condition.present.any():
            return denoise(x, level, condition)
        grid = (x.shape[-2], x.shape[-1])
        regions = condition.once(
            ("regions", grid, self.soft), condition.text, lambda: _regions(condition, grid, self.soft)
        )
        latents = x[regions.owners]
        if level.progress < self.bootstrapping:
            latents = _bootstrapped(latents, level, regions)
        prediction = denoise(latents, level, regions.condition)
        return Prediction(
            _fused(prediction.x0, regions, len(x)), _fused(prediction.eps, regions, len(x)), None, prediction.eta
        )


def _regions(condition: Condition, grid: tuple[int, int], soft: bool) -> Regions:
    masks = condition.masks_at(grid)
    masks = masks if soft else (masks > 0.5).to(masks)
    masks = masks * condition.present[..., None, None].to(masks)
    background = (1 - masks.sum(1, keepdim=True)).clamp_min(0)
    owners, weights, prompts, foreground = [], [], [], []
    for row in range(len(condition)):
        texts = [*condition.texts[row], condition.prompts[row]]
        for k, weight in enumerate([*masks[row, : len(texts) - 1], background[row, 0]]):
            if not weight.any():
                continue
            owners.append(row)
            weights.append(weight)
            prompts.append(texts[k])
            foreground.append(k < len(texts) - 1)
    rows, front = condition.rows(owners), torch.tensor(foreground, device=condition.text.device)
    own = condition.model.prompts([prompt for prompt, first in zip(prompts, foreground, strict=True) if first])
    pooled = None if own.pooled is None or rows.pooled is None else _woven(own.pooled, rows.pooled, front)
    text = Text(_woven(own.states, rows.text, front), pooled)
    return Regions(rows.prompted(text, prompts), owners, torch.stack(weights)[:, None], front)


def _woven(own: Tensor, whole: Tensor, front: Tensor) -> Tensor:
    """The rows of `whole`, those at the front replaced by the rows of `own` in their order."""
    out = whole.clone()
    out[front] = own.to(whole)
    return out


def _bootstrapped(latents: Tensor, level: Level, regions: Regions) -> Tensor:
    """Foreground rows on a noised flat colour, drawn anew at each step from the row's seed: independent of the
    batch.
    """
    colours = _flat_colours(regions.condition, latents)
    seeds, places = regions.condition.seeds, _places(regions.owners)
    chosen = [
        int(np.random.default_rng((seed, place, level.index)).integers(_COLOURS))
        for seed, place in zip(seeds, places, strict=True)
    ]
    noise = regions.condition.noise
    outside = level.alpha * colours[chosen] + level.sigma * (noise if noise is not None else torch.zeros_like(latents))
    inside = torch.where(regions.foreground[:, None, None, None], regions.masks, 1.0).to(latents)
    return latents * inside + outside * (1 - inside)


def _flat_colours(condition: Condition, latents: Tensor) -> Tensor:
    """Encoded flat pictures (20, C, h, w), once per run."""

    def encode() -> Tensor:
        height, width = condition.masks.shape[-2:]
        rgb = np.random.default_rng(0).integers(0, 256, (_COLOURS, 1, 1, 3), dtype=np.uint8)
        pictures = np.broadcast_to(rgb, (_COLOURS, height, width, 3))
        return condition.model.encode_image(pictures).to(latents)

    return condition.once("colours", condition.text, encode)


def _places(owners: list[int]) -> list[int]:
    """Position of each region among its picture's regions."""
    return [owners[:i].count(owner) for i, owner in enumerate(owners)]


def _fused(value: Tensor, regions: Regions, rows: int) -> Tensor:
    """Mask-weighted average over each picture's regions, (rows, C, h, w)."""
    owners = torch.tensor(regions.owners, device=value.device)
    masks = regions.masks.to(value)
    total = value.new_zeros(rows, *value.shape[1:]).index_add_(0, owners, value * masks)
    return total / value.new_zeros(rows, *masks.shape[1:]).index_add_(0, owners, masks)
