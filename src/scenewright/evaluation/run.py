"""An evaluation as a folder: cases, then pictures and what the judges saw in them, batch by batch.

Every batch is one file, written whole after its pictures: a killed run goes on where it stopped, and several
processes can share one folder. What is in a batch does not depend on who draws it.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from scenewright.bench.drawing import Told, draw, renders, silent
from scenewright.bench.layout import RENDERS, reference_rows
from scenewright.bench.scoring import Judged, Judges, Labels, layout_score
from scenewright.denoiser import Model
from scenewright.display import png_bytes
from scenewright.errors import UserError
from scenewright.evaluation.plan import Plan, column, identity
from scenewright.evaluation.protocols import WORLD, Case, cases, save_cases, saved_cases
from scenewright.files import write_atomically
from scenewright.metrics.layout import Overlaps
from scenewright.metrics.objects import found


class Part(NamedTuple):
    """Scenes start <= i < stop by one method."""

    method: str
    folder: str
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Batch:
    """What is kept of one part: what the judges saw, how many objects were named and found per picture (N, 2), and the
    seconds a picture took (NaN for renders).
    """

    judged: Judged
    objects: np.ndarray
    seconds: float

    def save(self, path: Path) -> None:
        buffer = io.BytesIO()
        layout = self.judged.layout
        np.savez_compressed(
            buffer,
            inside=layout.inside.rows,
            whole=layout.whole.rows,
            features=self.judged.features,
            clip=self.judged.clip,
            objects=self.objects,
            seconds=np.array(self.seconds),
        )
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path, labels: Labels) -> "Batch":
        """Raises UserError if the file cannot be read."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                rows = {name: file[name] for name in ("inside", "whole", "features", "clip", "objects", "seconds")}
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise UserError(f"{path} is no whole part of an evaluation; delete it and run again.") from error
        layout = layout_score((), np.zeros((0, 1, 1)), labels=labels)
        layout.inside, layout.whole = Overlaps.from_rows(rows["inside"]), Overlaps.from_rows(rows["whole"])
        judged = Judged(layout, rows["features"], rows["clip"])
        return cls(judged, rows["objects"], float(rows["seconds"]))


@dataclass(frozen=True, eq=False)
class Run:
    """One evaluation in `folder`. Raises UserError if the folder holds another one."""

    folder: Path
    plan: Plan
    model: Model
    judges: Judges
    told: Told = silent

    def __post_init__(self) -> None:
        path, wanted = self.folder / "plan.json", identity(self.plan, self.model, self.judges)
        if path.exists():
            _check(json.loads(path.read_text(encoding="utf-8")), wanted, self.folder)
        else:
            write_atomically(path, (json.dumps(wanted, indent=1) + "\n").encode())

    @cached_property
    def cases(self) -> list[Case]:
        """The scenes, chosen on first use and read from the folder ever after."""
        known = saved_cases(self.folder / "scenes")
        if known is None:
            plan = self.plan
            save_cases(cases(plan.data, plan.protocol, plan.samples, plan.split, self.told), self.folder / "scenes")
            known = saved_cases(self.folder / "scenes")
        return known or []

    @cached_property
    def reference(self) -> np.ndarray:
        """(R, D) features of other renders of the world, which FID and its kin compare with."""
        path = self.folder / "reference.npz"
        if not path.exists():
            buffer = io.BytesIO()
            rows = reference_rows(self.judges, self.plan.split, self.plan.reference, self.told)
            np.savez_compressed(buffer, features=rows)
            write_atomically(path, buffer.getvalue())
        with np.load(path, allow_pickle=False) as file:
            return file["features"]

    def parts(self, methods: Sequence[str]) -> list[Part]:
        """Every part of these methods, in order."""
        starts, count = range(0, len(self.cases), self.plan.batch), len(self.cases)
        named = [column(self.plan, self.model, method)[:2] for method in methods]
        return [Part(*names, start, min(start + self.plan.batch, count)) for names in named for start in starts]

    def missing(self, methods: Sequence[str]) -> list[Part]:
        return [part for part in self.parts(methods) if not self._path(part).exists()]

    def work(self, methods: Sequence[str], shard: tuple[int, int] = (0, 1)) -> None:
        """Draw and judge the missing parts, of them those of `shard` (index, count), which several processes share."""
        index, count = shard
        if not 0 <= index < count:
            raise UserError(f"shard {index} of {count} does not exist; count from 0 to {count - 1}.")
        for number, part in enumerate(self.parts(methods)):
            if number % count == index and not self._path(part).exists():
                self._draw(part)

    def batches(self, method: str) -> Iterator[Batch]:
        """The batches of a method in order; raises UserError if one is missing."""
        for part in self.parts([method]):
            if not self._path(part).exists():
                raise UserError(f"{method} is not finished in {self.folder}; run the same command again.")
            yield Batch.load(self._path(part), self.judges.labels)

    def picture(self, method: str, number: int) -> Path:
        """Where the picture of a case is kept."""
        return self.folder / column(self.plan, self.model, method)[1] / f"{number:06d}.png"

    def _path(self, part: Part) -> Path:
        return self.folder / part.folder / f"{part.start:06d}.npz"

    def _draw(self, part: Part) -> None:
        own = self.cases[part.start : part.stop]
        scenes = [case.scene for case in own]
        images, seconds = self._rendered(own) if part.method == RENDERS else self._drawn(part, scenes)
        for number, image in enumerate(images, start=part.start):
            write_atomically(self.folder / part.folder / f"{number:06d}.png", png_bytes(Image.fromarray(image)))
        classes = self.judges.segment(images)
        shown = np.array(
            [_shown(case, seen, self.judges.labels) for case, seen in zip(own, classes, strict=True)], np.int64
        )
        Batch(Judged.of(self.judges, scenes, images, classes), shown, seconds).save(self._path(part))

    def _drawn(self, part: Part, scenes: list) -> tuple[np.ndarray, float]:
        plan = self.plan
        return draw(
            self.model,
            scenes,
            part.method,
            steps=plan.steps,
            seed=plan.seed + part.start,
            batch=plan.batch,
            parameters=plan.parameters_of(part.method),
            told=self.told,
        )

    def _rendered(self, own: Sequence[Case]) -> tuple[np.ndarray, float]:
        if self.plan.data != WORLD:
            raise UserError("only scenes of the world have renders; leave that method out.")
        seeds = [int(case.scene.name.removeprefix("world ")) for case in own]
        return np.stack([sample.image for sample in renders(seeds, told=self.told)]), float("nan")


def _shown(case: Case, classes: np.ndarray, labels: Labels) -> tuple[int, int]:
    """How many classes of object the case names, and how many of them a class map shows."""
    named = {labels.id_of(words) for words in case.named} & set(labels.objects)
    return len(named), sum(found(classes, class_id) for class_id in named)


def _check(known: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    for name, value in wanted.items():
        if known.get(name) != value:
            raise UserError(
                f"{folder} holds an evaluation with {name} {known.get(name)}, not {value}; name another folder."
            )
