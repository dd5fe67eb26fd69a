"""Noise levels: which (alpha, sigma, timestep) a sampler visits, for any backbone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch

from scenewright.errors import UserError


@dataclass(frozen=True)
class Level:
    """One noise level, `x_t = alpha * x0 + sigma * eps`, and its place in the run.

    `timestep` is what the network is told. `index` of `count` steps says how far the run is: 0 at pure noise, `count`
    at the clean end. `landing` is the (alpha, sigma) that DDIM steps to from here, when that is not the next level's.
    """

    alpha: float
    sigma: float
    timestep: float
    index: int = 0
    count: int = 1
    landing: tuple[float, float] | None = None

    @property
    def progress(self) -> float:
        """Fraction of the run already done, in [0, 1]."""
        return self.index / self.count

    @property
    def ratio(self) -> float:
        """sigma / alpha, the noise level in the k-diffusion variable; bounded where alpha vanishes."""
        return self.sigma / max(self.alpha, 1e-4)


class Schedule(Protocol):
    """Lays the levels of a run."""

    def levels(self, steps: int, solver: str = "ddim", latent: tuple[int, int] | None = None) -> list[Level]:
        """Return `steps + 1` levels, noisiest first; the last is where the picture is read. Some models lay them by the
        size of the `latent` in cells (None: the native size).
        """
        ...


@dataclass(frozen=True, eq=False)
class VPSchedule:
    """Variance-preserving levels of a trained diffusion model, laid as diffusers lays them.

    `alphas_cumprod` has shape (T,), float32. With `clean_end` false DDIM ends at alphas_cumprod[0]
    (`set_alpha_to_one=False`). "ddim", "euler" and "dpm++2m" give the levels of diffusers' schedulers of those names;
    the last two always end clean. diffusers' DDIM steps by T // steps whatever the next timestep is (the two differ
    by a timestep or so with "trailing" when `steps` does not divide T, and with "linspace"); such levels carry that
    `landing`, so that pictures are the same.
    """

    alphas_cumprod: torch.Tensor
    spacing: str = "leading"
    offset: int = 0
    clean_end: bool = True

    @classmethod
    def from_scheduler_config(cls, config: Mapping[str, Any]) -> "VPSchedule":
        """Read any diffusers scheduler config; missing keys take the defaults of `DDIMScheduler`."""
        spacing = config.get("timestep_spacing", "leading")
        if spacing not in _SPACINGS:
            raise UserError(f"timestep spacing '{spacing}' is not known; set it to one of {', '.join(_SPACINGS)}.")
        betas = _betas(config)
        alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
        if config.get("rescale_betas_zero_snr", False):
            alphas_cumprod = _zero_terminal(alphas_cumprod)
        return cls(
            alphas_cumprod, spacing, int(config.get("steps_offset", 0)), bool(config.get("set_alpha_to_one", True))
        )

    def levels(self, steps: int, solver: str = "ddim", latent: tuple[int, int] | None = None) -> list[Level]:
        """Levels of a run of `steps` steps; raises UserError when the schedule has fewer timesteps than that."""
        total = len(self.alphas_cumprod)
        spare = 1 if solver == "dpm++2m" and self.spacing != "trailing" else 0
        if not 1 <= steps <= total - spare:
            raise UserError(f"{steps} steps are not possible; choose between 1 and {total - spare}.")
        times = _SPACINGS[self.spacing](total, steps + spare)[:steps]
        if self.spacing == "leading":
            times = times + self.offset
        if not (solver == "euler" and self.spacing == "linspace"):
            times = times.round()
        times = times.clip(0, total - 1)
        levels = [self._level(float(time), i, steps) for i, time in enumerate(times)]
        levels.append(self._end(steps, solver))
        if solver != "ddim":
            return levels
        landed = [self._landed(level, after, total // steps) for level, after in pairwise(levels)]
        return [*landed, levels[-1]]

    def _landed(self, level: Level, following: Level, stride: int) -> Level:
        """The level with diffusers' landing, if that is not the following level."""
        time = level.timestep - stride
        place = self._level(time, 0, 1) if time >= 0 else self._end(1, "ddim")
        if (place.alpha, place.sigma) == (following.alpha, following.sigma):
            return level
        return replace(level, landing=(place.alpha, place.sigma))

    def _level(self, time: float, index: int, steps: int) -> Level:
        # diffusers' Euler interpolates sigma / alpha between whole timesteps; at whole ones this is exact.
        low, part = int(math.floor(time)), time - math.floor(time)
        pair = self.alphas_cumprod[low : low + 2].double()
        alpha, sigma = float(pair[0].sqrt()), float((1 - pair[0]).sqrt())
        if part > 0:
            ratios = ((1 - pair) / pair).sqrt()
            ratio = float(ratios[0] + part * (ratios[1] - ratios[0]))
            alpha = 1 / math.sqrt(1 + ratio**2)
            sigma = ratio * alpha
        return Level(alpha, sigma, time if part else float(low), index, steps)

    def _end(self, steps: int, solver: str) -> Level:
        last = 1.0 if self.clean_end or solver != "ddim" else float(self.alphas_cumprod[0])
        return Level(math.sqrt(last), math.sqrt(max(0.0, 1 - last)), 0.0, steps, steps)


