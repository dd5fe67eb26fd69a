"""Draws from linear-Gaussian graphs, whose joint and conditional distributions are known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from scenewright.backends.analytic import GaussianMixture, Regression
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.errors import UserError
from scenewright.graph.factor import Factor, FactorGraph
from scenewright.graph.sampling import Each, draw, own_seed
from scenewright.sampling import sample
from scenewright.scene import Scene
from scenewright.schedule import Level, VPSchedule

# Begins at pure noise, so that samples can be exact.
SCHEDULE = VPSchedule.from_scheduler_config(
    {"beta_schedule": "scaled_linear", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True}
)
# a ~ N(1, 0.5^2), b = 0.3 + 0.8 a + N(0, 0.3^2), c = -0.5 a + b + N(0, 0.2^2)
MEAN = np.array([1.0, 1.1, 0.6])
SPREAD = np.array([0.5, 0.3, 0.2])
MIX = np.array([[1, 0, 0], [0.8, 1, 0], [0.3, 1, 1]])  # values = MEAN + MIX @ (SPREAD * unit normals)
COVARIANCE = MIX @ np.diag(SPREAD**2) @ MIX.T


def normal(offset: float, deviation: float, slopes: dict[str, float] | None = None) -> GaussianMixture:
    """One cell: N(offset + sum of slope * parent, deviation^2), in float64."""
    parents = ["abc".index(name) for name in slopes or {}]
    mean, covariance = torch.from_numpy(MEAN[parents]), torch.from_numpy(COVARIANCE[np.ix_(parents, parents)])
    return GaussianMixture(
        torch.full((1, 1, 1, 1), offset, dtype=torch.float64),
        torch.full((1,), deviation, dtype=torch.float64),
        torch.ones(1, dtype=torch.float64),
        SCHEDULE,
        regression=Regression(slopes, mean, covariance) if slopes else None,
    )


def line(steps: int = 50, **others: int) -> FactorGraph:
    made = (
        Factor("c", ("a", "b"), normal(0.0, 0.2, {"a": -0.5, "b": 1.0}), steps=others.get("c", steps)),
        Factor("a", (), normal(1.0, 0.5), steps=others.get("a", steps)),
        Factor("b", ("a",), normal(0.3, 0.3, {"a": 0.8}), steps=others.get("b", steps)),
    )
    return FactorGraph(made)


def units(seeds: range) -> np.ndarray:
    """(3, N) the normals that each variable's chain starts from, which an exact flow keeps as quantiles."""
    rows = [
        [torch.randn(1, generator=torch.Generator().manual_seed(own_seed(s, v))).item() for s in seeds] for v in "abc"
    ]
    return np.array(rows)


def numbers(drawn: dict, name: str) -> np.ndarray:
    return drawn[name].latents.flatten().numpy()


def test_ancestral_draws_are_exact():
    """Every draw, not only their moments: the deterministic flow maps quantiles to quantiles, up to its step size."""
    seeds = range(8)
    drawn = draw(line(), seeds=seeds)
    exact = MEAN[:, None] + MIX @ (SPREAD[:, None] * units(seeds))
    for row, name in enumerate("abc"):
        assert np.abs(numbers(drawn, name) - exact[row]).max() < 0.08


@pytest.mark.parametrize("mode", ["ancestral", "joint"])
def test_given_variables_condition_exactly(mode):
    seeds, a = range(12), torch.full((1, 1, 1), 1.7, dtype=torch.float64)
    b = [torch.full((1, 1, 1), 0.1 * i, dtype=torch.float64) for i in seeds]
    drawn = draw(line(), {"a": a, "b": Each(b)}, seeds, mode)
    assert set(drawn) == {"c"}
    exact = -0.5 * 1.7 + 0.1 * np.arange(12) + 0.2 * units(seeds)[2]
    assert np.abs(numbers(drawn, "c") - exact).max() < 0.02


