"""The loop against exact truth, and its laws."""

import numpy as np
import pytest
import torch
from torch import Tensor

from scenewright.backends.analytic import GaussianMixture
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.errors import UserError
from scenewright.guidance import ClassifierFree
from scenewright.sampling import SOLVERS, Ddim, During, guided, sample
from scenewright.scene import Scene
from scenewright.schedule import FlowSchedule, Level, VPSchedule

BLANK = Scene("", (), (1, 1))
# Stable Diffusion's schedule, stretched to begin at pure noise so that the samples can be exact.
FROM_PURE_NOISE = VPSchedule.from_scheduler_config(
    {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
    }
)


def line(*means: float, deviation: float = 0.2, weights: tuple[float, ...] = (), flow: bool = False) -> GaussianMixture:
    """A mixture on the real line, float64."""
    shaped = torch.tensor(means, dtype=torch.float64)[:, None, None, None]
    shares = torch.tensor(weights or (1 / len(means),) * len(means), dtype=torch.float64)
    deviations = torch.full((len(means),), deviation, dtype=torch.float64)
    return GaussianMixture(shaped, deviations, shares, FlowSchedule() if flow else FROM_PURE_NOISE)


def values(model: GaussianMixture, *args: object, count: int = 2000, **keywords: object) -> np.ndarray:
    return sample(model, BLANK, *args, seeds=range(count), **keywords).latents.flatten().numpy()  # type: ignore[arg-type]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Wasserstein-1 distance of two equally large samples."""
    return float(np.abs(np.sort(a) - np.sort(b)).mean())


def truth(means: tuple[float, ...], shares: tuple[float, ...], deviation: float, count: int) -> np.ndarray:
    """Quantiles of the mixture, by inverting its distribution function."""
    from scipy.stats import norm

    grid = np.linspace(-4, 4, 20001)
    distribution = sum(w * norm.cdf(grid, m, deviation) for m, w in zip(means, shares, strict=True))
    return np.interp((np.arange(count) + 0.5) / count, distribution, grid)


@pytest.mark.parametrize(
    ("solver", "eta", "flow"),
    [("ddim", 0.0, False), ("ddim", 1.0, False), ("euler", 0.0, False), ("dpm++2m", 0.0, False), ("ddim", 0.0, True)],
)
def test_samples_follow_the_data(solver: str, eta: float, flow: bool) -> None:
    model = line(-1.0, 1.5, weights=(0.3, 0.7), flow=flow)
    steps = 40 if solver == "dpm++2m" else 200
    found = values(model, steps=steps, solver=solver, eta=eta)
    assert distance(found, truth((-1.0, 1.5), (0.3, 0.7), 0.2, len(found))) < 0.08  # sampling error of 2000 draws: 0.04


def test_second_order_beats_first_at_few_steps() -> None:
    model = line(-0.5, 0.5, deviation=0.5)
    exact = values(model, steps=1000, count=200)
    errors = {solver: np.abs(values(model, steps=20, solver=solver, count=200) - exact).mean() for solver in SOLVERS}
    assert errors["dpm++2m"] < 0.5 * errors["ddim"]