@dataclass(frozen=True)
class FlowSchedule:
    """Straight-line levels of a flow model: alpha = 1 - s, sigma = s (Lipman et al. 2023), on which the loop's step is
    Euler's on the velocity.

    `shift` moves the levels towards noise, as in SD3 (Esser et al. 2024, arXiv 2403.03206, eq. 23). `dynamic`, when
    given, makes the shift grow with the picture instead: (tokens, log of the shift) at two sizes, and a line between
    them. `patch` is the side of a token in latent cells, `native` the latent's size when none is said. `last` is the
    sigma of the last step before the shift; None is 1 / steps.
    """

    shift: float = 1.0
    timesteps: int = 1000
    last: float | None = None
    dynamic: tuple[tuple[int, float], tuple[int, float]] | None = None
    patch: int = 2
    native: tuple[int, int] = (128, 128)

    @classmethod
    def from_scheduler_config(
        cls, config: Mapping[str, Any], native: tuple[int, int], patch: int, trained_last: bool
    ) -> "FlowSchedule":
        """Read a `FlowMatchEulerDiscreteScheduler` config.

        With `trained_last` the last step starts at the least noise of training, which is diffusers' default; some of
        its pipelines (Flux) ask for 1 / steps instead. Raises UserError for kinds of levels that are not laid here.
        """
        odd = [name for name in _ODD_FLOWS if config.get(name)]
        if odd or config.get("time_shift_type", "exponential") != "exponential":
            raise UserError(
                f"the scheduler's {', '.join(odd) or 'time_shift_type'} is not supported; set it to default."
            )
        timesteps, shift = int(config.get("num_train_timesteps", 1000)), float(config.get("shift") or 1.0)
        dynamic = None
        if config.get("use_dynamic_shifting"):
            low = (int(config.get("base_image_seq_len", 256)), float(config.get("base_shift", 0.5)))
            high = (int(config.get("max_image_seq_len", 4096)), float(config.get("max_shift", 1.15)))
            dynamic = (low, high)
        least = 1 / timesteps
        last = (least if dynamic else shift * least / (1 + (shift - 1) * least)) if trained_last else None
        return cls(shift, timesteps, last, dynamic, patch, native)

    def levels(self, steps: int, solver: str = "ddim", latent: tuple[int, int] | None = None) -> list[Level]:
        """Levels with sigma from 1 to 0, the timestep being `sigma * timesteps`; raises UserError without a step.

        Sigmas are float32, as in diffusers, so that the network is told the same times.
        """
        if steps < 1:
            raise UserError(f"{steps} steps are not possible; choose at least 1.")
        shift = self._shift(latent or self.native)
        s = np.linspace(1, 1 / steps if self.last is None else self.last, steps)
        s = np.append(shift * s / (1 + (shift - 1) * s), 0.0).astype(np.float32)
        times = s * np.float32(self.timesteps)
        return [
            Level(1 - float(v), float(v), float(time), i, steps)
            for i, (v, time) in enumerate(zip(s, times, strict=True))
        ]

    def _shift(self, latent: tuple[int, int]) -> float:
        if self.dynamic is None:
            return self.shift
        (few, low), (many, high) = self.dynamic
        tokens = (latent[0] // self.patch) * (latent[1] // self.patch)
        return math.exp(low + (tokens - few) * (high - low) / (many - few))


_ODD_FLOWS = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "invert_sigmas",
    "shift_terminal",
    "stochastic_sampling",
)


def _linspace(total: int, count: int) -> np.ndarray:
    return np.linspace(0, total - 1, count)[::-1]


def _leading(total: int, count: int) -> np.ndarray:
    return (np.arange(count) * (total // count))[::-1].astype(float)


def _trailing(total: int, count: int) -> np.ndarray:
    return np.arange(total, 0, -total / count)[:count].round() - 1


# Table 2 of Lin et al. 2023 (arXiv 2305.08891).
_SPACINGS = {"leading": _leading, "trailing": _trailing, "linspace": _linspace}


def _betas(config: Mapping[str, Any]) -> torch.Tensor:
    """Variances (T,), float32 as in diffusers, so that the cumulative products agree to the last bit."""
    total = int(config.get("num_train_timesteps", 1000))
    first, last = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
    kind = config.get("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float32)
    if kind == "linear":
        return torch.linspace(first, last, total, dtype=torch.float32)
    if kind == "scaled_linear":
        return torch.linspace(first**0.5, last**0.5, total, dtype=torch.float32) ** 2
    if kind == "squaredcos_cap_v2":
        bars = [math.cos((i / total + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(total + 1)]
        return torch.tensor([min(1 - after / before, 0.999) for before, after in zip(bars, bars[1:], strict=False)])
    raise UserError(f"beta schedule '{kind}' is not known; set it to linear, scaled_linear or squaredcos_cap_v2.")


def _zero_terminal(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """Shift and scale sqrt(alpha bar) so that the last level is pure noise (arXiv 2305.08891, algorithm 1)."""
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
