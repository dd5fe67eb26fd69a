"""Bootstrap intervals: against scipy, their laws, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from scenewright.metrics.intervals import interval
from scenewright.metrics.quality import Gaussian, frechet_distance


def test_an_interval_of_a_mean_is_that_of_scipy() -> None:
    values = np.random.default_rng(3).exponential(2.0, 80)
    ours = interval(lambda chosen: float(values[chosen].mean()), 80, draws=4000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.05)  # 0.01 is the noise of 4,000 draws


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(5.0, 1.0, 60)
        low, high = interval(lambda chosen, v=values: float(v[chosen].mean()), 60, draws=200)
        held += low <= 5.0 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_a_centred_interval_holds_the_distance_itself() -> None:
    rng = np.random.default_rng(0)
    here, there = rng.normal(0, 1, (60, 8)), Gaussian.of(rng.normal(0.2, 1, (500, 8)))
    distance = lambda chosen: frechet_distance(Gaussian.of(here[chosen]), there)  # noqa: E731
    own = distance(np.arange(60))
    low, high = interval(distance, 60, draws=200, centred=True)
    assert low < own < high
    plain = interval(distance, 60, draws=200)
    assert plain[0] > low  # repeated pictures add to a distance
    assert plain[1] - plain[0] == pytest.approx(high - low)


def test_the_same_pictures_have_the_same_interval_and_one_picture_has_none_to_spare() -> None:
    values = np.arange(20.0)
    mean = lambda chosen: float(values[chosen].mean())  # noqa: E731
    assert interval(mean, 20) == interval(mean, 20)
    assert interval(mean, 1) == (0, 0)
    with pytest.raises(ValueError, match="at least one"):
        interval(mean, 0)


def test_resamples_without_a_figure_are_left_out() -> None:
    values = np.array([np.nan, 1.0, 2.0])
    low, high = interval(lambda chosen: float(values[chosen].mean()), 3)
    assert 1 <= low <= high <= 2
    assert np.isnan(interval(lambda chosen: float("nan"), 3)).all()
