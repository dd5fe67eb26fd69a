"""The label-map encoder: folding is exact, a saved model draws the same, a new one does not disturb the U-Net."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scenewright import api
from scenewright.backends import load
from scenewright.backends.semantic import SemanticModel
from scenewright.errors import UserError
from scenewright.scene import Scene, Segment
from scenewright.training import diffusion, features, semantic
from scenewright.training.fit import Recipe, fit
from scenewright.transfer.encoder import PRESETS, EncoderConfig, MapEncoder, MapToLatent, folded_encoder
from scenewright.transfer.folding import translated
from scenewright.transfer.oasis import one_hot

TINY = EncoderConfig(4, (32, 32), (4, 8, 16), layers=1, heads=2, context=16, time=64)
NAMES = ("unlabelled", "sky", "road", "car")


def model(folder: Path) -> SemanticModel:
    torch.manual_seed(0)
    return SemanticModel(load(folder, device="cpu"), MapEncoder(TINY).eval(), NAMES)  # type: ignore[arg-type]


def scene() -> Scene:
    sky, car = np.zeros((2, 32, 32), np.float32)
    sky[:16], car[20:28, 8:20] = 1, 1
    return Scene("", (Segment(sky, "sky"), Segment(car, "car")), (32, 32))


def test_the_published_encoder_has_256_tokens() -> None:
    with torch.device("meta"):
        encoder = MapEncoder(PRESETS["coco-stuff"])
        tokens, whole = encoder(torch.zeros(1, 183, 256, 256))
    assert tokens.shape == (1, 256, 512)
    assert whole.shape == (1, 768)


def test_folded_equals_explicit() -> None:
    torch.manual_seed(0)
    encoder = MapEncoder(TINY).double().eval()
    torch.nn.init.normal_(encoder.to_time.weight)
    matrix = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(4), 6).T)
    maps = one_hot(torch.randint(0, 6, (2, 32, 32)), 6).double()
    with torch.no_grad():
        explicit, folded = encoder(translated(maps, matrix)), folded_encoder(encoder, matrix)(maps)
    for a, b in zip(explicit, folded, strict=True):
        assert (a - b).abs().max() < 1e-6
        assert a.std() > 1e-3


def test_it_draws_through_the_one_contract_and_comes_back_from_disk(tiny_folder: Path, tmp_path: Path) -> None:
    new = model(tiny_folder)
    torch.nn.init.normal_(new.encoder.to_time.weight, std=0.2)
    new.save(tmp_path / "m", base=str(tiny_folder))
    again = load(tmp_path / "m")
    first, second = (api.generate(scene(), model=m, guidance="none", steps=3, seed=1)[0].image for m in (new, again))
    assert np.abs(np.asarray(first, int) - np.asarray(second, int)).max() <= 2
    empty = Scene("", (), (32, 32))
    other = api.generate(empty, model=again, guidance="none", steps=3, seed=1)[0].image
    assert not np.array_equal(np.asarray(second), np.asarray(other))
    with pytest.raises(UserError, match="'sofa' is no class of this model"):
        again.encode(scene().restyle("car", text="sofa"))
    with pytest.raises(UserError, match="draws 32x32 only"):
        again.encode(scene(), size=(64, 64))


def test_classes_of_an_affinity_draw_as_those_they_resemble(tiny_folder: Path) -> None:
    old = model(tiny_folder)
    swapped = old.translated(np.eye(4)[:, [0, 3, 2, 1]], ("unlabelled", "wagon", "street", "heaven"))
    renamed = scene().restyle("sky", text="heaven").restyle("car", text="wagon")
    first = api.generate(scene(), model=old, guidance="none", steps=2)[0].image
    second = api.generate(renamed, model=swapped, guidance="none", steps=2)[0].image
    assert np.abs(np.asarray(first, int) - np.asarray(second, int)).max() <= 1


def test_the_frozen_stage_moves_the_encoder_alone(tiny_pipeline: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    unet = tiny_pipeline().unet.requires_grad_(False)
    diffusion.plain_attention(unet)
    both = MapToLatent(MapEncoder(TINY), unet)
    before = {name: value.clone() for name, value in both.state_dict().items()}
    images = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), np.uint8)
    labels = np.random.default_rng(1).integers(0, 4, (6, 32, 32)).astype(np.uint8)
    terms = semantic.loss(both, lambda x: torch.nn.functional.avg_pool2d(x, 4)[:, [0, 1, 2, 0]], images, labels)
    fit(both, terms, Recipe(steps=3, batch=2, rate=1e-2, warmup=1), tmp_path, precision="no")
    for name, value in both.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert moved == name.startswith("encoder."), name


def test_features_learn_places_and_do_not_collapse(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = features.Features()
    images = np.random.default_rng(0).integers(0, 255, (4, 96, 96, 3), np.uint8)
    recipe = replace(features.FEATURES, steps=2, batch=2)
    fit(net, features.loss(net, images), recipe, tmp_path, precision="no")
    with torch.no_grad():
        assert net.network(torch.zeros(1, 3, 64, 96)).last_hidden_state.shape == (1, 128, 8, 12)


def test_vicreg_is_zero_for_whitened_equal_looks_and_sees_each_fault() -> None:
    rows = torch.linalg.qr(torch.randn(64, 8).sub(torch.randn(64, 8).mean(0)))[0]
    rows = rows - rows.mean(0)
    rows = torch.linalg.qr(rows)[0] * 63**0.5 * 1.01
    clean = features.vicreg(rows, rows)
    assert all(value.item() < 0.02 for value in clean.values())
    assert features.vicreg(rows, rows.roll(1, 0))["invariance"] > 10
    assert features.vicreg(rows * 0, rows * 0)["variance"] > 20
    same = rows[:, :1].expand(-1, 8)
    assert features.vicreg(same, same)["covariance"] > 5
