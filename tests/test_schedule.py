"""Levels: equal to diffusers' schedulers, and sane at any number of steps."""

# diffusers exports lazily and types its constructors loosely.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from hypothesis import given
from hypothesis import strategies as st

from scenewright.errors import UserError
from scenewright.sampling import Ddim
from scenewright.schedule import FlowSchedule, Level, VPSchedule

STABLE_DIFFUSION = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@pytest.mark.parametrize("steps", [1, 7, 30, 50])
@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"set_alpha_to_one": True, "steps_offset": 0},
        {"beta_schedule": "linear"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"rescale_betas_zero_snr": True},
    ],
)
def test_leading_levels_are_those_of_ddim(steps: int, extra: dict) -> None:
    theirs = DDIMScheduler(**STABLE_DIFFUSION | extra)
    theirs.set_timesteps(steps)
    levels = VPSchedule.from_scheduler_config(theirs.config).levels(steps)
    assert [level.timestep for level in levels[:-1]] == theirs.timesteps.tolist()
    bars = [*theirs.alphas_cumprod[theirs.timesteps].tolist(), float(theirs.final_alpha_cumprod)]
    np.testing.assert_allclose([level.alpha**2 for level in levels], bars, atol=2e-7)
    assert all(level.landing is None for level in levels)


def test_landings_are_where_ddim_steps_to() -> None:
    theirs = DDIMScheduler(**STABLE_DIFFUSION, timestep_spacing="trailing")
    theirs.set_timesteps(30)
    levels = VPSchedule.from_scheduler_config(theirs.config).levels(30)
    landed = [level.landing for level in levels if level.landing]
    assert landed
    for level, after in zip(levels, levels[1:], strict=False):
        place = int(level.timestep) - 1000 // 30
        bar = theirs.alphas_cumprod[place] if place >= 0 else theirs.final_alpha_cumprod
        assert (level.landing or (after.alpha, after.sigma))[0] ** 2 == pytest.approx(float(bar), abs=1e-6)


@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading"])
@pytest.mark.parametrize("steps", [4, 30, 50])
def test_timesteps_of_every_spacing(spacing: str, steps: int) -> None:
    theirs = DDIMScheduler(**STABLE_DIFFUSION, timestep_spacing=spacing)
    theirs.set_timesteps(steps)
    levels = VPSchedule.from_scheduler_config(theirs.config).levels(steps)
    assert [level.timestep for level in levels[:-1]] == theirs.timesteps.tolist()


# diffusers turns tensors into arrays in a way that numpy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading"])
@pytest.mark.parametrize(
    ("solver", "kind"), [("euler", EulerDiscreteScheduler), ("dpm++2m", DPMSolverMultistepScheduler)]
)
def test_noise_ratios_of_other_solvers(solver: str, kind: type, spacing: str) -> None:
    theirs = kind.from_config(DDIMScheduler(**STABLE_DIFFUSION, timestep_spacing=spacing).config)  # pyright: ignore
    theirs.set_timesteps(12)
    levels = VPSchedule.from_scheduler_config(theirs.config).levels(12, solver)
    np.testing.assert_allclose([level.timestep for level in levels[:-1]], theirs.timesteps.tolist(), rtol=1e-6)
    np.testing.assert_allclose([level.ratio for level in levels], theirs.sigmas.tolist(), rtol=2e-5, atol=1e-7)


@given(st.integers(1, 1000), st.sampled_from(["leading", "trailing", "linspace"]))
def test_levels_fall_and_keep_the_variance(steps: int, spacing: str) -> None:
    levels = VPSchedule.from_scheduler_config(STABLE_DIFFUSION | {"timestep_spacing": spacing}).levels(steps)
    assert len(levels) == steps + 1
    assert all(math.isclose(level.alpha**2 + level.sigma**2, 1, abs_tol=1e-6) for level in levels)
    assert all(a.sigma >= b.sigma for a, b in zip(levels, levels[1:], strict=False))
    assert [level.index for level in levels] == list(range(steps + 1))
    assert levels[0].progress == 0
    assert levels[-1].progress == 1


