"""Rendered scenes on disk, in shards, rebuilt when the recipe changes and never read half-written."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from .compose import RECIPE
from .sample import Sample, render

SHARD = 500
_ARRAYS = ("image", "classes", "instances")


@cache
def recipe() -> str:
    """A hash of what the code draws and says for some probe seeds: when a picture changes, every cache is stale.

    The output is hashed rather than the source, so that tidying the code does not cost a re-render.
    """
    digest = hashlib.sha256(str(RECIPE).encode())
    for probe in range(40):
        sample = render(probe, 24)
        digest.update(sample.image.tobytes() + sample.classes.tobytes() + json.dumps(words_of(sample)).encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Rendered:
    """Stacked scenes: image (N, H, W, 3) uint8, classes and instances (N, H, W) uint8, words as `Sample.phrases`."""

    image: np.ndarray
    classes: np.ndarray
    instances: np.ndarray
    words: list[dict]

    def __len__(self) -> int:
        return len(self.image)


def words_of(sample: Sample) -> dict:
    """The captions and phrases of a scene as JSON."""
    said = [
        {"text": p.text, "class_id": p.class_id, "instance": p.instance, "colour": p.colour} for p in sample.phrases
    ]
    return {"seed": sample.seed, "captions": list(sample.captions), "phrases": said}


def _task(job: tuple[int, int]) -> tuple[dict[str, np.ndarray], dict]:
    sample = render(job[0], job[1])
    return {name: getattr(sample, name) for name in _ARRAYS}, words_of(sample)


def render_many(
    seeds: range, size: int = 128, workers: int | None = None
) -> Iterator[tuple[dict[str, np.ndarray], dict]]:
    """Arrays and words of each seed in order, rendered by `workers` processes (all cores by default)."""
    jobs = [(seed, size) for seed in seeds]
    count = workers or os.cpu_count() or 1
    if count == 1 or len(jobs) < 8:
        yield from map(_task, jobs)
        return
    with get_context("spawn").Pool(count) as pool:
        yield from pool.imap(_task, jobs, chunksize=8)


def build(
    seeds: range,
    folder: Path,
    size: int = 128,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Path]:
    """Shards of `seeds` under `folder`, rendering those that are missing or stale. `progress` gets scene counts."""
    folder = folder / f"{recipe()}-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for start in range(seeds.start, seeds.stop, SHARD):
        part = range(start, min(start + SHARD, seeds.stop))
        path = folder / f"{part.start}-{part.stop}.npz"
        shards.append(path)
        if path.exists():
            progress(len(part))
            continue
        arrays: dict[str, list[np.ndarray]] = {name: [] for name in _ARRAYS}
        words = []
        for picture, said in render_many(part, size, workers):
            for name in _ARRAYS:
                arrays[name].append(picture[name])
            words.append(said)
            progress(1)
        _write(path, {name: np.stack(rows) for name, rows in arrays.items()}, words)
    return shards


def _write(path: Path, arrays: dict[str, np.ndarray], words: list[dict]) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(part, words=np.frombuffer(json.dumps(words).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    os.replace(part, path)


def load(shards: list[Path]) -> Rendered:
    """All shards in one piece. Only arrays and JSON are read, never pickles."""
    return Rendered(*(column(shards, name) for name in _ARRAYS), words=words(shards))  # type: ignore[arg-type]


def column(shards: list[Path], name: str, every: int = 1) -> np.ndarray:
    """One array of all shards, at every `every`-th pixel of its rows and columns (from the middle of each step)."""
    parts = []
    for path in shards:
        with np.load(path, allow_pickle=False) as file:
            parts.append(np.ascontiguousarray(file[name][:, every // 2 :: every, every // 2 :: every]))
    return np.concatenate(parts)


def words(shards: list[Path]) -> list[dict]:
    """The words of all shards, without reading their pictures."""
    said: list[dict] = []
    for path in shards:
        with np.load(path, allow_pickle=False) as file:
            said += json.loads(file["words"].tobytes())
    return said
