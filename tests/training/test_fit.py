"""The training loop: a run that is killed and resumed is the run that was not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scenewright.errors import UserError
from scenewright.training.fit import Draw, Progress, Recipe, fit, progress_of

RECIPE = Recipe(steps=200, batch=16, rate=0.05, warmup=10, decay=0.5, ema=0.9, weight_decay=0.0)
TRUTH = torch.tensor([[1.0, -2.0, 0.5]])


def regression() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def loss(model: Any):
    def terms(draw: Draw) -> dict[str, torch.Tensor]:
        x = torch.randn(draw.batch, 3, generator=draw.noise) + float(draw.rng.normal())
        return {"mse": (model(x) - x @ TRUTH.T - 3).pow(2).mean()}

    return terms


def run(folder: Path, recipe: Recipe = RECIPE, minutes: float | None = None) -> nn.Linear:
    model = regression()
    fit(model, loss(model), recipe, folder, minutes, precision="no")
    return model


def test_it_learns(tmp_path):
    model = run(tmp_path, replace(RECIPE, steps=600))
    assert torch.allclose(model.weight, TRUTH, atol=0.02)
    curve = progress_of(tmp_path / "checkpoint.safetensors").curve
    assert [row["step"] for row in curve] == [100, 200, 300, 400, 500, 600]
    assert curve[-1]["mse"] < curve[0]["mse"]


def test_stopped_and_resumed_is_the_same_run(tmp_path):
    whole = run(tmp_path / "whole")
    for _ in range(25):
        run(tmp_path / "parts", minutes=1e-9)  # one step a run
    assert progress_of(tmp_path / "parts" / "checkpoint.safetensors").step == 25
    parts = run(tmp_path / "parts")
    assert torch.equal(whole.weight, parts.weight)
    assert torch.equal(whole.bias, parts.bias)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    run(tmp_path)
    other = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    with pytest.raises(UserError, match="another model"):
        fit(other, loss(other), RECIPE, tmp_path, precision="no")


def test_a_loss_that_explodes_stops_the_run(tmp_path):
    model: Any = regression()
    with pytest.raises(FloatingPointError, match="step 0"):
        fit(model, lambda draw: {"bad": model.weight.sum() / 0}, RECIPE, tmp_path, precision="no")
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_going_on_from_finished_weights_warms_up_again(tmp_path):
    model, begun = regression(), Progress(step=100, seconds=5.0)
    progress = fit(model, loss(model), replace(RECIPE, steps=150), tmp_path, precision="no", begin=begun)
    assert (progress.step, progress.begun) == (150, 100)
    assert progress.seconds > 5
    assert RECIPE.rate_at(100, 100) == pytest.approx(RECIPE.rate / RECIPE.warmup)
    assert progress_of(tmp_path / "checkpoint.safetensors").begun == 100


def test_weights_in_another_memory_layout_resume_the_same_run(tmp_path):
    def run(folder: Path, minutes: float | None = None) -> nn.Conv2d:
        torch.manual_seed(0)
        model = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

        def terms(draw: Draw) -> dict[str, torch.Tensor]:
            return {"square": model(torch.randn(2, 4, 5, 5, generator=draw.noise)).square().mean()}

        fit(model, terms, replace(RECIPE, steps=6), folder, minutes, precision="no")
        return model

    whole = run(tmp_path / "whole")
    for _ in range(3):
        run(tmp_path / "parts", minutes=1e-9)
    assert torch.equal(whole.weight, run(tmp_path / "parts").weight)
