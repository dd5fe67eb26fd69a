"""Gradients: exact for a quadratic energy on the analytic model, finite differences for ZestGuide on a network."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import pipeline, two_segments
from scenewright.attention import Taps
from scenewright.backends import load
from scenewright.backends.analytic import GaussianMixture
from scenewright.backends.unet import UNetModel
from scenewright.denoiser import Condition, Prediction
from scenewright.errors import UserError
from scenewright.guidance import AttentionLoss, Descend, Zest
from scenewright.guidance.gradient import DECAYS, descend
from scenewright.sampling import sample
from scenewright.scene import Scene, Segment
from scenewright.schedule import Level

LEVEL = Level(0.6, 0.8, 500, 3, 10)


class Pull:
    """Half the squared distance of x0 to a target."""

    layers = ""
    absent = ()

    def __init__(self, target: float) -> None:
        self.target = target

    def __call__(self, prediction: Prediction, taps: Taps, condition: Condition) -> Tensor:
        return 0.5 * (prediction.x0 - self.target).square().sum((1, 2, 3))


def gaussian(deviation: float = 0.5) -> GaussianMixture:
    one = torch.ones(1, dtype=torch.float64)
    return GaussianMixture(torch.zeros(1, 1, 2, 2, dtype=torch.float64), deviation * one, one)


FULL = Scene("", (Segment(np.ones((2, 2), np.float32), "0"),), (2, 2))


def test_gradient_of_a_quadratic_energy_is_exact() -> None:
    """For N(0, d^2) data x0 = k x with k = alpha d^2 / (alpha^2 d^2 + sigma^2), so the gradient is k (k x - target)."""
    model, x = gaussian(), torch.randn(3, 1, 2, 2, dtype=torch.float64)
    condition = model.encode(FULL).rows([0, 0, 0])
    prediction, gradient = descend(((Pull(2.0), 3.0),), model.denoise, x, LEVEL, condition)
    k = 0.6 * 0.25 / (0.36 * 0.25 + 0.64)
    torch.testing.assert_close(gradient, 3 * k * (k * x - 2))
    assert not prediction.x0.requires_grad


def test_terms_are_summed_in_one_call() -> None:
    model, x = gaussian(), torch.randn(1, 1, 2, 2, dtype=torch.float64)
    condition, calls = model.encode(FULL), []

    def denoise(x: Tensor, level: Level, condition: Condition) -> Prediction:
        calls.append(1)
        return model.denoise(x, level, condition)

    both = descend(((Pull(1.0), 1.0), (Pull(-3.0), 0.5)), denoise, x, LEVEL, condition)[1]
    assert len(calls) == 1
    parts = [descend(((Pull(t), w),), denoise, x, LEVEL, condition)[1] for t, w in ((1.0, 1.0), (-3.0, 0.5))]
    torch.testing.assert_close(both, parts[0] + parts[1])


def test_the_nudge_is_normalised_per_picture() -> None:
    model = gaussian()
    x = torch.randn(2, 1, 2, 2, dtype=torch.float64) * torch.tensor([1.0, 100.0], dtype=torch.float64).view(2, 1, 1, 1)
    condition = model.encode(FULL).rows([0, 0])
    for decay, factor in (("sigma", 0.8), ("linear", 0.7), ("constant", 1.0)):
        nudge = Descend(((Pull(2.0), 1.0),), 0.3, decay)(model.denoise, x, LEVEL, condition).nudge
        assert nudge is not None
        torch.testing.assert_close(nudge.abs().amax((1, 2, 3)), torch.full((2,), 0.3 * factor, dtype=torch.float64))
    assert set(DECAYS) == {"sigma", "linear", "constant"}


def test_descending_moves_the_samples_to_the_target() -> None:
    model, guidance = gaussian(), Descend(((Pull(1.0), 1.0),), eta=0.2)
    plain = sample(model, FULL, steps=50, seeds=range(8)).latents
    moved = sample(model, FULL, [guidance], steps=50, seeds=range(8)).latents
    assert (moved - 1).square().mean() < 0.1 * (plain - 1).square().mean()


def test_rows_without_segments_pass_through() -> None:
    model, x = gaussian(), torch.randn(3, 1, 2, 2, dtype=torch.float64)
    condition = model.encode(FULL)
    rows = condition.halves.rows([1, 0, 1])
    guided = Descend(((Pull(1.0), 1.0),), 0.5)(model.denoise, x, LEVEL, rows)
    plain = model.denoise(x, LEVEL, rows)
    torch.testing.assert_close(guided.x0, plain.x0)
    torch.testing.assert_close(guided.eps, plain.eps)
    assert guided.nudge is not None
    assert guided.nudge[[0, 2]].abs().max() == 0
    assert guided.nudge[1].abs().max() == pytest.approx(0.4)


def test_nested_gradients_are_refused() -> None:
    model, scene = load(pipeline()), two_segments()
    with pytest.raises(UserError, match="sum their energies"):
        sample(model, scene, [Zest(), Zest()], steps=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eta": -1.0}, "eta is -1.0; it must be a finite number, at least 0"),
        ({"eta": float("nan")}, "eta is nan"),
        ({"decay": "cubic"}, "decay 'cubic' is not known"),
        ({"ddim_eta": 2.0}, "ddim_eta is 2.0; it must be a finite number, at least 0 and at most 1"),
    ],
)
def test_bad_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Descend((), **arguments)


@pytest.fixture(scope="module")
def double() -> UNetModel:
    return UNetModel.wrap(pipeline("v_prediction"), dtype=torch.float64)


@pytest.mark.parametrize(
    "energy",
    [
        AttentionLoss(),
        AttentionLoss("all"),
        AttentionLoss("all", resize="logits"),
        AttentionLoss("all", best=3, temperature=2.0),
        AttentionLoss("res4", granularity="layer"),
        AttentionLoss("encoder", granularity="head", loss="max"),
        AttentionLoss("all", loss="bce", absent=("house", "blue tree")),
    ],
    ids=["published", "all", "logits", "best", "layer", "head", "absent"],
)
def test_zest_gradient_equals_finite_differences(double: UNetModel, energy: AttentionLoss) -> None:
    scene = two_segments()
    condition, x = double.encode(scene), double.noise([0])
    assert x.dtype == torch.float64
    _, gradient = descend(((energy, 1.0),), double.denoise, x, LEVEL, condition)
    value = energy_at(double, energy, condition)
    direction = torch.randn_like(x)
    step = 1e-4 * direction
    numeric = (value(x + step) - value(x - step)) / 2e-4
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=1e-4)


def energy_at(model: UNetModel, energy: AttentionLoss, condition: Condition) -> Callable[[Tensor], float]:
    """The energy as a plain function of x, computed without any gradient machinery."""
    from scenewright.guidance.gradient import absent_states

    def value(x: Tensor) -> float:
        extra = absent_states(condition, energy.absent) if energy.absent else None
        taps = Taps(record=frozenset(layer.name for layer in model.layers), extra=extra)
        with torch.no_grad():
            prediction = model.denoise(x, LEVEL, condition.tapped(taps))
            return float(energy(prediction, taps, condition))

    return value


def test_the_early_end_of_the_graph_gives_the_same_gradient(double: UNetModel) -> None:
    """Against a graph kept to the very end: the energy has no other path to x."""
    condition, x = double.encode(two_segments()), double.noise([1])
    energy = AttentionLoss("encoder")
    _, early = descend(((energy, 1.0),), double.denoise, x, LEVEL, condition)
    taps = Taps(record=frozenset(layer.name for layer in double.layers))
    with torch.enable_grad():
        whole = x.clone().requires_grad_()
        prediction = double.denoise(whole, LEVEL, condition.tapped(taps))
        assert prediction.eps.requires_grad
        (late,) = torch.autograd.grad(energy(prediction, taps, condition).sum(), whole)
    torch.testing.assert_close(early, late)
