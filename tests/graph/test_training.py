"""Training of factors: who is null when, attention that is really distilled, missing maps, others left alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from scenewright.backends.adapters import fresh, residuals, times
from scenewright.errors import UserError
from scenewright.graph.data import MapLatents
from scenewright.graph.losses import attention_kl, kept
from scenewright.graph.training import FactorLoss, Nets
from scenewright.graph.variables import MAPS, codec_of, map_of, mirrored
from scenewright.graph.workshop import Bench, Commission, package_factor, train_factor
from scenewright.training.diffusion import noised
from scenewright.training.fit import Draw, Recipe, fit
from scenewright.world import render
from scenewright.world.cache import words_of

CONDITIONS = ("caption", "segmentation", "depth")


@pytest.fixture(scope="module")
def small() -> Any:
    """A random embedded-like pipeline: the world's tokenizer and text encoder, a tiny U-Net of 16-channel latents."""
    from types import SimpleNamespace

    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from scenewright.training.diffusion import CONTEXT, build_text_encoder
    from scenewright.training.words import tokenizer

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=16,
        out_channels=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=CONTEXT,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    return SimpleNamespace(unet=unet.eval(), text_encoder=build_text_encoder().eval(), tokenizer=tokenizer())


@pytest.fixture(scope="module")
def data() -> MapLatents:
    words = [words_of(render(seed, 24)) for seed in range(4)]
    z = {name: torch.randn(8, 16, 16, 16) for name in ("segmentation", "depth", "image")}
    return MapLatents(z, torch.ones(8, 16, 16), words, {})


def moment(step: int = 0, batch: int = 4) -> Draw:
    noise = torch.Generator().manual_seed(step)
    return Draw(step, batch, torch.device("cpu"), np.random.default_rng(step), noise)


def test_a_fifth_of_the_rows_has_null_conditions_but_never_all_of_them():
    keep = kept(np.random.default_rng(0), 20_000, CONDITIONS, caption="")
    null = ~np.stack([keep[name] for name in CONDITIONS], 1)
    assert null.any(1).mean() == pytest.approx(0.2, abs=0.01)
    assert set(null.sum(1)) == {0, 1, 2}
    assert null.mean(0) == pytest.approx(np.full(3, 0.2 * 0.5), abs=0.01)


def test_captions_are_dropped_besides():
    keep = kept(np.random.default_rng(0), 20_000, CONDITIONS)
    assert 1 - keep["caption"].mean() == pytest.approx(1 - 0.9 * 0.9, abs=0.01)
    assert 1 - keep["depth"].mean() == pytest.approx(0.1, abs=0.01)
    alone = kept(np.random.default_rng(0), 20_000, ("caption",))
    assert 1 - alone["caption"].mean() == pytest.approx(0.1, abs=0.01)


def test_kl_is_per_query_and_zero_for_equals():
    shares = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]])
    other = torch.tensor([[[0.25, 0.75], [0.9, 0.1]]])
    assert attention_kl([shares], [shares]) == pytest.approx(0, abs=1e-7)
    byhand = 0.5 * (0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75))
    assert attention_kl([shares], [other]).item() == pytest.approx(byhand)
    assert attention_kl([shares, shares], [other, shares]).item() == pytest.approx(byhand / 2)


def test_distillation_reaches_the_adapter_and_lowers_the_divergence(small, data):
    """The release detaches the student's maps, so its term has no gradient."""
    nets = Nets(small.unet, "segmentation", ())
    loss = FactorLoss(nets, small, data, "segmentation", ())
    with torch.no_grad():
        for layer in (*nets.own.outs, nets.own.skip):  # pyright: ignore[reportOptionalMemberAccess]
            layer.weight.normal_(0, 0.3)  # type: ignore[union-attr]
    draw = moment(0)
    batch = noised(data.z["segmentation"][:4], loss.bars, moment(0))
    states = loss.states(["a red car", "grass", "", "a dog"], draw.device)
    optimiser = torch.optim.Adam(nets.parameters(), 2e-3)
    course = []
    for _ in range(12):
        divergence = loss.distillation(batch, states, moment(0))
        optimiser.zero_grad()
        divergence.backward()
        grad = sum(float(p.grad.abs().sum()) for p in nets.parameters() if p.grad is not None)
        assert grad > 0
        optimiser.step()
        course.append(divergence.item())
    assert course[-1] < 0.8 * course[0]
    assert all(p.grad is None for p in small.unet.parameters())
    assert loss.distillation(batch, states, moment(1)) == 0


