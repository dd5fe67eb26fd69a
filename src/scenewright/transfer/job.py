"""The whole of `scenewright transfer`: estimate, fold, train on, write."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from scenewright.datasets.label_sets import LabelSet
from scenewright.datasets.pairs import LabelledPictures, read_pairs
from scenewright.display import png_bytes
from scenewright.errors import UserError
from scenewright.files import write_atomically
from scenewright.transfer import finetune, inspect
from scenewright.transfer.affinity import TIES, Affinity, warnings
from scenewright.transfer.estimate import KINDS, Encoders, chosen, estimates, world_pictures
from scenewright.transfer.folder import Source, save_source
from scenewright.transfer.folding import PARTS, folded
from scenewright.world.sheet import grid, palette

__all__ = ["Plan", "folded_for", "own_pictures", "train", "warnings", "write"]


@dataclass(frozen=True)
class Plan:
    """How to transfer; `learn` is None for training-free use."""

    affinity: str = "vote"
    tie: str = "soft"
    soft: bool = False
    learn: str | None = "all"
    steps: int = finetune.FINETUNE.steps
    minutes: float | None = None
    encoders: Encoders = Encoders()

    def __post_init__(self) -> None:
        if self.affinity not in KINDS:
            raise UserError(f"affinity '{self.affinity}' is not known; choose from {', '.join(KINDS)}")
        if self.tie not in TIES:
            raise UserError(f"tie rule '{self.tie}' is not known; choose from {', '.join(TIES)}")
        if self.steps < 1 or not 0 <= (self.minutes or 0) < 1e6:
            raise UserError("--steps must be at least 1, and --minutes no less than 0")
        if self.learn is not None and self.learn not in PARTS:
            raise UserError(f"--learn {self.learn} is not known; choose from {', '.join(PARTS)}")

    def key(self) -> str:
        """What makes two runs the same one; how long this part of it lasts does not."""
        return repr(replace(self, minutes=None))


def own_pictures(
    source: Source, kind: str, pictures: Path | None = None, labels: Path | None = None
) -> LabelledPictures | None:
    """Pictures of the source's classes for an affinity of a kind: the folders given, renders if it knows the world,
    else None. Raises UserError for one folder without the other.
    """
    if (pictures is None) != (labels is None):
        raise UserError("pictures of the source's classes need labels, and labels pictures; give both or neither")
    if pictures is None or labels is None:
        return None if kind == "text" else world_pictures(source)
    names = dict(zip(source.values or range(1, len(source.names)), source.names[1:], strict=True))
    known = LabelSet("the source model", names, frozenset(), frozenset(source.void))
    return read_pairs(pictures, labels, known, source.pair.config.size)


def folded_for(
    source: Source,
    target: LabelledPictures,
    own: LabelledPictures | None,
    plan: Plan,
    told: Callable[[str], None] = lambda text: None,
) -> tuple[Source, Affinity, list[Affinity]]:
    """The source folded for the target's classes, the affinity that was used, and every estimate."""
    kinds = ("text", "segmentation", "self-supervised") if plan.affinity == "vote" else (plan.affinity,)
    found = estimates(source, target, own, plan.encoders, kinds, told)
    used = chosen(found, plan.affinity, plan.tie)
    new = folded(source, used.mixed() if plan.soft else used.hard(), target.names)
    new = replace(new, values=target.values, void=target.void)
    return new, used, [*found, used] if plan.affinity == "vote" else found


def train(
    new: Source,
    target: LabelledPictures,
    plan: Plan,
    folder: Path,
    advance: Callable[[str, float], None] = lambda text, amount: None,
) -> tuple[int, bool]:
    """Train on in place, resuming what is in `folder`: the steps done, and whether the run is over. `advance` hears of
    steps.
    """
    recipe = replace(finetune.FINETUNE, steps=plan.steps)
    reached = 0

    def report(progress, means) -> None:  # noqa: ANN001 - a Progress and the means of its losses
        nonlocal reached
        held = f", held out {means['held_out']:.3f}" if "held_out" in means else ""
        losses = f"losses {means['generator']:.2f} {means['real']:.2f}"
        advance(f"step {progress.step}, {losses}{held}", progress.step - reached)
        reached = progress.step

    features = plan.encoders.dense() or finetune.patch_statistics
    every = max(1, min(200, plan.steps // 4))
    learn = plan.learn or "all"
    done, over = finetune.finetuned(
        new, target, folder, features, learn, recipe, every, minutes=plan.minutes, report=report
    )
    return done.step, over


def write(new: Source, target: LabelledPictures, used: Affinity, found: list[Affinity], out: Path) -> None:
    """The model's folder: affinity first, config.json last, so that what has one is whole."""
    facts = {"used": inspect.as_json(used), "estimates": [inspect.as_json(one) for one in found]}
    write_atomically(out / "affinity.json", (json.dumps(facts, indent=1) + "\n").encode())
    try:
        write_atomically(out / "affinity.png", inspect.plot(found))
    except UserError as error:
        if "matplotlib" not in str(error):
            raise
    write_atomically(out / "drawn.png", png_bytes(Image.fromarray(sheet(new, target.split()[1]))))
    write_atomically(out / "README.md", card(new, target, used).encode())
    save_source(new, out)


def sheet(new: Source, held: LabelledPictures, most: int = 8) -> np.ndarray:
    """Held-out label maps, their pictures, and two drawings of each, in four rows."""
    held = held.rows(list(range(min(most, len(held)))))
    z = torch.randn(2, len(held), new.pair.config.noise, generator=torch.Generator().manual_seed(0))
    drawn = [finetune.drawn_pictures(new.pair.generator.eval(), held.labels, noise) for noise in z]
    rows = [palette(max(2, len(new.names)))[held.labels], held.images, *drawn]
    return grid([picture for row in rows for picture in row], len(held))


def card(new: Source, target: LabelledPictures, used: Affinity) -> str:
    """README.md of a transferred model."""
    size = new.pair.config.size
    return "\n".join(
        [
            "# Class map to picture",
            "",
            f"An OASIS generator for {len(new.names) - 1} classes at {size[1]}x{size[0]} pixels, made from a model "
            f"of {len(used.source) - 1} classes by class-affinity transfer (arXiv 2304.02321) with {len(target)} "
            "pictures.",
            "",
            f"Affinity: {used.kind}. What each class was drawn as at first, and its top matches:",
            "",
            "```",
            inspect.table(used),
            "```",
            "",
            "Draw: `scenewright generate LABELS --labels --model THIS -o DIR`.",
            "",
        ]
    )
