"""Drawing many scenes with one method, in batches, and rendering the world's scenes on every core."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from scenewright.denoiser import Model
from scenewright.guidance import build
from scenewright.guidance import parameters as defaults
from scenewright.sampling import sample
from scenewright.scene import Scene
from scenewright.world import Sample, render

Told = Callable[[str], None]
SPLITS = {"validation": 10_000_000, "test": 20_000_000}


def silent(text: str) -> None:
    """Tells nobody."""


def parameters_of(parameters: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Those whose part ("zest" of "zest.eta") takes part in a method; "cfg" belongs to all."""
    parts = {*method.split("+"), "cfg"}
    return {name: value for name, value in parameters.items() if name.split(".")[0] in parts}


def complete(model: Model, method: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every parameter of a method on a model as JSON holds it, `given` ones first: what a row says was used."""
    known = {**_defaults(model, method), **(given or {})}
    return json.loads(json.dumps(known, default=str))


def draw(
    model: Model,
    scenes: Sequence[Scene],
    method: str,
    *,
    steps: int = 30,
    seed: int = 0,
    batch: int = 16,
    parameters: Mapping[str, Any] | None = None,
    told: Told = silent,
) -> tuple[np.ndarray, float]:
    """uint8 pictures (N, H, W, 3), scene i from noise seed `seed + i`, and the seconds a picture took (see
    `stopwatch`).

    `told` hears of each picture.
    """
    images = []
    guidance = build(method, **{**_defaults(model, method), **(parameters or {})})
    spent = stopwatch()
    for first in range(0, len(scenes), batch):
        part = list(scenes[first : first + batch])
        seeds = range(seed + first, seed + first + len(part))
        images.append(sample(model, part, guidance, steps=steps, seeds=seeds, zipped=True).images)
        for _ in part:
            told(method)
    return np.concatenate(images), spent() / max(1, len(scenes))


def stopwatch() -> Callable[[], float]:
    """A function that tells the seconds since now: by the clock, or what the processor worked for this process if that
    is less and no GPU does the work. So on one thread a method does not pay for what else the machine is doing.
    """
    clock, worked = time.perf_counter(), time.process_time()

    def spent() -> float:
        by_clock = time.perf_counter() - clock
        return by_clock if torch.cuda.is_available() else min(by_clock, time.process_time() - worked)

    return spent


def renders(
    seeds: Sequence[int], *, unseen: bool = False, told: Told = silent, workers: int | None = None
) -> list[Sample]:
    """The world's scenes of `seeds`, in order; `unseen` makes the first object of each a held-out pair."""
    return list(_rendered(seeds, unseen, told, workers or os.cpu_count() or 1))


def _rendered(seeds: Sequence[int], unseen: bool, told: Told, workers: int) -> Iterator[Sample]:
    task = partial(render, unseen=unseen)
    if workers == 1 or len(seeds) < 32:  # starting processes costs about a second
        for seed in seeds:
            yield task(seed)
            told("rendering")
        return
    with get_context("spawn").Pool(workers) as pool:
        for done in pool.imap(task, seeds, chunksize=8):
            yield done
            told("rendering")


def _defaults(model: Model, method: str) -> dict[str, Any]:
    """What a method takes on a model unless told otherwise."""
    identity = model.identity()
    return defaults(method, str(identity["name"]), str(identity["family"]))
