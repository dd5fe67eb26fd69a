"""A folded source model trained on with a few labelled pictures, until held-out ones get no better."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scenewright.datasets.pairs import LabelledPictures
from scenewright.training.adversarial import AdversarialRecipe, fit_pair
from scenewright.training.checkpoint import Progress
from scenewright.training.fit import Report
from scenewright.training.sources import picture_batches
from scenewright.training.watch import Watch
from scenewright.transfer.folder import Source
from scenewright.transfer.folding import learn_only
from scenewright.transfer.oasis import one_hot

# Half the rates of the source's training, and an average that a few thousand steps can move.
FINETUNE = AdversarialRecipe(steps=6000, batch=8, rate=1e-4, discriminator_rate=2e-4, ema=0.998, restatements=20)


def finetuned(
    source: Source,
    pictures: LabelledPictures,
    folder: Path,
    features: Callable[[np.ndarray], Tensor],
    learn: str = "all",
    recipe: AdversarialRecipe = FINETUNE,
    every: int = 200,
    patience: int = 5,
    minutes: float | None = None,
    report: Report = lambda progress, means: None,
) -> tuple[Progress, bool]:
    """Train `source` in place with the source's own losses; afterwards it is the best that held-out pictures saw.

    `learn` says which weights of the generator learn (see `folding.learn_only`); the discriminator learns whole, since
    it must know the new pictures. `features` (N, D, h, w) of pictures is what drawn and real are compared by. The run
    in `folder` is resumed. Returns the progress, and whether the run is over (it is not where `minutes` ended it).
    """
    ours, held = pictures.split()
    learn_only(source.pair.generator, learn)
    watch = Watch(held_out_score(held, features, source.pair.config.noise), every, patience)
    recipe = replace(recipe, batch=min(recipe.batch, 2 * len(ours)))
    batches = picture_batches(ours.images, ours.labels)
    progress = fit_pair(source.pair, batches, recipe, folder, minutes, report, watch=watch)
    return progress, progress.step >= recipe.steps or watch.over(progress)


def held_out_score(held: LabelledPictures, features: Callable[[np.ndarray], Tensor], noise: int) -> Callable:
    """How far what a generator draws of held-out label maps is from their own pictures, place by place: the mean over
    cells of |f - g|^2 / (|f|^2 + |g|^2), 0 for equal and 1 for unrelated features. The noise is always the same.

    Distances of distributions (FID) mean nothing on a handful of pictures; this is a mean over all their cells.
    """
    real = features(held.images).flatten(2)
    middle = real.mean((0, 2))[:, None]
    z = torch.randn(len(held), noise, generator=torch.Generator().manual_seed(0))

    def score(generator: nn.Module) -> float:
        drawn = features(drawn_pictures(generator, held.labels, z)).flatten(2)
        f, g = real - middle, drawn - middle
        return float(((f - g).square().sum(1) / (f.square().sum(1) + g.square().sum(1)).clamp_min(1e-12)).mean())

    return score


@torch.no_grad()
def drawn_pictures(generator: nn.Module, labels: np.ndarray, z: Tensor, batch: int = 8) -> np.ndarray:
    """uint8 (N, H, W, 3) of class ids (N, H, W) and noise (N, noise)."""
    classes, device = generator.config.classes, next(generator.parameters()).device  # type: ignore[union-attr]
    parts = []
    for start in range(0, len(labels), batch):
        ids = torch.from_numpy(labels[start : start + batch].astype(np.int64))
        picture = generator(one_hot(ids, classes).to(device), z[start : start + batch].to(device))  # type: ignore[arg-type]
        parts.append(((picture.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu())
    return torch.cat(parts).numpy()


def patch_statistics(images: np.ndarray) -> Tensor:
    """Features that need no network: mean and deviation of each colour in cells of a sixteenth of the side,
    (N, 6, 16, 16).
    """
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean = F.adaptive_avg_pool2d(x, 16)
    spread = (F.adaptive_avg_pool2d(x.square(), 16) - mean.square()).clamp_min(0).sqrt()
    return torch.cat([mean, spread], 1)
