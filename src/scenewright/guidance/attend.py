"""Attend-and-Excite (Chefer et al., SIGGRAPH 2023, arXiv 2301.13826): no subject of the caption may be neglected."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from scenewright.attention import Taps
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.families import refuse
from scenewright.guidance.gradient import check_range, chosen_layers
from scenewright.guidance.push import Push, Round
from scenewright.schedule import Level

_SHARPNESS = 100.0  # the release's factor before its second softmax
REFINED = ((0.0, 0.05), (0.2, 0.5), (0.4, 0.8))  # (progress, attention to reach): steps 0, 10 and 20 of 50


def sharp_maps(taps: Taps, condition: Condition, layers: str, latent: tuple[int, int]) -> Tensor:
    """Attention of each segment's phrase as Attend-and-Excite reads it, (N, K, rows, columns) on the finest grid of
    `layers`.

    Shares are averaged over heads and layers, sharpened by a softmax of 100 times them over the tokens but the first
    and the last of the prompt's T, and smoothed by a 3 x 3 Gaussian of deviation 0.5 with reflected edges. A phrase of
    several tokens has the sum of theirs before smoothing (the release is told single tokens).
    """
    chosen = chosen_layers(condition, layers)
    finest = max(layer.grid(latent) for layer in chosen)
    tokens = condition.groups.shape[-1]
    shares = []
    for layer in chosen:
        share = taps.logits(layer.name)[..., :tokens].softmax(-1).mean(1).transpose(-1, -2)
        grid = share.unflatten(-1, layer.grid(latent))
        shares.append(F.interpolate(grid, size=finest, mode="bilinear", align_corners=False))
    inner = torch.stack(shares).mean(0)[:, 1:-1]
    sharp = (_SHARPNESS * inner).softmax(1)
    maps = torch.einsum("nkt,nthw->nkhw", condition.groups[..., 1:-1].to(sharp), sharp)
    return _smooth(maps)


@dataclass(frozen=True)
class Neglect:
    """Energy: max over segments of 1 - the highest cell of the phrase's sharpened map (ibid., eq. 1 and 2).

    Masks play no part.
    """

    layers: str = "near16"
    absent: tuple[str, ...] = ()

    def __call__(self, prediction: Prediction, taps: Taps, condition: Condition) -> Tensor:
        """Energy (N,) in [0, 1]."""
        latent = (prediction.x0.shape[-2], prediction.x0.shape[-1])
        peaks = sharp_maps(taps, condition, self.layers, latent).amax((-2, -1))
        return ((1 - peaks).clamp_min(0) * condition.present.to(peaks)).amax(1)


@dataclass(frozen=True)
class AttendAndExcite:
    """One push in each step of the first `fraction` of the run, and up to `iterations` more at its beginning and after
    20 and 40 % of it, until every phrase's peak reaches 0.05, 0.5 and 0.8.

    The step size is `scale` times the root of a line that falls from 1 to 0.5 over the run, on the plain gradient.
    Defaults are the release's.
    """

    scale: float = 20.0
    fraction: float = 0.5
    iterations: int = 20
    layers: str = "near16"

    def __post_init__(self) -> None:
        check_range("scale", self.scale, 0)
        check_range("fraction", self.fraction, 0, 1)
        check_range("iterations", self.iterations, 0)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        refuse("attend", condition.model.facts().refused)
        return Push(((Neglect(self.layers), 1.0),), self._rounds)(denoise, x, level, condition)

    def _rounds(self, level: Level) -> tuple[Round, ...]:
        return excited(level, self.scale, self.fraction, self.iterations)


def excited(level: Level, scale: float, fraction: float, iterations: int) -> tuple[Round, ...]:
    """Attend-and-Excite's rounds at a level."""
    if level.progress >= fraction or scale == 0:
        return ()
    rate = scale * math.sqrt(1 - 0.5 * level.index / max(1, level.count - 1))
    goals = [1 - goal for start, goal in REFINED if round(start * level.count) == level.index]
    return (*(Round(rate, iterations, goal) for goal in goals), Round(rate))


def _smooth(maps: Tensor) -> Tensor:
    """3 x 3 Gaussian of deviation 0.5 over the last two axes, edges reflected."""
    line = torch.exp(-torch.tensor([-1.0, 0.0, 1.0], dtype=maps.dtype, device=maps.device).square() / (2 * 0.5**2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    padded = F.pad(maps.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, kernel[None, None]).reshape(maps.shape)
