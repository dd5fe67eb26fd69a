"""Latents of the world's maps: computed once, kept on disk, rows that lack a map included."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scenewright.denoiser import Model
from scenewright.graph.variables import PICTURE, both, rendered
from scenewright.training.diffusion import object_weight
from scenewright.world import cache

_PART = 500  # scenes encoded at a time


@dataclass(frozen=True)
class MapLatents:
    """What factors learn from: rows 2 i and 2 i + 1 are scene i and its mirror image.

    `z` holds (2 N, C, h, w) latents of each variable, `present` (2 N,) whether a row has that map at all (everything
    that is not named is), `weights` (2 N, h, w) of the squared error, mean 1, `words` N entries of the world's cache.
    """

    z: Mapping[str, Tensor]
    weights: Tensor
    words: Sequence[dict]
    present: Mapping[str, Tensor]

    def rows(self, variable: str) -> np.ndarray:
        """Numbers of the rows that have this map."""
        if variable not in self.present:
            return np.arange(len(self.z[variable]))
        return self.present[variable].nonzero().flatten().numpy()

    def lacking(self, variable: str, share: float, seed: int = 0) -> "MapLatents":
        """The same data, of which a random `share` of the scenes lacks a map."""
        have = np.random.default_rng(seed).random(len(self.words)) >= share
        return replace(self, present={**self.present, variable: torch.from_numpy(have.repeat(2))})


def world_latents(
    model: Model, variables: Sequence[str], shards: Sequence[Path], folder: Path, said: Callable[[str], None]
) -> MapLatents:
    """Latents of the cached scenes' maps; those that are not in `folder` yet are made. `said` hears what is done."""
    words = cache.words(list(shards))
    side = cache.column(list(shards[:1]), "classes").shape[1]
    classes = cache.column(list(shards), "classes", side // 32)
    digest = model.identity()["sha256"][:12]
    z = {}
    for variable in variables:
        path = folder / f"map-{variable}-{cache.recipe()}-{digest}-{len(words)}.safetensors"
        if not path.exists():
            _write(path, torch.cat(list(_encoded(model, variable, shards, words, said))))
        z[variable] = load_file(path)["z"]
    return MapLatents(z, object_weight(classes), words, {})


def _write(path: Path, z: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({"z": z}, part)
    os.replace(part, path)


def _encoded(
    model: Model, variable: str, shards: Sequence[Path], words: Sequence[dict], said: Callable[[str], None]
) -> Iterator[Tensor]:
    """(2 n, C, h, w) float16 latents of some scenes and their mirror images at a time."""
    done = 0
    for part in _pictures(variable, shards, words):
        done += len(part)
        yield model.encode_image(part).half().cpu()
        said(f"{variable}: {done // 2} of {len(words)} maps encoded")


def _pictures(variable: str, shards: Sequence[Path], words: Sequence[dict]) -> Iterator[np.ndarray]:
    """uint8 pictures of a variable, each followed by its mirror image; what the cache lacks is rendered again."""
    cached = {PICTURE: "image", "segmentation": "classes"}.get(variable)
    for shard in shards if cached else ():
        values = cache.column([shard], str(cached))
        yield np.concatenate([both(variable, value) for value in values])
    if not cached:
        jobs = [(variable, scene["seed"]) for scene in words]
        with get_context("spawn").Pool(os.cpu_count()) as pool:
            for start in range(0, len(jobs), _PART):
                yield np.concatenate(pool.map(rendered, jobs[start : start + _PART], chunksize=25))
