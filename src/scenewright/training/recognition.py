"""Recognition: what the U-Net predicts is asked to be recognisable, not only near (Lin & Yang 2024, "Diffusion Model
with Perceptual Loss", arXiv 2401.00110; their frozen network is an earlier denoiser, this one reads classes).

The squared error asks for the mean of all pictures that may have been there, so young models draw blobs of the right
colour in the right place. A small network that reads classes and colours from latents tells them what a blob lacks. It
is trained for this alone: it never guides and never judges, and it is not shipped.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..world.vocabulary import CLASSES, COLOURS
from .classes import CLASS_WEIGHTS
from .fit import Draw, Recipe

READER = Recipe(steps=1200, batch=64, rate=2e-3, decay=0.7, ema=0.99)
SIDE = 32  # classes are read twice as finely as latents
COLOURLESS = 255  # in a map of colours: no object named with a colour is here
_WIDTH = 96
_COLOUR_ID = {name: index for index, name in enumerate(COLOURS)}


class Reader(nn.Module):
    """Latents (N, 16, 16, 16) to logits of classes (N, classes, 32, 32) and of colours (N, colours, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Sequential(nn.Conv2d(16, _WIDTH, 3, padding=1), nn.SiLU(), _conv(1), nn.SiLU())
        self.far = nn.Sequential(_conv(2), nn.SiLU(), _conv(1), nn.SiLU(), _conv(1), nn.SiLU())
        self.both = nn.Sequential(nn.GroupNorm(8, _WIDTH), _conv(1), nn.SiLU())
        self.out = nn.Conv2d(_WIDTH, 4 * (len(CLASSES) + len(COLOURS)), 1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        near = self.near(z)
        far = F.interpolate(self.far(near), scale_factor=2, mode="nearest")
        logits = F.pixel_shuffle(self.out(self.both(near + far)), 2)
        return logits[:, : len(CLASSES)], logits[:, len(CLASSES) :]


def _conv(stride: int) -> nn.Conv2d:
    return nn.Conv2d(_WIDTH, _WIDTH, 3, stride, padding=1)


def unlike(logits: Tensor, classes: Tensor, focus: float = 0.0) -> Tensor:
    """Cross-entropy (N,) of logits (N, classes, 32, 32) against classes (N, 32, 32); objects weigh 3.

    `focus` is the gamma of focal loss (Lin et al. 2017, eq. 4): what is read right already is let be.
    """
    return _focal(logits, classes, CLASS_WEIGHTS.to(logits.device)[classes], focus)


def discoloured(logits: Tensor, colours: Tensor, focus: float = 0.0) -> Tensor:
    """The same (N,) of logits (N, colours, 32, 32) against `colour_maps`; 0 for a scene where no colour is named."""
    named = colours != COLOURLESS
    return _focal(logits, colours.where(named, 0), named.float(), focus)


def _focal(logits: Tensor, truth: Tensor, weights: Tensor, focus: float) -> Tensor:
    each = F.cross_entropy(logits.float(), truth, reduction="none")
    each = weights * each * (1 - (-each).exp()) ** focus
    return each.sum((1, 2)) / weights.sum((1, 2)).clamp_min(1)


def reader_loss(model: Reader, z: Tensor, classes: np.ndarray, colours: np.ndarray):
    """`z` (2 N, 16, 16, 16), `classes` and `colours` (N, 32, 32), as in `diffusion.Latents`. Noise varies:
    predictions are never clean.
    """

    def terms(draw: Draw) -> dict[str, Tensor]:
        rows = draw.rng.integers(len(z), size=draw.batch)
        level = torch.rand(draw.batch, 1, 1, 1, generator=draw.noise) * 0.5
        noisy = z[rows].float() + level * torch.randn(draw.batch, *z.shape[1:], generator=draw.noise)
        kinds, paints = model(noisy.to(draw.device))
        return {
            "ce": unlike(kinds, mirrored(classes, rows).to(draw.device)).mean(),
            "colour": 0.5 * discoloured(paints, mirrored(colours, rows).to(draw.device)).mean(),
        }

    return terms


def colour_maps(instances: np.ndarray, words: Sequence[dict]) -> np.ndarray:
    """(N, H, W) uint8 position in `COLOURS` of the colour that the object there is named with, else COLOURLESS.

    `instances` (N, H, W) and `words` are those of the cached scenes.
    """
    table = np.full((len(words), 256), COLOURLESS, np.uint8)
    for row, scene in enumerate(words):
        for phrase in scene["phrases"]:
            if phrase["instance"] and phrase["colour"]:
                table[row, phrase["instance"]] = _COLOUR_ID[phrase["colour"]]
    return np.take_along_axis(table, instances.reshape(len(words), -1).astype(np.intp), 1).reshape(instances.shape)


def mirrored(maps: np.ndarray, rows: np.ndarray) -> Tensor:
    """Maps (N, ..., H, W) of scenes as int64 maps (len(rows), ..., H, W) of latents: odd rows are mirror images."""
    return torch.from_numpy(np.stack([maps[row // 2][..., :: -1 if row % 2 else 1] for row in rows])).long()
