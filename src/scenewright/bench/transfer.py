"""`scenewright bench transfer`: class-affinity transfer to the world's second label set, whose truth is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from scenewright.bench.drawing import SPLITS, Told, silent
from scenewright.bench.rows import Row, Rows
from scenewright.bench.scoring import Judges
from scenewright.datasets.pairs import LabelledPictures
from scenewright.errors import UserError
from scenewright.metrics.layout import Confusion, mean_iou
from scenewright.metrics.quality import fid
from scenewright.transfer import affinity, finetune
from scenewright.transfer.affinity import Affinity
from scenewright.transfer.estimate import Encoders, chosen, estimates, world_pictures
from scenewright.transfer.folder import Source
from scenewright.transfer.folding import folded
from scenewright.transfer.oasis import Oasis
from scenewright.world.second import NAMES, oracle, render_second

AFFINITIES = ("random", "text", "segmentation", "self-supervised", "vote", "oracle", "scratch")
KEYS = ("model", "affinity", "pictures", "finetuned", "seed", "learn", "soft", "tie", "steps", "samples", "weights")
COLUMNS = ("model", "affinity", "pictures", "finetuned", "seed", "fid", "miou", "right")
_FEW = 5_000_000  # few-shot sets are drawn from here on, 1000 seeds apart


@dataclass(frozen=True)
class Plan:
    """What is measured: every affinity, number of pictures and seed, before and after training on."""

    affinities: Sequence[str] = AFFINITIES
    pictures: Sequence[int] = (100,)
    seeds: Sequence[int] = (0, 1, 2)
    finetune: bool = True
    learn: str = "all"
    soft: bool = False
    tie: str = "soft"
    steps: int = 2000
    samples: int = 300
    encoders: Encoders = Encoders()

    def __post_init__(self) -> None:
        for name in self.affinities:
            if name not in AFFINITIES:
                raise UserError(f"affinity '{name}' is not known; choose from {', '.join(AFFINITIES)}")
        if self.samples < 8 or min(self.pictures) < 2:
            raise UserError("ask for at least 8 samples and 2 pictures")


def few_shot(count: int, seed: int, size: int) -> LabelledPictures:
    """`count` labelled pictures of the second set; another seed gives other ones."""
    return rendered(range(_FEW + 1000 * seed, _FEW + 1000 * seed + count), size)


def rendered(seeds: range, size: int, told: Told = silent) -> LabelledPictures:
    """Labelled pictures of the second set."""
    shown = []
    for seed in seeds:
        shown.append(render_second(seed, size))
        told("rendering")
    images, labels = (np.stack([getattr(one, part) for one in shown]) for part in ("image", "classes"))
    stems = tuple(f"{seed:09}" for seed in seeds)
    return LabelledPictures(NAMES, tuple(range(1, len(NAMES))), (0,), stems, images, labels)


def measure(
    source: Source, weights: str, judges: Judges, plan: Plan, path: Path | None, work: Path, told: Told = silent
) -> Iterator[Row]:
    """A row for each measurement, written as soon as it is made; those in the file are not made again.

    `judges.segment` names the classes of the second set. `weights` tells sources apart; `work` holds checkpoints.
    """
    rows = Rows.at(path, KEYS)
    size = source.pair.config.size[0]
    start = SPLITS["test"]
    test = rendered(range(start, start + plan.samples), size, told)
    reference = judges.image_features(rendered(range(start + 1000, start + 1000 + plan.samples), size, told).images)
    own: LabelledPictures | None = None
    for seed in plan.seeds:
        for count in plan.pictures:
            few = few_shot(count, seed, size)
            found: list[Affinity] = []
            for name in plan.affinities:
                for after in (False, True) if plan.finetune else (False,):
                    row = _row(plan, name, count, seed, after, weights)
                    known = rows.find(row)
                    if known is None:
                        if not found and name in ("text", "segmentation", "self-supervised", "vote"):
                            own = own or world_pictures(source)
                            found = estimates(source, few, own, plan.encoders)
                        model, used = start_of(source, name, found, plan, seed)
                        if after:
                            _train(model, few, plan, work / _name(row))
                        known = rows.put(row | figures(model, used, test, reference, judges, seed))
                    told(f"{name} {count}")
                    yield known


def steps_of(plan: Plan) -> int:
    """How often `told` is called for renders and rows."""
    return 2 * plan.samples + len(plan.seeds) * len(plan.pictures) * len(plan.affinities) * (1 + plan.finetune)


def start_of(
    source: Source, name: str, found: Sequence[Affinity], plan: Plan, seed: int
) -> tuple[Source, Affinity | None]:
    """The model that an affinity gives, and that affinity; for "scratch" a new one that has seen nothing."""
    if name == "scratch":
        torch.manual_seed(seed)
        return Source(Oasis(source.pair.config.with_classes(len(NAMES))), NAMES), None
    if name == "oracle":
        used = affinity.given("oracle", source.names, NAMES, oracle())
    elif name == "random":
        used = affinity.at_random(source.names, NAMES, seed)
    else:
        used = chosen(found, name, plan.tie)
    return folded(source, used.mixed() if plan.soft else used.hard(), NAMES), used


def figures(
    model: Source, used: Affinity | None, test: LabelledPictures, reference: np.ndarray, judges: Judges, seed: int
) -> Row:
    """FID (world-CLIP) and mIoU of what a model draws of the test label maps; `right` is the share of classes with a
    true source that an affinity gave one of them.
    """
    z = torch.randn(len(test), model.pair.config.noise, generator=torch.Generator().manual_seed(seed))
    images = finetune.drawn_pictures(model.pair.generator.eval(), test.labels, z)
    confusion = Confusion(len(NAMES))
    for truth, seen in zip(test.labels, judges.segment(images), strict=True):
        confusion.update(truth, seen)
    return {
        "fid": fid(judges.image_features(images), reference),
        "miou": mean_iou(confusion.iou(), range(1, len(NAMES))),
        "right": None if used is None else right(used),
    }


def right(used: Affinity) -> float:
    """The share of classes whose chosen source is a true one; new classes, which have none, do not count."""
    from scenewright.world.second import CORRESPONDENCE

    told = [(used.source[max(0, used.choice[t])], CORRESPONDENCE[name]) for t, name in enumerate(used.target) if t]
    known = [(chosen_one, sources) for chosen_one, sources in told if sources]
    return sum(one in sources for one, sources in known) / len(known)


def _train(model: Source, few: LabelledPictures, plan: Plan, folder: Path) -> None:
    recipe = replace(finetune.FINETUNE, steps=plan.steps)
    features = plan.encoders.dense() or finetune.patch_statistics
    every = max(1, min(200, plan.steps // 4))
    finetune.finetuned(model, few, folder, features, plan.learn, recipe, every)


def _row(plan: Plan, name: str, count: int, seed: int, after: bool, weights: str) -> Row:
    return {
        "model": "oasis",
        "affinity": name,
        "pictures": count,
        "finetuned": after,
        "seed": seed,
        "learn": plan.learn if after else None,
        "soft": plan.soft,
        "tie": plan.tie,
        "steps": plan.steps if after else 0,
        "samples": plan.samples,
        "weights": weights,
    }


def _name(row: Row) -> str:
    return "-".join(str(row[key]) for key in ("affinity", "pictures", "seed", "learn", "soft", "steps", "weights"))
