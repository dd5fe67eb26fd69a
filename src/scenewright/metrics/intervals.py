"""How sure a figure is: bootstrap intervals over pictures (Efron & Tibshirani 1993, chapter 13)."""

from collections.abc import Callable

import numpy as np

LEVEL = 0.95
Statistic = Callable[[np.ndarray], float]  # positions of pictures, with repeats -> figure


def interval(statistic: Statistic, pictures: int, draws: int = 1000, centred: bool = False) -> tuple[float, float]:
    """The 95 % interval of a figure of `pictures` pictures, from `draws` resamples of them; the same every time.

    `statistic` is given positions in [0, pictures). `centred` is for distances between distributions, to which repeated
    pictures add: the percentiles are shifted so that the mean of the resamples is the figure itself, and say how far it
    would move with other pictures, as many. Resamples whose figure is NaN are left out; (NaN, NaN) if all are. Raises
    ValueError without pictures.
    """
    if pictures < 1:
        raise ValueError("an interval needs at least one picture")
    rng = np.random.default_rng(0)
    values = np.array([statistic(rng.integers(pictures, size=pictures)) for _ in range(draws)])
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    shift = statistic(np.arange(pictures)) - values.mean() if centred else 0.0
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) + shift
    return float(low), float(high)
