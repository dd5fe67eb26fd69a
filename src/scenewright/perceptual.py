"""How different two pictures look: LPIPS from local weights, and the distance of world-CLIP features by default."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from scenewright.errors import UserError

BATCH = 16
# Convolutions as (channels, kernel, stride, padding); "M" is max pooling; the networks' outputs after the ReLUs at
# `_TAKEN` (positions in torchvision's `features`) are compared.
_ALEX = ((64, 11, 4, 2), "M", (192, 5, 1, 2), "M", (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
_VGG = tuple("M" if n == 0 else (n, 3, 1, 1) for n in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512,
                                                       512, 512))  # fmt: skip
_NETWORKS = {"alex": (_ALEX, 3), "vgg": (_VGG, 2)}  # layers, width of the pooling window (stride 2)
_TAKEN = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


@dataclass(frozen=True, eq=False)
class Lpips:
    """LPIPS (Zhang et al. 2018, arXiv 1801.03924, eq. 1), variant "alex" or "vgg"."""

    variant: str
    features: nn.Sequential
    weights: tuple[Tensor, ...]

    @classmethod
    def load(cls, path: Path, variant: str = "alex") -> "Lpips":
        """From one safetensors file that holds the network ("features.0.weight", as torchvision names them) and the
        linear layers ("lin0.weight", or "lin0.model.1.weight" as the lpips package does). Raises UserError if it does
        not.
        """
        if variant not in _NETWORKS:
            raise UserError(f"LPIPS variant '{variant}' is not known; choose from {', '.join(_NETWORKS)}.")
        try:
            tensors = load_file(path)
            network = _network(variant)
            own = {name.removeprefix("features."): t for name, t in tensors.items() if name.startswith("features.")}
            network.load_state_dict({name: own[name] for name in network.state_dict()})
            count = len(_TAKEN[variant])
            weights = tuple(
                tensors.get(f"lin{i}.weight", tensors.get(f"lin{i}.model.1.weight", torch.zeros(0)))
                for i in range(count)
            )
        except (OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{path} holds no LPIPS ({variant}) weights in safetensors; give another file.") from error
        if any(not len(weight) for weight in weights):
            raise UserError(f"{path} lacks linear layers of LPIPS (lin0 to lin{count - 1}); add them.")
        return cls(variant, network.eval().requires_grad_(False), tuple(w.float().flatten() for w in weights))

    @torch.no_grad()
    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(N,) float64 distances of uint8 pictures (N, H, W, 3), 0 for equal ones; ValueError if shapes differ."""
        _same(a, b)
        out = [np.zeros(0)]
        for start in range(0, len(a), BATCH):
            seen = [self._seen(_scaled(x[start : start + BATCH])) for x in (a, b)]
            terms = [
                torch.einsum("nchw,c->nhw", (one - other).square(), weight).mean((1, 2))
                for one, other, weight in zip(*seen, self.weights, strict=True)
            ]
            out.append(torch.stack(terms).sum(0).double().numpy())
        return np.concatenate(out)

    def _seen(self, x: Tensor) -> list[Tensor]:
        """Features at the compared layers, of unit length per cell."""
        found = []
        for position, layer in enumerate(self.features):
            x = layer(x)
            if position in _TAKEN[self.variant]:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found


def clip_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) 1 - cosine of the world-CLIP features of uint8 pictures (N, H, W, 3), in [0, 2]: "world-CLIP distance"."""
    from scenewright.judges import clip_image_features

    _same(a, b)
    rows = [clip_image_features(x).astype(np.float64) for x in (a, b)]
    one, other = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in rows)
    return 1 - (one * other).sum(1)


def _network(variant: str) -> nn.Sequential:
    """The convolutions of AlexNet or VGG16, numbered as in torchvision."""
    plan, window = _NETWORKS[variant]
    layers: list[nn.Module] = []
    width = 3
    for step in plan:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(window, 2))
        else:
            channels, kernel, stride, padding = step
            layers += [nn.Conv2d(width, channels, kernel, stride, padding), nn.ReLU()]
            width = channels
    return nn.Sequential(*layers)


def _scaled(images: np.ndarray) -> Tensor:
    x = torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    return (x - torch.tensor(_SHIFT).view(3, 1, 1)) / torch.tensor(_SCALE).view(3, 1, 1)


def _same(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or a.ndim != 4 or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"expected uint8 pictures of one shape (N, H, W, 3), got {a.shape} and {b.shape}")
