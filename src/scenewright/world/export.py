"""Rendered scenes as files that people and other programs read."""

import io
import json
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import write_atomically
from ..scene_io import write_scene
from .layouts import scene_of
from .sample import Sample, render
from .sheet import maps_of


def export(
    seeds: range, folder: Path, size: int, maps: bool, workers: int | None, progress: Callable[[int], None]
) -> int:
    """Write every scene of `seeds` that is not in `folder` yet; returns how many were rendered.

    <seed>.json and .png are a scene for every command; with `maps`, <seed>.npz holds exact arrays and <seed>-MAP.png
    pictures of them. <seed>.picture.png is the picture, written last: where it is, the scene is whole.
    """
    missing = [seed for seed in seeds if not (folder / f"{seed}.picture.png").exists()]
    progress(len(seeds) - len(missing))
    jobs = [(seed, folder, size, maps) for seed in missing]
    if len(jobs) < 8 or workers == 1:
        for job in jobs:
            _one(job)
            progress(1)
        return len(jobs)
    with get_context("spawn").Pool(workers) as pool:
        for _ in pool.imap_unordered(_one, jobs, chunksize=4):
            progress(1)
    return len(jobs)


def _one(job: tuple[int, Path, int, bool]) -> None:
    seed, folder, size, maps = job
    sample = render(seed, size)
    write_scene(scene_of(sample), folder / f"{seed}.json")
    if maps:
        write_atomically(folder / f"{seed}.npz", _arrays(sample))
        for name, view in maps_of(sample).items():
            if name != "picture":
                write_atomically(folder / f"{seed}-{name}.png", _png(view))
    write_atomically(folder / f"{seed}.picture.png", _png(sample.image))


def _arrays(sample: Sample) -> bytes:
    buffer = io.BytesIO()
    names = ("image", "classes", "instances", "depth", "normals", "sketch")
    words = json.dumps({"captions": sample.captions, "poses": sample.poses}).encode()
    np.savez_compressed(buffer, words=np.frombuffer(words, np.uint8), **{n: getattr(sample, n) for n in names})
    return buffer.getvalue()


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()
