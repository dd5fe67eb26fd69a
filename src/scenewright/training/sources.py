"""Source models of transfer, trained on the world's own classes: OASIS; and the judge of its second label set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..transfer.folder import Source, save_source
from ..transfer.oasis import PRESETS, Oasis
from ..world import second
from ..world.vocabulary import CLASSES
from .adversarial import AdversarialRecipe, Batches, fit_pair
from .autoencoder import pixels
from .card import write_card
from .checkpoint import Progress, progress_of
from .fit import Draw, Recipe
from .judges import build_segmenter
from .recipes import SHARD, Workshop, averaged, checkpoint, fresh, size

# A quarter of the published batch, so twice its generator's rate; half the steps at half the size, four for the price
# of one.
OASIS = AdversarialRecipe(steps=20_000, batch=8, rate=2e-4, discriminator_rate=4e-4, ema=0.999, coarse=0.5)

JUDGE = Recipe(steps=6000, batch=16, rate=1.2e-3, decay=0.6, ema=0.998)
JUDGE_SCENES = 4000


def picture_batches(images: np.ndarray, labels: np.ndarray) -> Batches:
    """Random rows of pictures (N, H, W, 3) uint8 and class ids (N, H, W), mirrored or not."""

    def batch(draw: Draw) -> tuple[Tensor, Tensor]:
        rows = draw.rng.integers(len(images), size=draw.batch)
        turned = [slice(None, None, -1 if mirrored else 1) for mirrored in draw.rng.random(draw.batch) < 0.5]
        x = pixels(np.stack([images[row][:, way] for row, way in zip(rows, turned, strict=True)]), draw.device)
        y = np.stack([labels[row][:, way] for row, way in zip(rows, turned, strict=True)])
        return x, torch.from_numpy(y).long().to(draw.device)

    return batch


def train_oasis(shop: Workshop) -> Oasis:
    """Train the small OASIS on pictures and class maps of the world, or go on; returns it with averaged weights."""
    recipe = replace(OASIS, steps=shop.steps) if shop.steps else OASIS
    return _oasis(shop, recipe)[0]


def package_oasis(shop: Workshop, folder: Path, pair: Oasis | None = None) -> None:
    """Write the folder of `pair`, or of the latest checkpoint, with its card."""
    progress = progress_of(checkpoint(shop, "oasis"))
    pair = pair or _oasis(shop, replace(OASIS, steps=progress.step))[0]
    with fresh(folder) as new:
        save_source(Source(pair, CLASSES), new)
    counts = {"generator": size(pair.generator), "discriminator": size(pair.discriminator)}
    write_card(folder, "oasis", {"oasis": (OASIS, progress)}, counts, shop.scenes)


def _oasis(shop: Workshop, recipe: AdversarialRecipe) -> tuple[Oasis, Progress]:
    data = shop.data()
    torch.manual_seed(recipe.seed)
    pair = Oasis(PRESETS["world"])

    def told(progress: Progress, means: dict[str, float]) -> None:
        shop.say("oasis", progress.step, recipe.steps, means["generator"])

    batches = picture_batches(data.image, data.classes)
    return pair, fit_pair(pair, batches, recipe, shop.folder / "train" / "oasis", shop.minutes, told)


def train_second_judge(shop: Workshop) -> None:
    """A segmenter of the second label set, for the benches alone: it judges what was transferred and is not shipped."""
    path = shop.folder / "train" / f"second-{JUDGE_SCENES}.npz"
    if not path.exists():
        scenes = [second.render_second(seed) for seed in range(JUDGE_SCENES)]
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, image=np.stack([s.image for s in scenes]), classes=np.stack([s.classes for s in scenes]))
        part.replace(path)
    with np.load(path, allow_pickle=False) as file:
        batches = picture_batches(file["image"], file["classes"])
    model = build_segmenter(second.NAMES)

    def loss(draw: Draw) -> dict[str, Tensor]:
        x, y = batches(draw)
        x = x + float(draw.rng.uniform(0, 0.1)) * torch.randn(x.shape, generator=draw.noise).to(x.device)
        logits = functional.interpolate(model(pixel_values=x).logits.float(), scale_factor=2, mode="bilinear")
        return {"ce": functional.cross_entropy(logits, y[:, 1::2, 1::2])}

    shop.fit("second-judge", model, loss, JUDGE)


def package_second_judge(shop: Workshop, folder: Path) -> None:
    """Write the judge as a transformers folder."""
    model = averaged(build_segmenter(second.NAMES), shop, "second-judge")
    with fresh(folder) as new:
        model.half().save_pretrained(new, safe_serialization=True, max_shard_size=SHARD)
    progress = progress_of(checkpoint(shop, "second-judge"))
    write_card(folder, "second-judge", {"second-judge": (JUDGE, progress)}, {"segmenter": size(model)}, JUDGE_SCENES)
