"""`scenewright bench layout`: every method on held-out scenes, conditioned on some or all of their segments."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scenewright.bench.drawing import SPLITS, Told, complete, draw, parameters_of, renders, silent
from scenewright.bench.rows import Row, Rows
from scenewright.bench.scoring import Judges, identities, scores
from scenewright.denoiser import Model
from scenewright.errors import UserError
from scenewright.guidance import USUAL, canonical
from scenewright.metrics.quality import Gaussian
from scenewright.scene import Scene
from scenewright.world import Sample
from scenewright.world.layouts import SETTINGS, scene_of

RENDERS = "renders"  # the row of the scenes' own renders: what a perfect method would score with these judges
DEFAULT_METHODS = (*USUAL, RENDERS)
KEYS = ("method", "setting", "samples", "seed", "split", "steps", "reference", "parameters", "model", "dtype", "judges")
COLUMNS = ("method", "setting", "miou", "miou_full", "miou_stuff", "fid", "clip", "seconds", "samples", "seed")
_REFERENCE_OFFSET = 5_000_000  # far from the scenes that are drawn, inside the same split


@dataclass(frozen=True)
class Plan:
    """What to measure. `parameters` are those of the methods ("zest.eta"); each method takes the ones it has."""

    setting: str = "few"
    samples: int = 256
    methods: Sequence[str] = DEFAULT_METHODS
    split: str = "test"
    seed: int = 0
    steps: int = 30
    batch: int = 16
    reference: int = 1000
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.setting not in SETTINGS:
            raise UserError(f"setting '{self.setting}' is not known; choose from {', '.join(SETTINGS)}.")
        if self.split not in SPLITS:
            raise UserError(f"split '{self.split}' is not known; choose from {', '.join(SPLITS)}.")
        if min(self.samples, self.reference) < 2 or self.batch < 1:
            raise UserError("too few scenes; samples and reference must be at least 2, batch at least 1.")
        object.__setattr__(self, "methods", tuple(m if m == RENDERS else canonical(m) for m in self.methods))

    def parameters_of(self, method: str) -> dict[str, Any]:
        """The parameters that a method has."""
        return parameters_of(self.parameters, method)


def held_out_scenes(setting: str, count: int, split: str, told: Told = silent) -> tuple[list[Sample], list[Scene]]:
    """The first `count` samples of a split whose scene in a setting has a segment, and those scenes."""
    samples: list[Sample] = []
    scenes: list[Scene] = []
    first = SPLITS[split]
    while len(scenes) < count:
        wanted = count - len(scenes)
        for sample in renders(range(first, first + wanted), told=told):
            scene = scene_of(sample, setting)
            if scene.segments:
                samples.append(sample)
                scenes.append(scene)
        first += wanted
    return samples, scenes


def reference_rows(judges: Judges, split: str, count: int, told: Told = silent) -> np.ndarray:
    """(count, D) world-CLIP features of other renders of a split."""
    start = SPLITS[split] + _REFERENCE_OFFSET
    images = np.stack([sample.image for sample in renders(range(start, start + count), told=told)])
    return judges.image_features(images)


def reference_features(judges: Judges, split: str, count: int, told: Told = silent) -> Gaussian:
    """Their statistics."""
    return Gaussian.of(reference_rows(judges, split, count, told))


def measure(model: Model, judges: Judges, plan: Plan, path: Path | None = None, told: Told = silent) -> Iterator[Row]:
    """One row per method, measured or found in the file at `path`; each is on disk before the next begins.

    Rows hold COLUMNS and KEYS. Nothing is rendered when every row is there already.
    """
    rows = Rows.at(path, KEYS)
    wanted = [_identity(model, judges, plan, method) for method in plan.methods]
    if all(rows.find(row) for row in wanted):
        yield from (rows.find(row) or row for row in wanted)
        return
    samples, scenes = held_out_scenes(plan.setting, plan.samples, plan.split, told)
    reference = reference_features(judges, plan.split, plan.reference, told)
    for row in wanted:
        known = rows.find(row)
        yield known or rows.put(row | _measured(model, judges, plan, row["method"], samples, scenes, reference, told))


def _identity(model: Model, judges: Judges, plan: Plan, method: str) -> Row:
    return {
        "method": method,
        "setting": plan.setting,
        "samples": plan.samples,
        "seed": plan.seed,
        "split": plan.split,
        "steps": plan.steps,
        "reference": plan.reference,
        "parameters": {} if method == RENDERS else complete(model, method, plan.parameters_of(method)),
        **identities(model, judges),
    }


def _measured(
    model: Model,
    judges: Judges,
    plan: Plan,
    method: str,
    samples: Sequence[Sample],
    scenes: Sequence[Scene],
    reference: Gaussian,
    told: Told,
) -> Row:
    if method == RENDERS:
        return scores(judges, scenes, np.stack([s.image for s in samples]), reference) | {"seconds": None}
    images, seconds = draw(
        model,
        scenes,
        method,
        steps=plan.steps,
        seed=plan.seed,
        batch=plan.batch,
        parameters=plan.parameters_of(method),
        told=told,
    )
    return scores(judges, scenes, images, reference) | {"seconds": seconds}


def steps_of(plan: Plan) -> int:
    """How often `told` is called for a plan, about: renders and pictures."""
    drawn = sum(method != RENDERS for method in plan.methods)
    return plan.samples * (1 + drawn) + plan.reference
