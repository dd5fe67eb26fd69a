"""Drawing many scenes into a folder: resumable, whole files only, one bad scene never stops the others."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from scenewright.api import Settings, draw, plan
from scenewright.datasets.folder import Skipped
from scenewright.datasets.label_sets import LabelSet, label_pictures, read_labels
from scenewright.errors import UserError
from scenewright.files import write_atomically
from scenewright.lint import lint
from scenewright.record import Record, is_finished
from scenewright.scene import Scene
from scenewright.scene_io import Found, Source, find_scenes

if TYPE_CHECKING:
    from scenewright.denoiser import Model

Told = Callable[..., None]  # (text, share of a picture done = 1)


class Failure(BaseModel):
    """A scene that could not be read or drawn, or a file that holds none, and why."""

    scene: str
    reason: str


class Warned(BaseModel):
    """What lint found in a scene before it was drawn."""

    scene: str
    code: str
    severity: str
    message: str


class Summary(BaseModel):
    """What a run did; kept as summary.json in its folder."""

    scenes: int = 0
    pictures: int = 0
    skipped: int = 0
    failed: list[Failure] = []
    left_out: list[Failure] = []
    unknown_words: dict[str, int] = {}
    findings: int = 0
    warnings: list[Warned] = []
    interrupted: bool = False
    seconds: float = 0.0


@dataclass
class Run:
    """One run: a loaded model, the settings, the folder. `told` hears of every finished picture."""

    model: "Model"
    source: str
    settings: Settings
    out: Path
    told: Told = lambda text, amount=1.0: None
    summary: Summary = field(default_factory=Summary)
    _share: float = field(default=0.0, init=False)  # of the scene at hand, in pictures

    def draw_all(self, found: Found) -> Summary:
        """Draw every entry; the summary is written even when stopped by Ctrl-C."""
        start = time.perf_counter()
        self.summary.left_out = [Failure(scene=str(path), reason=why) for path, why in found.skipped]
        write_atomically(self.out / "summary.json", self._text())  # an unwritable folder shows before any work
        self.summary.interrupted = True
        try:
            for entry in found.sources:
                self.draw_one(entry)
            self.summary.interrupted = False
        finally:
            self.summary.seconds = round(time.perf_counter() - start, 2)
            write_atomically(self.out / "summary.json", self._text())
        return self.summary

    def draw_one(self, entry: Source) -> None:
        """Read, lint and draw one scene, and count what came of it; a UserError is a failure of this scene alone."""
        self.summary.scenes += 1
        self._share = 0.0
        try:
            scene = entry.read()
            self._lint(entry.name, scene)
            for batch in plan(self.model, self.source, scene, self.settings):
                self._draw_batch(entry.name, batch)
        except UserError as error:
            self.summary.failed.append(Failure(scene=entry.name, reason=str(error)))
            self._tell(f"{entry.name} failed", self.settings.count - self._share)

    def _draw_batch(self, name: str, batch: list[Record]) -> None:
        missing = [record for record in batch if not is_finished(self._path(name, record), record.key())]
        self.summary.skipped += len(batch) - len(missing)
        self._tell(name, len(batch) - len(missing))
        if missing:
            for picture in draw(self.model, missing, lambda done, steps: self._tell(name, len(missing) / steps)):
                picture.save(self._path(name, picture.record))
                self.summary.pictures += 1

    def _tell(self, text: str, amount: float) -> None:
        self._share += amount
        self.told(text, amount)

    def _path(self, name: str, record: Record) -> Path:
        return self.out / f"{name}_{record.seed}.png"

    def _lint(self, name: str, scene: Scene) -> None:
        facts = self.model.facts()
        found = lint(scene, facts, (self.settings.method,))
        self.summary.findings += len(found)
        self.summary.warnings += [
            Warned(scene=name, code=f.code, severity=f.severity, message=f.message) for f in found
        ]
        words = Counter(self.summary.unknown_words)
        words.update(
            w for text in (scene.caption, *(s.text for s in scene.segments)) for w in facts.unknown_words(text)
        )
        self.summary.unknown_words = dict(words.most_common())

    def _text(self) -> bytes:
        return (json.dumps(self.summary.model_dump(mode="json"), indent=1) + "\n").encode()


def entries(paths: Sequence[Path]) -> Found:
    """Every scene in files and folders, unread, under names that are distinct and make file names.

    A broken file among several paths is a scene that raises when read. Raises UserError if a path is missing, if a
    folder holds no scene, and if the only path is a broken file.
    """
    sources: list[Source] = []
    skipped: list[Skipped] = []
    for path in paths:
        try:
            found = find_scenes(path)
            sources += found.sources
            skipped += found.skipped
        except UserError as error:
            if len(paths) == 1 or not path.is_file():
                raise
            sources.append(Source(path, path.stem, partial(_fail, error)))
    names = distinct([source.name for source in sources])
    named = tuple(replace(source, name=name) for source, name in zip(sources, names, strict=True))
    return Found(named, tuple(skipped))


def label_entries(paths: Sequence[Path], label_set: LabelSet) -> Found:
    """Every label picture in files and folders, unread, as a scene of the classes of `label_set`.

    Raises UserError if a path is missing or a folder holds none.
    """
    files = [file for path in paths for file in (label_pictures(path, label_set) if path.is_dir() else [path])]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise UserError(f"{missing} does not exist; name label pictures or folders of them")
    names = distinct([file.stem for file in files])
    read = [partial(read_labels, file, label_set) for file in files]
    return Found(tuple(Source(*row) for row in zip(files, names, read, strict=True)))


def _fail(error: UserError) -> Scene:
    raise error


def file_name(text: str) -> str:
    """`text` as the stem of a file name on every system; never empty, at most 100 characters."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:100] or "scene"


def distinct(names: Sequence[str]) -> list[str]:
    """The names in order, later twins numbered: a, a-2, a-3."""
    taken: set[str] = set()
    out = []
    for name in map(file_name, names):
        free, number = name, 1
        while free.casefold() in taken:
            number += 1
            free = f"{name}-{number}"
        taken.add(free.casefold())
        out.append(free)
    return out