def test_nudge_is_added_after_the_step() -> None:
    model = line(0.0)

    def push(denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        last = level.index == level.count - 1
        return denoise(x, level, condition)._replace(nudge=torch.full_like(x, 0.25) if last else None)

    moved = values(model, [push], steps=10, count=5)
    np.testing.assert_allclose(moved, values(model, steps=10, count=5) + 0.25, atol=1e-12)


def test_a_guidance_may_ask_for_noise_in_its_steps() -> None:
    model = line(-1.0, 1.0)

    def noisy(denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        return denoise(x, level, condition)._replace(eta=1.0)

    np.testing.assert_array_equal(values(model, [noisy], steps=9, count=6), values(model, steps=9, eta=1.0, count=6))
    with pytest.raises(UserError, match="adds no noise"):
        values(model, [noisy], steps=9, count=1, solver="euler")


def test_eta_matches_the_variance_of_ddpm() -> None:
    """With eta = 1 the deviation is sqrt((1 - a') / (1 - a) * (1 - a / a')), the DDPM posterior's."""
    level, following = Level(0.6, 0.8, 500), Level(0.8, 0.6, 400)
    prediction = Prediction(torch.zeros(1), torch.zeros(1))
    step = Ddim(1.0)(prediction, level, following, lambda: torch.ones(1))
    assert float(step) == pytest.approx(((0.36 / 0.64) * (1 - 0.36 / 0.64)) ** 0.5)


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_a_seed_does_not_depend_on_its_batch(eta: float) -> None:
    model = line(-1.0, 1.0)
    together = values(model, steps=12, eta=eta, count=8)
    for seed in (0, 5):
        alone = sample(model, BLANK, steps=12, eta=eta, seeds=[seed]).latents
        np.testing.assert_allclose(alone.flatten().numpy(), together[seed], atol=1e-12)


def test_during_outside_its_window_is_identity() -> None:
    model = line(-1.0, 1.0)
    strong = ClassifierFree(0.0)
    plain = values(model, steps=8, count=3)
    for window in (During(strong, 1.0, 1.0), During(strong, 0.5, 0.5), During(strong, steps=0)):
        np.testing.assert_array_equal(values(model, [window], steps=8, count=3), plain)


def test_during_counts_steps() -> None:
    seen = []

    def note(denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        seen.append(level.index)
        return denoise(x, level, condition)

    model = line(0.0)
    values(model, [During(note, 0.25, 0.5)], steps=8, count=1)
    values(model, [During(note, steps=3)], steps=8, count=1)
    assert seen == [2, 3, 0, 1, 2]


def test_the_first_guidance_is_innermost() -> None:
    order = []

    def named(name: str):
        def guidance(denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
            order.append(name)
            return denoise(x, level, condition)

        return guidance

    model = line(0.0)
    denoise = guided(model.denoise, [named("inner"), named("outer")])
    denoise(torch.zeros(1, 1, 1, 1, dtype=torch.float64), Level(0.6, 0.8, 1), model.encode(BLANK))
    assert order == ["outer", "inner"]


def test_scenes_and_seeds_are_paired_as_said() -> None:
    model = line(-1.0, 1.0)
    left, right = Scene("0", (), (1, 1)), Scene("1", (), (1, 1))
    every = sample(model, [left, right], steps=20, seeds=[3, 4])
    assert every.scenes == (0, 0, 1, 1)
    assert every.seeds == (3, 4, 3, 4)
    signs = every.latents.flatten().sign().tolist()
    assert signs == [-1, -1, 1, 1]
    each = sample(model, [left, right], steps=20, seeds=[3, 4], zipped=True)
    torch.testing.assert_close(each.latents, every.latents[[0, 3]])
    assert each[0].shape == (1, 1, 3)


def test_progress_and_callback_see_every_step() -> None:
    done, levels = [], []
    model = line(0.0)
    keywords = {"progress": lambda i, n: done.append((i, n)), "callback": lambda level, x, p: levels.append(level)}
    values(model, steps=3, count=1, **keywords)
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert [level.index for level in levels] == [0, 1, 2]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"solver": "heun"}, "solver 'heun' is not known"),
        ({"eta": 1.5}, "eta is 1.5"),
        ({"eta": float("nan")}, "eta is nan"),
        ({"eta": 0.5, "solver": "euler"}, "adds no noise"),
        ({"seeds": []}, "nothing to draw"),
        ({"seeds": [-1]}, "a seed must lie"),
        ({"seeds": [1, 2], "zipped": True}, "cannot be paired"),
        ({"steps": 0}, "0 steps"),
    ],
)
def test_bad_values_are_refused_in_a_sentence(keywords: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sample(line(0.0), BLANK, **keywords)


def test_overflow_is_said() -> None:
    def burst(denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        return denoise(x, level, condition)._replace(nudge=torch.full_like(x, torch.nan))

    with pytest.raises(UserError, match="overflowed"):
        values(line(0.0), [burst], steps=2, count=1)
