"""The loop: levels from noise to picture, one denoiser call and one step each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import torch
from torch import Tensor

from scenewright.attention import Layer, Taps, segment_maps, select
from scenewright.denoiser import Condition, Denoise, During, Guidance, Model, Prediction, Progress, concatenate
from scenewright.errors import UserError
from scenewright.scene import Scene
from scenewright.schedule import Level
from scenewright.solvers import SOLVERS, Ddim, DpmSolver, Euler, solver_named

__all__ = ["SOLVERS", "Chain", "Ddim", "DpmSolver", "Draws", "During", "Euler", "guided", "sample"]

Callback = Callable[[Level, Tensor, Prediction], None]


@dataclass(frozen=True, eq=False)
class Draws:
    """The pictures of one run, row by row.

    `images` uint8 (N, H, W, 3), `latents` (N, C, h, w), `scenes` and `seeds` the scene number and seed of each row,
    `prompts` the text really encoded, `appended` the phrases added to the caption. `attention`, when asked for, is
    float16 (steps, N, K, rows, columns): the share of attention each segment's phrase gets in each cell, zero in
    steps where nothing was read and for padded segments.
    """

    images: np.ndarray
    latents: Tensor
    scenes: tuple[int, ...]
    seeds: tuple[int, ...]
    prompts: tuple[str, ...]
    appended: tuple[tuple[str, ...], ...]
    attention: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> np.ndarray:
        """Picture of one row, uint8 (H, W, 3)."""
        return self.images[row]


def guided(denoise: Denoise, guidance: Sequence[Guidance]) -> Denoise:
    """Wrap `denoise` in each guidance in turn; the first is innermost."""
    return reduce(lambda inner, outer: partial(outer, inner), guidance, denoise)


class Reading:
    """Innermost guidance that reads each segment's attention at every step and changes nothing."""

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self.layers = layers
        self.names = tuple(layer.name for layer in layers)
        self.maps: dict[tuple[int, int], Tensor] = {}

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        if not condition.present.any():
            return denoise(x, level, condition)
        taps = (condition.taps or Taps()).also(record=frozenset(self.names))
        prediction = denoise(x, level, condition.tapped(taps))
        grids = self.grids(_latent(x))
        with torch.no_grad():
            maps = segment_maps(taps, self.names, condition.groups, grids, max(grids)).cpu()
        for row in condition.present.any(1).nonzero().flatten().tolist():
            self.maps[level.index, condition.pictures[row]] = maps[row]
        return prediction

    def grids(self, latent: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each layer's attention for latents of this size."""
        return tuple(layer.grid(latent) for layer in self.layers)

    def array(self, latent: tuple[int, int], steps: int, present: Tensor) -> np.ndarray:
        """float16 (steps, pictures, segments, rows, columns); `present` (pictures, segments)."""
        out = np.zeros((steps, *present.shape, *max(self.grids(latent))), np.float16)
        for (step, picture), maps in self.maps.items():
            out[step, picture, : len(maps)] = maps.numpy()
        return out


class Chain:
    """One run of one model, a step at a time: `sample` takes it to the end, a factor graph interleaves several.

    `x` (N, C, h, w) is at `level`; `condition` may be replaced between steps by one of the same rows. Arguments are
    those of `sample`; `noises` seed each row's noise where that is not to be its seed.
    """

    def __init__(
        self,
        model: Model,
        scenes: Scene | Sequence[Scene],
        guidance: Sequence[Guidance] = (),
        steps: int = 30,
        seeds: Sequence[int] = (0,),
        solver: str = "ddim",
        eta: float = 0.0,
        *,
        negative: str = "",
        size: tuple[int, int] | None = None,
        zipped: bool = False,
        noises: Sequence[int] | None = None,
    ) -> None:
        self._step = solver_named(solver, eta)
        self.model, self.size = model, size
        self.rows, condition = _batch(model, scenes, seeds, negative, size, zipped)
        own = [seed for _, seed in self.rows] if noises is None else noises
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in own]
        self.x = model.noise(self._generators, size)
        self.condition = condition.begun(self.x, [seed for _, seed in self.rows])
        self._denoise = guided(model.denoise, guidance)
        self.levels = model.schedule.levels(steps, solver, _latent(self.x))
        self.level = self.levels[0]

    @property
    def done(self) -> bool:
        """Whether the last level has been reached."""
        return self.level.index == self.level.count

    def advance(self) -> Prediction:
        """Move x to the next level; returns the prediction that it moved by."""
        following = self.levels[self.level.index + 1]
        prediction = self._denoise(self.x, self.level, self.condition)
        self.x = self._step(prediction, self.level, following, lambda: self.model.noise(self._generators, self.size))
        if prediction.nudge is not None:
            self.x = self.x + prediction.nudge
        self.level = following
        return prediction

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows only, as if the others had never been drawn."""
        chosen = list(rows)
        self.x, self.condition = self.x[chosen], self.condition.rows(chosen)
        self.rows, self._generators = [self.rows[i] for i in chosen], [self._generators[i] for i in chosen]
        if isinstance(self._step, DpmSolver):
            self._step.keep(chosen)

    def checked(self) -> Tensor:
        """x at the end of the run; raises UserError when the numbers overflowed."""
        if not torch.isfinite(self.x).all():
            raise UserError("the numbers overflowed while drawing; use float32 or a weaker guidance.")
        return self.x


@torch.no_grad()
def sample(
    model: Model,
    scenes: Scene | Sequence[Scene],
    guidance: Sequence[Guidance] = (),
    steps: int = 30,
    seeds: Sequence[int] = (0,),
    solver: str = "ddim",
    eta: float = 0.0,
    *,
    negative: str = "",
    size: tuple[int, int] | None = None,
    zipped: bool = False,
    record_attention: str | None = None,
    progress: Progress | None = None,
    callback: Callback | None = None,
) -> Draws:
    """Draw every scene with every seed (scene by scene), or scene i with seed i when `zipped`, all in one batch.

    `size` is the picture's height and width in pixels (default: the model's own). `record_attention` names the layers
    to read (see `attention.select`). `progress(done, steps)` and `callback(level, x, prediction)` are called at every
    step. Raises UserError for values that cannot work, and when the numbers overflow.
    """
    reading = Reading(select(model.layers, record_attention)) if record_attention else None
    inner = [reading] if reading else []
    chain = Chain(
        model, scenes, [*inner, *guidance], steps, seeds, solver, eta, negative=negative, size=size, zipped=zipped
    )
    while not chain.done:
        level, x = chain.level, chain.x
        prediction = chain.advance()
        if callback is not None:
            callback(level, x, prediction)
        if progress is not None:
            progress(chain.level.index, steps)
    condition = chain.condition
    return Draws(
        images=model.decode(chain.checked()),
        latents=chain.x,
        scenes=tuple(scene for scene, _ in chain.rows),
        seeds=condition.seeds,
        prompts=condition.prompts,
        appended=condition.appended,
        attention=reading.array(_latent(chain.x), steps, condition.present) if reading else None,
    )


def _batch(
    model: Model,
    scenes: Scene | Sequence[Scene],
    seeds: Sequence[int],
    negative: str,
    size: tuple[int, int] | None,
    zipped: bool,
) -> tuple[list[tuple[int, int]], Condition]:
    """The (scene number, seed) of each row, and the rows' condition."""
    scenes = [scenes] if isinstance(scenes, Scene) else list(scenes)
    if not scenes or not seeds:
        raise UserError("nothing to draw: give at least one scene and one seed.")
    if zipped and len(scenes) != len(seeds):
        raise UserError(f"{len(scenes)} scenes cannot be paired with {len(seeds)} seeds; give one seed per scene.")
    if any(not 0 <= seed < 2**63 for seed in seeds):
        raise UserError("a seed must lie between 0 and 2**63 - 1.")
    pairs = list(enumerate(seeds)) if zipped else [(i, seed) for i in range(len(scenes)) for seed in seeds]
    encoded = concatenate([model.encode(scene, negative, size) for scene in scenes])
    return pairs, encoded.rows([scene for scene, _ in pairs])


def _latent(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]
