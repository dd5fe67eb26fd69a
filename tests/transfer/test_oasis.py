"""OASIS: its parts against their definitions, its presets against the published sizes, its loop when interrupted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scenewright.training.adversarial import AdversarialRecipe, fit_pair
from scenewright.training.checkpoint import progress_of
from scenewright.training.fit import Draw
from scenewright.training.watch import Watch
from scenewright.transfer import losses, oasis
from scenewright.transfer.oasis import PRESETS, Generator, Oasis, OasisConfig, one_hot, restated

TINY = OasisConfig(4, (16, 16), noise=2, widths=(8, 8, 4), hidden=(4, 4), down=(4, 8), up=(8, 4))
RECIPE = AdversarialRecipe(steps=6, batch=2, rate=1e-3, discriminator_rate=1e-3, ema=0.9, restatements=2)


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("name", "millions"), [("ade20k", 74.3), ("coco-stuff", 75.2), ("cityscapes", 71.1)])
def test_presets_have_the_published_size(name: str, millions: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # Spectral norms have no parameters, and are slow to set up without memory.
    monkeypatch.setattr(oasis, "spectral_norm", lambda conv: conv)
    with torch.device("meta"):
        pair = Oasis(PRESETS[name])
        height, width = PRESETS[name].size
        picture = pair.generator(torch.zeros(1, PRESETS[name].classes, height, width), torch.zeros(1, 64))
        logits = pair.discriminator(picture)
    assert round(parameters(pair.generator) / 1e6, 1) == millions
    assert picture.shape == (1, 3, height, width)
    assert logits.shape == (1, PRESETS[name].classes + 1, height, width)
    assert len(pair.generator.label_convolutions()) == 17


def test_the_small_preset_ships_in_six_megabytes() -> None:
    assert 2 * parameters(Generator(PRESETS["world"])) < 6e6


def test_every_convolution_but_those_that_read_labels_is_spectrally_normalised() -> None:
    pair = Oasis(TINY)
    blocks = [net for name, net in pair.discriminator.named_modules() if name.endswith(("first", "second"))]
    with torch.no_grad():
        for _ in range(60):  # one power iteration each
            pair.discriminator(torch.randn(1, 3, 16, 16))
        for conv in blocks:
            weight = conv.weight
            assert isinstance(weight, Tensor)
            assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)
    assert not any(hasattr(conv, "parametrizations") for conv in pair.generator.label_convolutions())


def test_class_weights_are_those_of_the_definition() -> None:
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[0, 0, :] = 2  # 4 pixels
    labels[0, 1, :2] = 3  # 2 pixels; 10 stay unlabelled, class 1 is absent
    weights = losses.class_weights(labels, 4)
    assert torch.allclose(weights, torch.tensor([0.0, 0.0, 16 / (2 * 4), 16 / (2 * 2)]))


def test_real_loss_is_the_mean_over_classes_of_their_means() -> None:
    labels, logits = torch.randint(0, 4, (2, 8, 8)), torch.randn(2, 5, 8, 8)
    each = F.cross_entropy(logits, labels + 1, reduction="none")
    expected = torch.stack([each[labels == c].mean() for c in (1, 2, 3)]).mean()
    assert torch.allclose(losses.real_loss(logits, labels), expected)


def test_unlabelled_pixels_teach_nothing() -> None:
    labels, logits = torch.zeros(1, 4, 4, dtype=torch.long), torch.randn(1, 5, 4, 4, requires_grad=True)
    labels[0, 0, 0] = 2
    losses.real_loss(logits, labels).backward()
    assert logits.grad is not None
    touched = logits.grad.abs().sum(1)[0] > 0
    assert touched[0, 0]
    assert touched.sum() == 1
    assert losses.real_loss(logits, torch.zeros_like(labels)).item() == 0


def test_fake_loss_wants_the_first_logit() -> None:
    certain = torch.full((1, 5, 2, 2), -20.0)
    certain[:, losses.FAKE] = 20.0
    assert losses.fake_loss(certain).item() == pytest.approx(0, abs=1e-6)
    assert losses.fake_loss(torch.zeros(1, 5, 2, 2)).item() == pytest.approx(torch.tensor(5.0).log().item())


def test_labelmix_takes_whole_classes_and_vanishes_for_a_consistent_critic() -> None:
    labels = torch.randint(0, 4, (8, 6, 6))
    masks = losses.mix_masks(labels, torch.Generator().manual_seed(0))
    for picture, mask in zip(labels, masks[:, 0], strict=True):
        for c in picture.unique():
            assert mask[picture == c].unique().numel() == 1
    assert 0 < masks.mean() < 1
    real, fake = torch.randn(2, 8, 3, 6, 6)
    blend = losses.mixed(masks, real, fake)
    assert losses.consistency_loss(2 * blend, masks, 2 * real, 2 * fake).item() == pytest.approx(0, abs=1e-10)
    assert losses.consistency_loss(blend.flip(0), masks, real, fake).item() > 0.1


def test_noise_of_one_vector_is_spread_and_may_vary_by_region() -> None:
    model = Generator(TINY).eval()
    maps, z = one_hot(torch.randint(0, 4, (1, 16, 16)), 4), torch.randn(1, 2)
    spread = z[:, :, None, None].expand(-1, -1, 16, 16)
    with torch.no_grad():
        assert torch.equal(model(maps, z), model(maps, spread))
        other = spread.clone()
        other[..., 8:] = -spread[..., 8:]
        difference = (model(maps, spread) - model(maps, other)).abs().amax((0, 1, 2))
    assert difference[-1] > 0


def test_restated_statistics_are_the_mean_over_the_batches() -> None:
    model = Generator(TINY)
    batches = [(one_hot(torch.randint(0, 4, (2, 16, 16)), 4), torch.randn(2, 2)) for _ in range(3)]
    norm: Any = model.get_submodule("blocks.0.spade_first.norm")
    norm.running_mean.fill_(7.0)
    restated(model, batches)
    with torch.no_grad():
        means = [
            model.begin(F.interpolate(torch.cat([z[..., None, None].expand(-1, -1, 16, 16), maps], 1), size=8)).mean(
                (0, 2, 3)
            )
            for maps, z in batches
        ]
    assert torch.allclose(norm.running_mean, torch.stack(means).mean(0), atol=1e-5)
    assert norm.momentum == 0.1


def stripes(draw: Draw) -> tuple[Tensor, Tensor]:
    """Pictures whose colour says the class: red, green and blue for 1 to 3."""
    labels = (
        torch.from_numpy(draw.rng.integers(1, 4, (draw.batch, 2, 2))).repeat_interleave(8, 1).repeat_interleave(8, 2)
    )
    return one_hot(labels - 1, 3) * 2 - 1, labels


def test_stopped_and_resumed_is_the_same_run(tmp_path: Path) -> None:
    def run(folder: Path, minutes: float | None = None) -> Oasis:
        torch.manual_seed(0)
        pair = Oasis(TINY)
        fit_pair(pair, stripes, replace(RECIPE, coarse=0.5), folder, minutes, precision="no")
        return pair

    whole = run(tmp_path / "whole")
    for _ in range(4):
        run(tmp_path / "parts", minutes=1e-9)  # one step a run
    assert progress_of(tmp_path / "parts" / "checkpoint.safetensors").step == 4
    parts = run(tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_the_critic_learns_to_segment(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pair = Oasis(TINY)
    recipe = replace(RECIPE, steps=40, discriminator_rate=1e-2, labelmix=0.1)
    progress = fit_pair(pair, stripes, recipe, tmp_path, precision="no", watch=Watch(lambda m: 0.0, 20, patience=9))
    assert progress.curve[-1]["real"] < progress.curve[0]["real"]
    draw = Draw(0, 8, torch.device("cpu"), np.random.default_rng(5), torch.Generator())
    pictures, labels = stripes(draw)
    with torch.no_grad():
        seen = pair.discriminator(pictures)[:, 1:].argmax(1)
    assert (seen == labels).float().mean() > 0.9


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    torch.manual_seed(0)
    scores, weights = iter([3.0, 1.0, 2.0, 2.5]), []

    def score(model: torch.nn.Module) -> float:
        weights.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(scores)

    pair = Oasis(TINY)
    progress = fit_pair(pair, stripes, replace(RECIPE, steps=100), tmp_path, precision="no", watch=Watch(score, 2, 2))
    assert progress.step == 8
    for name, value in pair.generator.state_dict().items():
        assert torch.equal(value, weights[1][name]), name
