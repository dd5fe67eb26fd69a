"""The loop: levels from noise to picture, one denoiser call and one step each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from scenewright.attention import Layer, Taps, segment_maps, select
from scenewright.denoiser import Condition, Denoise, During, Guidance, Model, Prediction, Progress, concatenate
from scenewright.errors import UserError
from scenewright.scene import Scene
from scenewright.schedule import Level

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


class Step(Protocol):
    """Moves x from one level to the next; `draw` gives fresh standard normal noise of its shape."""

    def __call__(self, p: Prediction, level: Level, following: Level, draw: Callable[[], Tensor]) -> Tensor: ...


@dataclass(frozen=True)
class Ddim:
    """DDIM (Song et al. 2021, eq. 12 and 16); `eta` 0 is deterministic, 1 is ancestral DDPM."""

    eta: float = 0.0

    def __call__(self, p: Prediction, level: Level, following: Level, draw: Callable[[], Tensor]) -> Tensor:
        eta = self.eta if p.eta is None else p.eta
        alpha, sigma = level.landing or (following.alpha, following.sigma)
        if eta == 0 or sigma == 0:
            return alpha * p.x0 + sigma * p.eps
        deviation = eta * sigma / level.sigma * max(0.0, 1 - (level.alpha / alpha) ** 2) ** 0.5
        direction = max(0.0, sigma**2 - deviation**2) ** 0.5
        return alpha * p.x0 + direction * p.eps + deviation * draw()


@dataclass(frozen=True)
class Euler:
    """Euler's method in the k-diffusion variable x / alpha (Karras et al. 2022), whose slope in sigma / alpha is eps.

    x'/alpha' = x/alpha + (sigma'/alpha' - sigma/alpha) eps, which is the DDIM line; only the levels differ.
    """

    def __call__(self, p: Prediction, level: Level, following: Level, draw: Callable[[], Tensor]) -> Tensor:
        _refuse_noise(p, "euler")
        return following.alpha * p.x0 + following.sigma * p.eps


class DpmSolver:
    """DPM-Solver++ 2M, midpoint form (Lu et al. 2022, arXiv 2211.01095, algorithm 2); one object per run.

    The first and the last step are of first order, as in diffusers.
    """

    def __init__(self) -> None:
        self._before: tuple[Level, Tensor] | None = None

    def __call__(self, p: Prediction, level: Level, following: Level, draw: Callable[[], Tensor]) -> Tensor:
        _refuse_noise(p, "dpm++2m")
        x0 = p.x0
        # At alpha = 0 the log-ratio is infinite: that step and the one after it stay of first order.
        if self._before is not None and following.sigma > 0 and self._before[0].alpha > 0:
            earlier, x0_earlier = self._before
            r = (_log_ratio(level) - _log_ratio(earlier)) / (_log_ratio(following) - _log_ratio(level))
            x0 = p.x0 + (p.x0 - x0_earlier) / (2 * r)
        self._before = (level, p.x0)
        eps = p.eps + level.alpha / level.sigma * (p.x0 - x0)  # so that alpha x0 + sigma eps is still x
        return following.alpha * x0 + following.sigma * eps

    def keep(self, rows: list[int]) -> None:
        """Forget the other rows."""
        self._before = self._before and (self._before[0], self._before[1][rows])


SOLVERS: dict[str, Callable[[float], Step]] = {
    "ddim": Ddim,
    "euler": lambda eta: Euler(),
    "dpm++2m": lambda eta: DpmSolver(),
}


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
        self._step = _step(solver, eta)
        self.model, self.size = model, size
        self.rows, condition = _batch(model, scenes, seeds, negative, size, zipped)
        own = [seed for _, seed in self.rows] if noises is None else noises
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in own]
        self.x = model.noise(self._generators, size)
        self.condition = condition.begun(self.x, [seed for _, seed in self.rows])
        self._denoise = guided(model.denoise, guidance)
        self.levels = model.schedule.levels(steps, solver)
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


def _step(solver: str, eta: float) -> Step:
    if solver not in SOLVERS:
        raise UserError(f"solver '{solver}' is not known; choose from {', '.join(SOLVERS)}.")
    if not 0 <= eta <= 1:
        raise UserError(f"eta is {eta}; it must lie between 0 (deterministic) and 1 (ancestral).")
    if eta and solver != "ddim":
        raise UserError(f"solver '{solver}' adds no noise; set eta to 0 or use ddim.")
    return SOLVERS[solver](eta)


def _refuse_noise(p: Prediction, solver: str) -> None:
    if p.eta:
        raise UserError(
            f"solver '{solver}' adds no noise, but the guidance asks for it; set its ddim_eta to 0 or use ddim."
        )


def _log_ratio(level: Level) -> float:
    return float(np.log(level.alpha / level.sigma))


def _latent(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]
