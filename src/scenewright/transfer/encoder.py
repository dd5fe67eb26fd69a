"""The semantic encoder of PITI (Wang et al. 2022, arXiv 2205.12952): a label map to what a U-Net reads for words.

PITI paints the map in a palette of colours and reads those; a convolution of one-hot classes is the same thing and more
general (its weights would be those of the colours times the palette), and it can be folded.
"""

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scenewright.transfer.folding import folded_weight

SLOPE = 0.2


@dataclass(frozen=True)
class EncoderConfig:
    """`classes` counts "unlabelled" too; `size` is the map's height and width; each of `widths` after the first halves
    it. `layers` of attention of `heads` heads follow; `context` and `time` are the widths of the U-Net's
    cross-attention and of its time embedding. Defaults are the published ones, whose U-Net is GLIDE's.
    """

    classes: int
    size: tuple[int, int] = (256, 256)
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    layers: int = 8
    heads: int = 8
    context: int = 512
    time: int = 768

    @property
    def cells(self) -> int:
        """Tokens of a map, the one for the whole of it apart."""
        halvings = len(self.widths) - 1
        return (self.size[0] >> halvings) * (self.size[1] >> halvings)

    def with_classes(self, classes: int) -> "EncoderConfig":
        """The same network for another number of classes."""
        return replace(self, classes=classes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


PRESETS: dict[str, EncoderConfig] = {
    "coco-stuff": EncoderConfig(183),
    "ade20k": EncoderConfig(151),
    # For the embedded U-Net: 16 tokens a side, as many as it has latents.
    "world": EncoderConfig(41, (128, 128), (16, 32, 64, 128), layers=3, heads=4, context=128, time=384),
}


class MapEncoder(nn.Module):
    """Label maps (N, classes, H, W), one-hot or soft, to tokens for cross-attention and a vector for the time."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.widths[-1]
        self.read = nn.Conv2d(config.classes, config.widths[0], 7, padding=3)
        self.down = nn.Sequential(*(layer for a, b in pairwise(config.widths) for layer in _halving(a, b)))
        self.out = nn.Conv2d(width, width, 3, padding=1)
        self.places = nn.Parameter(0.02 * torch.randn(config.cells + 1, width))
        self.whole = nn.Parameter(0.02 * torch.randn(width))
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.mix = nn.TransformerEncoder(layer, config.layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.to_context, self.to_time = nn.Linear(width, config.context), nn.Linear(width, config.time)
        nn.init.zeros_(self.to_time.weight)  # a new encoder leaves the U-Net's sense of time alone
        nn.init.zeros_(self.to_time.bias)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N, cells, context), row by row, and (N, time) to be added to the embedding of the time step."""
        x = self.out(self.down(F.leaky_relu(self.read(maps), SLOPE))).flatten(2).transpose(1, 2)
        x = torch.cat([x, self.whole.expand(len(x), 1, -1)], 1) + self.places
        x = self.mix(x)
        return self.to_context(x[:, :-1]), self.to_time(x[:, -1])


def _halving(inside: int, outside: int) -> list[nn.Module]:
    norm = nn.InstanceNorm2d(outside, affine=True)
    return [nn.Conv2d(inside, outside, 3, 2, 1), norm, nn.LeakyReLU(SLOPE)]


@torch.no_grad()
def folded_encoder(encoder: MapEncoder, matrix: Tensor) -> MapEncoder:
    """The encoder for the target classes of an affinity (N_s, N_t); exact, a new network."""
    new = MapEncoder(encoder.config.with_classes(matrix.shape[1])).to(encoder.read.weight.dtype)
    state = encoder.state_dict()
    state["read.weight"] = folded_weight(encoder.read.weight, matrix)
    new.load_state_dict(state)
    return new.train(encoder.training)


class MapToLatent(nn.Module):
    """Encoder and U-Net as one module: label maps in place of words."""

    def __init__(self, encoder: MapEncoder, unet: nn.Module) -> None:
        super().__init__()
        self.encoder, self.unet = encoder, unet
        # Takes the vector that is added to the embedding of the time step as it is.
        unet.class_embedding = nn.Identity()

    def forward(self, x: Tensor, t: Tensor, maps: Tensor) -> Tensor:
        """What the U-Net answers to latents x (N, C, h, w) at time steps t (N,)."""
        tokens, whole = self.encoder(maps)
        return self.unet(x, t, encoder_hidden_states=tokens, class_labels=whole).sample
