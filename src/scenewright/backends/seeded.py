"""Noise that depends on its own seed only."""

from collections.abc import Sequence

import torch
from torch import Tensor


def drawn(seeds: Sequence[int | torch.Generator], shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 (N, *shape) on the CPU, each row from its own seed or generator, never from the
    others.
    """
    generators = [torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed for seed in seeds]
    return torch.cat([torch.randn((1, *shape), generator=generator) for generator in generators])
