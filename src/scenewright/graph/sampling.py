"""Drawing from a factor graph: ancestral (one chain after another) or joint (all chains, step by step)."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scenewright.denoiser import Model, Parent
from scenewright.errors import UserError
from scenewright.graph.factor import CAPTION, Factor, FactorGraph
from scenewright.maps import Codec, to_bytes
from scenewright.sampling import Chain
from scenewright.scene import Scene
from scenewright.schedule import Level

Mode = Literal["ancestral", "joint"]
Progress = Callable[[str, int, int], None]
_CLEAN = Level(1.0, 0.0, 0.0, 1, 1)


@dataclass(frozen=True)
class Each:
    """One value for each row of a draw, where a plain value is the same for all."""

    values: Sequence[Any]


@dataclass(frozen=True, eq=False)
class Variable:
    """One drawn variable: `pictures` uint8 (N, H, W, 3), `latents` (N, C, h, w) and, if it has a codec, N `maps`."""

    pictures: np.ndarray
    latents: Tensor
    maps: tuple[Any, ...] | None

    def __len__(self) -> int:
        return len(self.pictures)


@torch.no_grad()
def draw(
    graph: FactorGraph,
    given: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0,),
    mode: Mode = "ancestral",
    wanted: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Variable]:
    """Draw all variables that are not given, or those that are `wanted` and what they depend on: a row per seed.

    `given` holds the caption (text, or a `Scene` whose segments guidance reads) and any maps, as their codecs take them
    (latents where there is no codec); `Each` gives every row its own. In ancestral mode a factor reads its parents
    finished, decoded to maps and encoded again, as if they had been given. In joint mode every factor moves one step
    at a time and reads its parents' latents one step ahead of its own (FG-DM eq. 4-6); the paper proposes it, its
    release does not do it. A factor with fewer steps than another then moves less often. A variable's noise depends on
    its name and the seed alone. `progress(variable, done, steps)` is called at every step.

    Raises UserError for values that do not fit the graph.
    """
    if mode not in ("ancestral", "joint"):
        raise UserError(f"mode '{mode}' is not known; choose ancestral or joint.")
    if not seeds:
        raise UserError("nothing to draw: give at least one seed.")
    given = dict(given or {})
    run = _Run(graph, given, tuple(seeds), graph.needed(given, wanted), progress)
    (_ancestral if mode == "ancestral" else _joint)(run)
    return {factor.variable: run.finished(factor) for factor in run.factors}


class _Run:
    """What one call of `draw` has come to: chains begun so far, and the parents that others read."""

    def __init__(
        self,
        graph: FactorGraph,
        given: Mapping[str, Any],
        seeds: tuple[int, ...],
        factors: tuple[Factor, ...],
        progress: Progress | None,
    ) -> None:
        self.graph, self.seeds, self.factors, self._progress = graph, seeds, factors, progress
        self.given = {name: _each(name, value, len(seeds)) for name, value in given.items()}
        self.chains: dict[str, Chain] = {}
        self._finished: dict[str, Variable] = {}

    def chain(self, factor: Factor) -> Chain:
        """The chain of a factor, begun with its own noise and the maps that are given."""
        if factor.variable not in self.chains:
            self.chains[factor.variable] = begin(factor, self.given.get(CAPTION, ()), self.seeds)
        return self.chains[factor.variable]

    def advance(self, factor: Factor, parents: Mapping[str, Parent]) -> None:
        chain = self.chain(factor)
        chain.condition = chain.condition.under(parents)
        chain.advance()
        if self._progress:
            self._progress(factor.variable, chain.level.index, chain.level.count)

    def given_parents(self, factor: Factor) -> dict[str, Parent]:
        """The parents of a factor whose maps are given, as its own model encodes them."""
        return {
            name: clean_parent(factor, name, self.graph.codec(name), self.given[name])
            for name in factor.maps
            if name in self.given
        }

    def finished(self, factor: Factor) -> Variable:
        """A variable whose chain is done; decoded once."""
        if factor.variable not in self._finished:
            self._finished[factor.variable] = decoded(factor, self.chains[factor.variable].checked())
        return self._finished[factor.variable]


def _ancestral(run: _Run) -> None:
    for factor in run.factors:
        parents = run.given_parents(factor)
        for name in factor.maps:
            if name not in parents:
                drawn = run.finished(run.graph[name])
                values = list(drawn.latents) if drawn.maps is None else list(drawn.maps)
                parents[name] = clean_parent(factor, name, run.graph.codec(name), values)
        while not run.chain(factor).done:
            run.advance(factor, parents)


def _joint(run: _Run) -> None:
    ticks = max(factor.steps for factor in run.factors)
    given = {factor.variable: run.given_parents(factor) for factor in run.factors}
    for tick in range(1, ticks + 1):
        for factor in run.factors:
            chain = run.chain(factor)
            while chain.level.index * ticks < tick * factor.steps:
                live = {name: run.chains[name] for name in factor.maps if name in run.chains}
                ahead = {name: Parent(chain.x, chain.level) for name, chain in live.items()}
                run.advance(factor, given[factor.variable] | ahead)


def decoded(factor: Factor, latents: Tensor) -> Variable:
    """A factor's latents as pictures, and as maps if it has a codec."""
    pictures = factor.model.decode(latents)
    maps = None if factor.codec is None else tuple(factor.codec.decode(picture) for picture in pictures)
    return Variable(pictures, latents, maps)


