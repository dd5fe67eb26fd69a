"""The embedded autoencoder: 128x128 pictures to 16x16 latents of 16 channels (an ordinary `AutoencoderTiny`).

The encoder is solved, not trained: its strided convolutions are set to gather each 8x8 patch and project it on the
leading principal components of patches of the world, which is exact and takes seconds. A linear encoder keeps latents
smooth and lets the diffusion model start at once. The decoder is trained: it sees neighbouring patches, so it gives
back more than the linear inverse can.
"""

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

from .fit import Draw, Recipe

RECIPE = Recipe(steps=6000, batch=8, rate=2e-3, warmup=100, ema=0.998, decay=0.7)
CHANNELS, WIDTH, PATCH = 16, 48, 8
SCALE = 2.5  # the decoder squashes its input at 3, so stored latents are smaller than the ones diffused
EVENNESS = 0.3  # standard deviations are eigenvalue**(EVENNESS / 2): 0 whitens fully, 1 keeps the natural spread


def build() -> AutoencoderTiny:
    """About 0.5 million parameters. No blocks in the encoder: it is linear."""
    return AutoencoderTiny(
        encoder_block_out_channels=(WIDTH,) * 4,
        decoder_block_out_channels=(WIDTH,) * 4,
        latent_channels=CHANNELS,
        num_encoder_blocks=(0, 0, 0, 0),
        num_decoder_blocks=(3, 3, 1, 0),
        scaling_factor=SCALE,
    )


def pixels(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def solve_encoder(model: AutoencoderTiny, images: np.ndarray) -> None:
    """Set the encoder to the principal components of the 8x8 patches of `images`, exactly and in place.

    Times `scaling_factor`, channels have zero mean and a standard deviation of 1 falling to 0.35, the strongest first.
    """
    patches = _patches(images)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((patches - mean).T))
    values, vectors = values.flip(0)[:CHANNELS], vectors.flip(1)[:, :CHANNELS]
    vectors = vectors * vectors.sum(0).sign()  # eigenvectors have no sign of their own; fix one
    spread = (values / values[0]) ** (EVENNESS / 2)
    project = (vectors * (spread / values.sqrt() / SCALE)).T
    first, *strided, last = [m for m in model.encoder.layers.modules() if isinstance(m, torch.nn.Conv2d)]
    for conv in (first, *strided, last):
        conv.weight.zero_()
        if conv.bias is not None:
            conv.bias.zero_()
    for channel in range(3):
        first.weight[channel, channel, 1, 1] = 1
    for level, conv in enumerate(strided[:2]):
        _gather(conv.weight, 3 * 4**level)
    # Rows of `project` are in (quarter, channel) order of the last gathering, which has four quarters of 48 channels.
    for quarter in range(4):
        y, x = divmod(quarter, 2)
        strided[2].weight[:CHANNELS, :48, y + 1, x + 1] = project[:, quarter * 48 : quarter * 48 + 48].float()
    for channel in range(CHANNELS):
        last.weight[channel, channel, 1, 1] = 1
    last.bias.copy_(-(project @ mean).float())  # type: ignore[union-attr]


def _gather(weight: Tensor, channels: int) -> None:
    """Make a 3x3 stride-2 convolution copy each 2x2 block of `channels` channels into 4 * `channels`."""
    for quarter in range(4):
        y, x = divmod(quarter, 2)
        for channel in range(channels):
            weight[quarter * channels + channel, channel, y + 1, x + 1] = 1


def _patches(images: np.ndarray) -> Tensor:
    """(N * h * w, 192) float64 patches in [0, 1], in the order in which the encoder gathers them."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
    for _ in range(3):
        n, c, h, w = x.shape
        x = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def loss(model: AutoencoderTiny, images: np.ndarray, extra: float = 0.016):
    """Squared and absolute error and error of edges, of pictures decoded from slightly noisy latents."""

    def terms(draw: Draw) -> dict[str, Tensor]:
        x = pixels(images[draw.rng.integers(len(images), size=draw.batch)], draw.device)
        if draw.rng.random() < 0.5:
            x = x.flip(-1)
        with torch.no_grad():
            z = model.encode(x, return_dict=False)[0].float()
        z = z + extra * draw.rng.random() * torch.randn(z.shape, generator=draw.noise).to(z)
        y = model.decode(z, return_dict=False)[0].float()
        edge = sum(F.l1_loss(y.diff(dim=d), x.diff(dim=d)) for d in (-1, -2))
        return {"mse": 2 * F.mse_loss(y, x), "l1": 0.1 * F.l1_loss(y, x), "edge": 0.1 * edge}  # type: ignore[dict-item]

    return terms


@torch.no_grad()
def encode(model: AutoencoderTiny, images: np.ndarray, batch: int = 64) -> Tensor:
    """(N, 16, h, w) float32 latents of uint8 pictures, scaled as the diffusion model sees them."""
    return torch.cat(
        [
            SCALE * model.encode(pixels(images[i : i + batch]), return_dict=False)[0]
            for i in range(0, len(images), batch)
        ]
    )


@torch.no_grad()
def psnr(model: AutoencoderTiny, images: np.ndarray, batch: int = 16) -> float:
    """Mean over pictures of the peak signal-to-noise ratio in dB (peak 255)."""
    scores = []
    for i in range(0, len(images), batch):
        x = pixels(images[i : i + batch])
        z = model.encode(x, return_dict=False)[0]
        y = model.decode(z, return_dict=False)[0].clamp(-1, 1)
        mse = ((x - y) * 127.5).pow(2).mean((1, 2, 3))
        scores += (10 * torch.log10(255**2 / mse)).tolist()
    return float(np.mean(scores))