@pytest.mark.parametrize("steps", [0, -3, 1001])
def test_impossible_step_counts_are_refused(steps: int) -> None:
    with pytest.raises(UserError, match="steps are not possible"):
        VPSchedule.from_scheduler_config(STABLE_DIFFUSION).levels(steps)
    if steps < 1:
        with pytest.raises(UserError, match="steps are not possible"):
            FlowSchedule().levels(steps)


@pytest.mark.parametrize("change", [{"timestep_spacing": "odd"}, {"beta_schedule": "odd"}])
def test_unknown_settings_are_refused(change: dict) -> None:
    with pytest.raises(UserError, match="'odd' is not known"):
        VPSchedule.from_scheduler_config(STABLE_DIFFUSION | change)


def test_trained_betas_are_used() -> None:
    schedule = VPSchedule.from_scheduler_config({"trained_betas": [0.1, 0.2, 0.5]})
    torch.testing.assert_close(schedule.alphas_cumprod, torch.tensor([0.9, 0.72, 0.36]))


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize("trained_last", [True, False])
@pytest.mark.parametrize("extra", [{}, {"shift": 3.0}, {"use_dynamic_shifting": True, "max_shift": 1.1}])
def test_flow_levels_are_those_of_flow_match_euler(steps: int, trained_last: bool, extra: dict) -> None:
    theirs: Any = FlowMatchEulerDiscreteScheduler(**extra)
    latent = (96, 40)
    # mu is the line between 256 and 4096 tokens of 2 x 2 cells, as the pipelines draw it
    mu = 0.5 + (96 * 40 / 4 - 256) * (1.1 - 0.5) / (4096 - 256)
    sigmas = None if trained_last else np.linspace(1, 1 / steps, steps)
    theirs.set_timesteps(steps, sigmas=sigmas, mu=mu)
    ours = FlowSchedule.from_scheduler_config(theirs.config, (64, 64), 2, trained_last).levels(steps, latent=latent)
    np.testing.assert_allclose([level.sigma for level in ours], theirs.sigmas.tolist(), atol=1e-7)
    np.testing.assert_allclose([level.timestep for level in ours[:-1]], theirs.timesteps.tolist(), rtol=2e-7)
    assert [level.index for level in ours] == list(range(steps + 1))


def test_flow_levels_take_the_native_size_when_none_is_said() -> None:
    config = {"use_dynamic_shifting": True}
    schedule = FlowSchedule.from_scheduler_config(config, (64, 64), 2, False)
    assert schedule.levels(5) == schedule.levels(5, latent=(64, 64))
    assert schedule.levels(5) != schedule.levels(5, latent=(32, 64))


@pytest.mark.parametrize("name", ["use_karras_sigmas", "invert_sigmas", "shift_terminal", "time_shift_type"])
def test_other_flow_levels_are_refused(name: str) -> None:
    config = {name: "linear" if name == "time_shift_type" else 0.1}
    with pytest.raises(UserError, match=f"the scheduler's {name} is not supported"):
        FlowSchedule.from_scheduler_config(config, (64, 64), 2, True)


@pytest.mark.parametrize(("alpha", "sigma"), [(0.2, 0.8), (0.0, 1.0), (math.sqrt(0.5), math.sqrt(0.5))])
def test_a_noisy_step_keeps_the_variance_of_any_schedule(alpha: float, sigma: float) -> None:
    """From exact (x0, eps), with eta, x has alpha x0 as its mean and sigma as its deviation at the next level."""
    level, after = Level(alpha, sigma, 500, 0, 2), Level(0.9, 0.3, 100, 1, 2)
    eps, fresh = torch.randn(2, 1, 1, 300, 300, dtype=torch.float64)
    from scenewright.denoiser import Prediction

    moved = Ddim(0.7)(Prediction(torch.full_like(eps, 2.0), eps), level, after, lambda: fresh)
    assert float(moved.mean()) == pytest.approx(1.8, abs=0.01)
    assert float(moved.std()) == pytest.approx(0.3, abs=0.01)


def test_flow_levels_are_a_straight_line() -> None:
    levels = FlowSchedule(shift=3.0).levels(8)
    assert levels[0].sigma == 1
    assert levels[-1].sigma == 0
    assert all(math.isclose(level.alpha + level.sigma, 1) for level in levels)
    assert levels[4].sigma == pytest.approx(0.75)  # 3 * 0.5 / (1 + 2 * 0.5)