def begin(factor: Factor, captions: Sequence[str | Scene], seeds: Sequence[int]) -> Chain:
    """The chain of a factor, a row per seed; no captions are empty ones. Its maps are still to be given."""
    alone = len({id(caption) for caption in captions}) < 2  # one caption for all rows is encoded once
    scenes = [_said(factor, caption) for caption in (captions or [""])[: 1 if alone else None]]
    return Chain(
        factor.model,
        scenes,
        factor.guidance,
        factor.steps,
        seeds,
        factor.solver,
        factor.eta,
        negative=factor.negative,
        size=factor.size,
        zipped=not alone,
        noises=[own_seed(seed, factor.variable) for seed in seeds],
    )


def own_seed(seed: int, variable: str) -> int:
    """The seed of a variable's noise: its own, whatever else the graph holds."""
    return int.from_bytes(hashlib.sha256(f"{variable} {seed}".encode()).digest()[:7], "big")


def clean_parent(factor: Factor, name: str, codec: Codec | None, values: Sequence[Any]) -> Parent:
    """Finished maps, one per row, as a factor's parent; without a codec they are latents."""
    if codec is None:
        if not all(isinstance(value, Tensor) and value.ndim == 3 for value in values):
            raise UserError(f"'{name}' has no codec, so give its latents (channels, height, width), or `Each` of them.")
        return Parent(torch.stack(list(values)), _CLEAN)
    distinct = {id(value): value for value in values}  # a map that all rows share is encoded once
    encoded = {key: codec.encode(value) for key, value in distinct.items()}
    shapes = {picture.shape[:2] for picture in encoded.values()}
    height, width = factor.shape
    for h, w in shapes:
        if h * width != w * height:
            raise UserError(f"the map '{name}' is {w}x{h} pixels, but '{factor.variable}' is {width}x{height}.")
    pictures = {key: _resized(torch.from_numpy(picture), factor.shape) for key, picture in encoded.items()}
    latents = {key: _latents(factor.model, picture) for key, picture in pictures.items()}
    keys = [id(value) for value in values]
    whole = torch.stack([latents[key] for key in keys])
    return Parent(whole, _CLEAN, torch.stack([pictures[key] for key in keys]).to(whole))


def _latents(model: Model, picture: Tensor) -> Tensor:
    """(C, h, w) of a picture (3, H, W) in [-1, 1]."""
    return model.encode_image(to_bytes(picture.permute(1, 2, 0).numpy())[None])[0]


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W, 3) -> (3, height, width); enlarged by repeating, so that colours stay those of the palette."""
    picture = picture.permute(2, 0, 1)
    return picture if picture.shape[1:] == size else F.interpolate(picture[None], size, mode="nearest")[0]


def _said(factor: Factor, caption: str | Scene) -> Scene:
    """What a factor's model is to encode: its prompt around the caption, or around nothing if that is no parent."""
    scene = caption if isinstance(caption, Scene) else Scene(caption, (), factor.shape)
    if CAPTION not in factor.parents:
        scene = Scene("", (), factor.shape)
    return replace(scene, caption=factor.prompt.format(caption=scene.caption), maps={})


def _each(name: str, value: Any, rows: int) -> list[Any]:
    if not isinstance(value, Each):
        return [value] * rows
    if len(value.values) != rows:
        raise UserError(f"there are {len(value.values)} values of '{name}' for {rows} seeds; give one for each.")
    return list(value.values)
