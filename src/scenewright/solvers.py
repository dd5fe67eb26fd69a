"""Solvers: how x moves from one level to the next, given the prediction there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from scenewright.denoiser import Prediction
from scenewright.errors import UserError
from scenewright.schedule import Level


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
        # sigma_t^2 - (alpha_t sigma_s / alpha_s)^2 is 1 - (alpha_t / alpha_s)^2 where the variance is kept
        deviation = eta * sigma / level.sigma * max(0.0, level.sigma**2 - (level.alpha * sigma / alpha) ** 2) ** 0.5
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


def solver_named(solver: str, eta: float) -> Step:
    """A fresh solver of SOLVERS; raises UserError when there is none, or it cannot have this `eta`."""
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