def test_one_step_trains_the_adapters_and_nothing_else(small, data):
    before = [p.clone() for p in small.unet.parameters()]
    for variable, maps in (("segmentation", ()), ("depth", ("segmentation",)), ("image", ("segmentation", "depth"))):
        nets = Nets(small.unet, variable, maps)
        terms = FactorLoss(nets, small, data, variable, maps)(moment())
        assert ("distil" in terms) == (not maps)
        torch.stack(list(terms.values())).sum().backward()
        grads = {name: p.grad for name, p in nets.named_parameters() if name.endswith(("skip.weight", "outs.0.weight"))}
        assert len(grads) == 2 * (len(maps) + (variable != "image"))
        assert all(grad is not None and grad.abs().sum() > 0 for grad in grads.values())
    assert all(torch.equal(a, b) for a, b in zip(before, small.unet.parameters(), strict=True))
    assert not any(p.requires_grad for p in small.unet.parameters())


def test_rows_that_lack_a_map_do_not_train_its_factor_and_read_it_as_null(small, data):
    lacking = data.lacking("segmentation", 0.5, seed=3)
    have = lacking.present["segmentation"]
    assert 0 < have.sum() < 8
    assert torch.equal(have[::2], have[1::2])  # a scene and its mirror image
    loss = FactorLoss(Nets(small.unet, "segmentation", ()), small, lacking, "segmentation", ())
    assert set(loss.choice) == set(have.nonzero().flatten().tolist())
    child = FactorLoss(Nets(small.unet, "depth", ("segmentation",)), small, lacking, "depth", ("segmentation",))
    assert len(child.choice) == 8
    draw, rows = moment(), np.arange(4)
    keep = {"segmentation": np.ones(4, bool)}
    (_, _), (weight, _) = child.features(noised(data.z["depth"][:4], child.bars, moment()), rows, keep, draw)
    assert torch.equal(weight.flatten().bool(), have[:4])


def test_parents_are_clean_or_a_step_ahead(small, data):
    loss = FactorLoss(Nets(small.unet, "depth", ("segmentation",)), small, data, "depth", ("segmentation",))
    rows = np.zeros(400, int)
    batch = noised(data.z["depth"][rows], loss.bars, moment(0, 400))
    z, then = loss.parent("segmentation", rows, batch, moment(0, 400))
    clean = then == 0
    assert torch.equal(z[clean], data.z["segmentation"][rows][clean])
    assert 0.4 < clean.float().mean() < 0.65
    gap = (batch.t - then)[~clean]
    assert gap.min() >= 20
    assert gap.max() <= 100


def test_a_weight_of_zero_is_a_missing_parent(small):
    net = fresh(small.unet)
    torch.nn.init.normal_(net.skip.weight)
    x, t = torch.randn(2, 16, 16, 16), torch.tensor([10, 900])
    states = torch.randn(2, 64, 128)
    weights = torch.tensor([1.0, 0.0]).view(-1, 1, 1, 1)
    with torch.no_grad():
        features = net(torch.randn(2, 16, 16, 16), times(small.unet, t, t))
        half = small.unet(x, t, states, **residuals(small.unet, [(weights, features)])).sample
        none = small.unet(x, t, states).sample
    assert torch.equal(half[1], none[1])
    assert not torch.equal(half[0], none[0])


