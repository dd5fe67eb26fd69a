"""Latents and pictures through a diffusers autoencoder, scaled and rounded as its pipelines do it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

_CHUNK = 8  # pictures decoded at once: the decoder's memory is the largest of all


def decoded(vae: Any, latents: Tensor, wide: bool) -> np.ndarray:
    """Latents (N, C, h, w) -> pictures uint8 (N, H, W, 3), rounded as diffusers rounds.

    `wide` uses float32 where the autoencoder is in float16 and says that it overflows.
    """
    pixels = ((unrounded(vae, latents, wide).float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def unrounded(vae: Any, latents: Tensor, wide: bool) -> Tensor:
    """Latents (N, C, h, w) -> pictures (N, 3, H, W), about [-1, 1], in the autoencoder's precision; gradients pass."""
    mean, scale = _statistics(vae, latents)
    with _widened(vae, wide):
        scaled = (latents / scale + mean).to(vae.dtype)
        return torch.cat([vae.decode(part, return_dict=False)[0] for part in scaled.split(_CHUNK)])


def encoded(vae: Any, images: np.ndarray, device: torch.device, dtype: torch.dtype, wide: bool) -> Tensor:
    """Pictures uint8 (N, H, W, 3) -> latents (N, C, h, w), the mode of the encoder's distribution."""
    with _widened(vae, wide):
        pixels = torch.tensor(images).permute(0, 3, 1, 2).to(device, vae.dtype) / 127.5 - 1
        latents = torch.cat([_mode(vae.encode(part)) for part in pixels.split(_CHUNK)])
    mean, scale = _statistics(vae, latents)
    return ((latents - mean) * scale).to(dtype)


def _statistics(vae: Any, like: Tensor) -> tuple[Any, Any]:
    """What is taken off the autoencoder's latents, and what they are then multiplied by."""
    config = vae.config
    mean, deviation = config.get("latents_mean"), config.get("latents_std")
    if mean is None or deviation is None:
        return config.get("shift_factor") or 0.0, config.scaling_factor
    mean, deviation = (
        torch.tensor(v, device=like.device, dtype=like.dtype).view(1, -1, 1, 1) for v in (mean, deviation)
    )
    return mean, config.scaling_factor / deviation


@contextmanager
def _widened(vae: Any, wide: bool) -> Iterator[None]:
    narrow = wide and vae.dtype == torch.float16 and bool(vae.config.get("force_upcast"))
    if narrow:
        vae.to(dtype=torch.float32)
    try:
        yield
    finally:
        if narrow:
            vae.to(dtype=torch.float16)


def _mode(encoded: Any) -> Tensor:
    """The likeliest latents: a KL autoencoder gives a distribution, a tiny one the latents themselves."""
    return encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