def joint_by_hand(steps: int) -> np.ndarray:
    """(2, 2): what of the noises of a and b (columns) is in a and b (rows) after a joint run, by the formulas."""
    levels = SCHEDULE.levels(steps)
    a, b = np.array([1.0, 0.0]), np.array([0.0, 1.0])  # deviations from the means, in units of the noises
    for level, following in zip(levels[:-1], levels[1:], strict=True):
        a_clean = level.alpha * 0.25 / (level.alpha**2 * 0.25 + level.sigma**2) * a
        a = following.alpha * a_clean + following.sigma * (a - level.alpha * a_clean) / level.sigma
        read = following.alpha * 0.25 / (following.alpha**2 * 0.25 + following.sigma**2)  # a has moved already (eq. 5)
        mean = 0.8 * read * a
        left = 0.09 + 0.64 * 0.25 * (1 - read * following.alpha)
        b_clean = mean + level.alpha * left / (level.alpha**2 * left + level.sigma**2) * (b - level.alpha * mean)
        b = following.alpha * b_clean + following.sigma * (b - level.alpha * b_clean) / level.sigma
    return np.stack([a, b])


def test_joint_draws_are_the_papers_equations():
    seeds = range(6)
    drawn = draw(line(25), seeds=seeds, mode="joint", wanted=("a", "b"))
    found = np.stack([numbers(drawn, "a"), numbers(drawn, "b")]) - MEAN[:2, None]
    assert (
        np.abs(found - joint_by_hand(25) @ units(seeds)[:2]).max() < 1e-4
    )  # sigma / alpha is capped at the first step


def test_joint_draws_loosen_what_ties_parent_and_child():
    """Children are conditioned on parents that are still uncertain: a correlation of 0.8 comes out as 0.52."""
    weights = joint_by_hand(200)
    (a, tie), (_, b) = weights @ weights.T
    assert a == pytest.approx(COVARIANCE[0, 0], rel=0.02)
    assert b == pytest.approx(0.8 * COVARIANCE[1, 1], rel=0.02)
    assert tie / np.sqrt(a * b) == pytest.approx(0.53, abs=0.01)
    assert COVARIANCE[0, 1] / np.sqrt(COVARIANCE[0, 0] * COVARIANCE[1, 1]) == pytest.approx(0.8)


@pytest.mark.parametrize(("a", "b"), [(10, 5), (5, 10), (6, 4), (7, 7)])
def test_parents_are_always_ahead_whatever_the_steps(a, b):
    place = {"a": 0.0, "b": 0.0}

    def watch(name: str, done: int, of: int) -> None:
        if name == "b":
            assert place["a"] > place["b"] or place["a"] == 1
        place[name] = done / of

    draw(line(a, b=b), mode="joint", wanted=("b",), progress=watch)
    assert place == {"a": 1, "b": 1}


def test_noise_depends_on_name_and_seed_alone():
    alone = draw(FactorGraph((Factor("a", (), normal(1.0, 0.5), steps=5),)), seeds=[3])
    among = draw(line(5), seeds=[7, 3])
    assert torch.equal(alone["a"].latents[0], among["a"].latents[1])
    assert not torch.equal(among["a"].latents[0], among["a"].latents[1])


def test_a_lone_factor_is_sample():
    model, seed = normal(1.0, 0.5), own_seed(2, "a")
    lone = draw(FactorGraph((Factor("a", (), model, steps=6, eta=1.0),)), seeds=[2])
    assert torch.equal(lone["a"].latents, sample(model, Scene("", (), (1, 1)), steps=6, seeds=[seed], eta=1.0).latents)


def test_each_factor_has_its_own_guidance_and_prompt():
    heard = []

    def listen(denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        heard.append(condition.prompts)
        return denoise(x, level, condition)

    two = GaussianMixture(torch.zeros(2, 1, 1, 1), torch.ones(2), torch.ones(2) / 2)
    graph = FactorGraph(
        (
            Factor("a", ("caption",), two, guidance=(listen,), steps=1),
            Factor("b", ("a", "caption"), two, guidance=(listen,), steps=1, prompt="1 {caption}"),
            Factor("c", ("a",), two, guidance=(listen,), steps=1),
        )
    )
    draw(graph, {"caption": Each(["0", "1"])}, seeds=[0, 1])
    assert heard == [("0", "1"), ("1 0", "1 1"), ("", "")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"mode": "both"}, "mode 'both'"),
        ({"seeds": []}, "at least one seed"),
        ({"given": {"a": np.zeros((1, 1))}}, "'a' has no codec"),
        ({"given": {"a": Each([1, 2])}}, "2 values of 'a' for 1 seeds"),
        ({"given": {"d": 1}}, "no factor draws 'd'"),
    ],
)
def test_wrong_calls_are_refused(arguments, says):
    with pytest.raises(UserError, match=says):
        draw(line(2), **arguments)