def test_a_factor_learns_and_resumes_exactly(small, data, tmp_path):
    recipe = Recipe(steps=4, batch=2, rate=1e-3, warmup=1, decay=0)

    def run(folder: Any, minutes: float | None = None) -> Nets:
        torch.manual_seed(0)
        nets = Nets(small.unet, "segmentation", ())
        fit(nets, FactorLoss(nets, small, data, "segmentation", ()), recipe, folder, minutes, precision="no")
        return nets

    whole = run(tmp_path / "whole")
    for _ in range(2):
        run(tmp_path / "parts", minutes=1e-9)
    parts = run(tmp_path / "parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_maps_of_mirrored_scenes_are_the_mirrored_maps():
    sample = next(s for s in (render(seed, 32, shaded=False) for seed in range(60)) if s.poses)
    assert not sample.image.any()
    for name in MAPS:
        values, codec = map_of(sample, name), codec_of(name, (32, 32))
        assert codec is not None
        twice = mirrored(name, mirrored(name, values, 32), 32)
        assert np.array_equal(codec.encode(twice), codec.encode(values))
    (person,), (other,) = ([p] for p in (map_of(sample, "pose")[0], mirrored("pose", map_of(sample, "pose"), 32)[0]))
    assert other["left_wrist"] == (32 - person["right_wrist"][0], person["right_wrist"][1])
    assert np.array_equal(mirrored("normals", sample.normals)[..., 0], -sample.normals[:, ::-1, 0])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Commission("colour"), "no variable 'colour'"),
        (lambda: Commission("depth", ("depth",)), "cannot have"),
        (lambda: Commission("depth", ("image",)), "cannot have"),
        (lambda: Commission("image"), "give --parents"),
        (lambda: Commission("depth", distil=-1.0), "0 \\(off\\) or more"),
    ],
)
def test_impossible_factors_are_refused(make, says):
    with pytest.raises(UserError, match=says):
        make()


def test_adding_a_factor_leaves_the_others_bytes_alone(tiny_world, tmp_path):
    """From renders to a packaged factor, twice; the first one's files do not change when the second is trained."""
    bench, model = tiny_world
    first, second = Commission("segmentation"), Commission("image", ("segmentation",))
    train_factor(bench, first, model)
    package_factor(bench, first, tmp_path / first.name, model)
    before = {p: p.read_bytes() for p in (tmp_path / first.name).rglob("*") if p.is_file()}
    assert {p.name for p in before} == {"config.json", "diffusion_pytorch_model.safetensors", "factor.json"}
    train_factor(replace(bench, steps=2), second, model)
    package_factor(bench, second, tmp_path / second.name, model)
    assert all(p.read_bytes() == content for p, content in before.items())
    assert (tmp_path / second.name / "segmentation" / "config.json").exists()
    with pytest.raises(UserError, match="has not been trained"):
        package_factor(bench, Commission("depth"), tmp_path / "depth", model)


@pytest.fixture(scope="module")
def tiny_world(small, tmp_path_factory):
    """A bench of eight small scenes and a model whose latents are pictures of 16 by 16, in four colour moments."""
    from types import SimpleNamespace

    from scenewright.world.cache import build

    folder = tmp_path_factory.mktemp("bench")
    shards = build(range(8), folder / "world", size=32, workers=1)

    def encode(pictures: np.ndarray) -> torch.Tensor:
        cells = torch.from_numpy(pictures).float().reshape(len(pictures), 16, 2, 16, 2, 3) / 127.5 - 1
        return cells.permute(0, 2, 4, 5, 1, 3).flatten(1, 3).repeat(1, 2, 1, 1)[:, :16]

    model = SimpleNamespace(
        pipeline=small, encode_image=encode, identity=lambda: {"name": "tiny", "sha256": "0" * 64, "dtype": "float32"}
    )
    return Bench(folder, shards, steps=2, precision="no"), model
