"""A small self-supervised vision network of the world: no labels, only that two looks at one place are of one thing.

VICReg (Bardes et al., ICLR 2022, eq. 6) of the cells of two crops that overlap: features of one place are alike under
other colours, noise and surroundings, while no feature is constant and no two say the same.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from .autoencoder import pixels
from .card import write_card
from .checkpoint import progress_of
from .fit import Draw, Recipe
from .recipes import SHARD, Workshop, averaged, checkpoint, fresh, size

FEATURES = Recipe(steps=4000, batch=16, rate=1e-3, ema=0.998, decay=0.6, warmup=200)
STRIDE, CROP = 8, 80  # pixels of a cell, and of a crop's side
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0  # the paper's


class Features(nn.Module):
    """A residual network of stride 8, and the expander that its loss is taken of and that is thrown away."""

    def __init__(self) -> None:
        super().__init__()
        config = ResNetConfig(
            embedding_size=32,
            hidden_sizes=[48, 128],
            depths=[1, 2],
            layer_type="basic",
            hidden_act="relu",
        )
        self.network = ResNetModel(config)
        self.expander = nn.Sequential(nn.Linear(128, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 256))

    def forward(self, pictures: Tensor) -> Tensor:
        """Expanded features (N, h, w, 256) of each cell."""
        cells = self.network(pictures).last_hidden_state.permute(0, 2, 3, 1)
        return self.expander(cells.flatten(0, 2)).unflatten(0, cells.shape[:3])


def vicreg(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """The three terms of eq. 6 of rows (N, D) of two looks at the same N places."""
    terms = {"invariance": INVARIANCE * F.mse_loss(a, b)}
    spread, shared = torch.zeros(()), torch.zeros(())
    for rows in (a, b):
        centred = rows - rows.mean(0)
        spread = spread + F.relu(1 - (centred.var(0) + 1e-4).sqrt()).mean()
        covariance = centred.T @ centred / (len(rows) - 1)
        shared = shared + (covariance.square().sum() - covariance.diagonal().square().sum()) / rows.shape[1]
    return terms | {"variance": VARIANCE * spread / 2, "covariance": COVARIANCE * shared}


def loss(model: Features, images: np.ndarray):
    """Two crops of each picture (N, H, W, 3), apart by whole cells, each in its own colours; cells that both show."""
    reach, cells = (images.shape[1] - CROP) // STRIDE, CROP // STRIDE
    if reach < 0:
        raise ValueError(f"pictures of {images.shape[1]} pixels are smaller than a crop of {CROP}")

    def terms(draw: Draw) -> dict[str, Tensor]:
        x = pixels(images[draw.rng.integers(len(images), size=draw.batch)], draw.device)
        corners = draw.rng.integers(0, reach + 1, (2, 2))  # of each crop, in cells
        (top, left), (bottom, right) = corners.max(0), corners.min(0) + cells
        shared = []
        for row, column in corners:
            y, z = STRIDE * row, STRIDE * column
            seen = model(_coloured(x[..., y : y + CROP, z : z + CROP], draw)).float()
            shared.append(seen[:, top - row : bottom - row, left - column : right - column].flatten(0, 2))
        return vicreg(*shared)

    return terms


def _coloured(x: Tensor, draw: Draw) -> Tensor:
    """Another gain and offset of each colour and of all, noise, and grey now and then."""
    gain = torch.from_numpy(draw.rng.uniform(0.6, 1.4, (len(x), 3, 1, 1))).to(x)
    offset = torch.from_numpy(draw.rng.uniform(-0.3, 0.3, (len(x), 3, 1, 1))).to(x)
    grey = torch.from_numpy(draw.rng.random((len(x), 1, 1, 1)) < 0.2).to(x.device)
    x = torch.where(grey, x.mean(1, keepdim=True).expand_as(x), x)
    noise = torch.randn(x.shape, generator=draw.noise).to(x.device)
    return x * gain + offset + float(draw.rng.uniform(0, 0.1)) * noise


def train_features(shop: Workshop) -> None:
    """Train on the world's pictures, or go on."""
    model = Features()
    shop.fit("features", model, loss(model, shop.data().image), FEATURES)


def package_features(shop: Workshop, folder: Path) -> None:
    """Write the network, without its expander, as a transformers folder."""
    network = averaged(Features(), shop, "features").network
    with fresh(folder) as new:
        network.half().save_pretrained(new, safe_serialization=True, max_shard_size=SHARD)
    progress = progress_of(checkpoint(shop, "features"))
    write_card(folder, "features", {"features": (FEATURES, progress)}, {"features": size(network)}, shop.scenes)
