"""Moving x_t itself along a gradient before the step, over and over if need be: the loop that Attend-and-Excite,
BoxDiff and layout-guidance share. ZestGuide's single nudge after the step is `gradient.Descend`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.guidance.gradient import Energy, weighed
from scenewright.schedule import Level


@dataclass(frozen=True)
class Round:
    """Up to `most` times x_t -= rate * g, g the gradient of the energy at x_t, as long as the energy is over `target`.

    The gradient is not normalised. Rows stop one by one.
    """

    rate: float
    most: int = 1
    target: float = 0.0


@dataclass(frozen=True)
class Push:
    """Applies the rounds that `rounds` asks for at a level, then denoises what x_t has become.

    `terms` are (energy, weight) pairs. The energies see the model alone, conditional half only: put this outermost,
    around classifier-free guidance, so that both halves see the moved x_t. Rows without segments are left alone.
    """

    terms: tuple[tuple[Energy, float], ...]
    rounds: Callable[[Level], tuple[Round, ...]]

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        withs, _ = condition.parts
        rounds = self.rounds(level)
        if withs.numbers and rounds:
            moved = x[withs.numbers]
            for one in rounds:
                moved = self._moved(moved, one, level, withs.condition)
            x = x.index_copy(0, torch.tensor(withs.numbers, device=x.device), moved)
        return denoise(x, level, condition)

    def _moved(self, x: Tensor, one: Round, level: Level, condition: Condition) -> Tensor:
        for _ in range(one.most):
            _, energy, gradient = weighed(self.terms, condition.model.denoise, x, level, condition)
            moving = energy > one.target
            if not moving.any():
                break
            x = x - (one.rate * gradient * moving[:, None, None, None]).to(x.dtype)
        return x
