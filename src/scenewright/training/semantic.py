"""The label-map encoder of the embedded U-Net, after PITI: the encoder alone at first, then both.

The loss is the embedded model's own (`diffusion.noised`): squared error of v, weighted as there. A share of the maps is
unlabelled everywhere, for classifier-free guidance (PITI: 20 % from its second stage on).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..backends.semantic import SemanticModel, base_model
from ..transfer.encoder import PRESETS, MapEncoder, MapToLatent
from ..transfer.oasis import one_hot
from ..world.vocabulary import CLASSES
from . import diffusion
from .card import write_card
from .checkpoint import progress_of
from .fit import Draw, Recipe, fit
from .recipes import Workshop, averaged, checkpoint, fresh, size
from .sources import picture_batches

ENCODER = Recipe(steps=6000, batch=16, rate=4e-4, ema=0.999, decay=0.3)
JOINT = Recipe(steps=6000, batch=16, rate=1e-4, ema=0.999, decay=0.6)
UNSEEN = 0.2


@dataclass(frozen=True)
class PublishedStage:
    """One of PITI's three stages on COCO-Stuff (released scripts): batch over all GPUs, rate, unlabelled share, and
    whether the U-Net learns too. The last has no end of its own.
    """

    steps: int | None
    batch: int
    rate: float
    unseen: float
    unet: bool


PUBLISHED = (
    PublishedStage(200_000, 128, 3.5e-5, 0.0, unet=False),
    PublishedStage(60_000, 128, 2e-5, 0.2, unet=False),
    PublishedStage(None, 128, 3.5e-5, 0.2, unet=True),
)


def loss(model: MapToLatent, encode: Callable[[Tensor], Tensor], images: np.ndarray, labels: np.ndarray):
    """v-prediction of latents of pictures (N, H, W, 3) from their class ids (N, H, W); `encode` gives latents of
    pictures in [-1, 1].
    """
    batches, bars = picture_batches(images, labels), diffusion.scheduler().alphas_cumprod

    def terms(draw: Draw) -> dict[str, Tensor]:
        pictures, ids = batches(draw)
        hidden = torch.from_numpy(draw.rng.random(draw.batch) < UNSEEN).to(draw.device)
        maps = one_hot(ids.masked_fill(hidden[:, None, None], 0), model.encoder.config.classes)
        with torch.no_grad():
            z = encode(pictures)
        batch = diffusion.noised(z, bars, draw)
        out = model(batch.x, batch.t, maps).float()
        return {"v": (batch.weight() * (out - batch.v).square()).mean()}

    return terms


def train_semantic(shop: Workshop) -> None:
    """Train the encoder against the frozen U-Net, then both; each stage resumes its own checkpoint."""
    data = shop.data()
    for name, model, recipe in _stages(shop):
        recipe = replace(recipe, steps=shop.steps) if shop.steps else recipe
        folder = shop.folder / "train" / name
        done = folder / "checkpoint.safetensors"
        if done.exists() and progress_of(done).step >= recipe.steps:
            continue
        terms = loss(model, _latents(), data.image, data.classes)
        report = lambda p, means, name=name, of=recipe.steps: shop.say(name, p.step, of, sum(means.values()))  # noqa: E731
        progress = fit(model, terms, recipe, folder, shop.minutes, report)
        if progress.step < recipe.steps:
            return


def package_semantic(shop: Workshop, folder: Path) -> None:
    """Write the folder of the latest checkpoint; its U-Net only if that has learned too."""
    joint = (shop.folder / "train" / "semantic" / "checkpoint.safetensors").exists()
    part = "semantic" if joint else "semantic-encoder"
    model = averaged(_fresh(), shop, part)
    base = base_model("embedded")
    base.pipeline.unet.load_state_dict(model.unet.state_dict())
    drawn = SemanticModel(base, model.encoder, CLASSES)
    with fresh(folder) as new:
        drawn.save(new, unet=joint)
    counts = {"encoder": size(model.encoder), "U-Net": size(model.unet)}
    recipe = JOINT if joint else ENCODER
    write_card(folder, "semantic", {part: (recipe, progress_of(checkpoint(shop, part)))}, counts, shop.scenes)


def _stages(shop: Workshop):
    first = _fresh()
    first.unet.requires_grad_(False)
    yield "semantic-encoder", first, ENCODER
    second = averaged(_fresh(), shop, "semantic-encoder")
    yield "semantic", second, JOINT


def _fresh() -> MapToLatent:
    torch.manual_seed(ENCODER.seed)
    unet = base_model("embedded").pipeline.unet
    diffusion.plain_attention(unet)
    return MapToLatent(MapEncoder(PRESETS["world"]), unet.requires_grad_(True))


def _latents() -> Callable[[Tensor], Tensor]:
    vae = base_model("embedded").pipeline.vae.requires_grad_(False)

    def encode(pictures: Tensor) -> Tensor:
        with torch.autocast(pictures.device.type, enabled=False):  # latents are exact, as those of the base were
            return vae.config.scaling_factor * vae.encode(pictures).latents

    return encode
