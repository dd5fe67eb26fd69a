"""`scenewright bench real`: every method on layouts that people drew for other systems, free words and all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scenewright.bench.drawing import Told, complete, draw, silent
from scenewright.bench.layout import reference_features
from scenewright.bench.rows import Row, Rows
from scenewright.bench.scoring import Judges, identities, scores
from scenewright.denoiser import Model
from scenewright.errors import UserError
from scenewright.guidance import USUAL, canonical
from scenewright.lint import lint
from scenewright.metrics.quality import Gaussian
from scenewright.runs import entries
from scenewright.scene import Scene
from scenewright.world import class_of

FOLDERS = ("densediffusion_layouts", "zestguide_layouts", "coco_val100_layouts")
KEYS = ("method", "setting", "samples", "seed", "steps", "reference", "parameters", "model", "dtype", "judges")
SIZE = (128, 128)
REFERENCE = 1000  # renders that FID compares with


@dataclass
class Collection:
    """The layouts of one folder, as the benches draw them: square, segments without words or pixels left out."""

    name: str
    scenes: list[Scene] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    findings: int = 0
    texts: int = 0
    covered: int = 0
    dropped: int = 0

    @property
    def coverage(self) -> float:
        """Share of the non-empty segment texts that name something of the world."""
        return self.covered / self.texts if self.texts else float("nan")


def collect(folder: Path, model: Model, told: Told = silent) -> Collection:
    """Read, lint and encode every layout of a folder; one that fails is named in `failed` with the reason."""
    out = Collection(folder.name)
    facts = model.facts()
    for entry in entries([folder]).sources:
        told(entry.name)
        try:
            scene = entry.read()
            words = [segment.text for segment in scene.segments if segment.text]
            out.texts += len(words)
            out.covered += sum(class_of(text) is not None for text in words)
            out.findings += len(lint(scene, facts))
            kept = readable(scene.resized(SIZE).drawable(), model)
            out.dropped += len(scene.drawable().segments) - len(kept.segments)
            out.scenes.append(kept)
        except UserError as error:
            out.failed[entry.name] = str(error)
    return out


def readable(scene: Scene, model: Model) -> Scene:
    """The scene with as many of its largest segments as the model can read: phrases past its token limit are lost.

    Raises UserError if not even one is left.
    """
    by_size = sorted(range(len(scene.segments)), key=lambda i: -scene.segments[i].area)
    while True:
        kept = replace(scene, segments=tuple(scene.segments[i] for i in sorted(by_size)))
        try:
            model.encode(kept)
        except UserError:
            if len(by_size) < 2:
                raise
            by_size.pop()
        else:
            return kept


def collections(data: Path, model: Model, told: Told = silent) -> list[Collection]:
    """The layout folders below `data` that are there; raises UserError when none is."""
    found = [data / name for name in FOLDERS if (data / name).is_dir()]
    if not found:
        raise UserError(f"{data} holds none of {', '.join(FOLDERS)}; name the folder that holds them with --data.")
    return [collect(folder, model, told) for folder in found]


def steps_of(parts: Sequence[Collection], methods: Sequence[str]) -> int:
    """How often `told` is called: renders and pictures."""
    return REFERENCE + sum(len(part.scenes) for part in parts) * len(methods)


def measure(
    model: Model,
    judges: Judges,
    parts: Sequence[Collection],
    path: Path | None = None,
    *,
    methods: Sequence[str] = USUAL,
    seed: int = 0,
    steps: int = 30,
    batch: int = 16,
    reference: int = REFERENCE,
    told: Told = silent,
) -> Iterator[Row]:
    """One row per folder and method, as in `bench layout`, with the folder as setting; rows in the file are kept.

    mIoU is over segments whose words the world covers. FID is against renders of the world: there are no photographs
    to compare with.
    """
    rows = Rows.at(path, KEYS)
    statistics: Gaussian | None = None
    for part in parts:
        for method in map(canonical, methods):
            row = {
                "method": method,
                "setting": part.name,
                "samples": len(part.scenes),
                "seed": seed,
                "steps": steps,
                "reference": reference,
                "parameters": complete(model, method),
                **identities(model, judges),
            }
            if known := rows.find(row):
                yield known
                continue
            statistics = statistics or reference_features(judges, "test", reference, told)
            images, seconds = draw(model, part.scenes, method, steps=steps, seed=seed, batch=batch, told=told)
            measured = scores(judges, part.scenes, images, statistics)
            yield rows.put(row | measured | {"seconds": seconds, "coverage": part.coverage, "failed": len(part.failed)})
