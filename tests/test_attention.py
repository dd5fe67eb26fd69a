"""Attention taps: nothing asked, nothing changed; what is read is what a naive computation gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import pipeline
from scenewright.attention import AttendProcessor, Layer, Taps, segment_maps, select
from scenewright.backends.unet import UNetModel
from scenewright.denoiser import Prediction
from scenewright.errors import UserError
from scenewright.sampling import sample
from scenewright.scene import Scene
from scenewright.schedule import Level

LEVEL = Level(0.6, 0.8, 500)
LAYERS = tuple(
    Layer(f"{part}.{side}", part, halvings, side)
    for part in ("encoder", "mid", "decoder")
    for halvings, side in ((1, 32), (2, 16), (3, 8))
)


def called(model: UNetModel, scene: Scene, taps: Taps | None) -> Prediction:
    condition = model.encode(scene)
    condition = condition if taps is None else condition.tapped(taps)
    with torch.no_grad():
        return model.denoise(model.noise([0]), LEVEL, condition)


def every(model: UNetModel) -> frozenset[str]:
    return frozenset(name for layer in model.layers for name in (layer.name, layer.itself))


def test_empty_taps_equal_the_stock_processor(tiny_model: UNetModel, scene: Scene) -> None:
    stock = pipeline().unet
    condition = tiny_model.encode(scene)
    with torch.no_grad():
        theirs = stock(tiny_model.noise([0]), 500, condition.text, return_dict=False)[0]
    for taps in (None, Taps()):
        assert torch.equal(called(tiny_model, scene, taps).eps, theirs)


def test_recording_does_not_change_the_output(tiny_model: UNetModel, scene: Scene) -> None:
    plain = called(tiny_model, scene, None).eps
    recorded = called(tiny_model, scene, Taps(record=every(tiny_model))).eps
    torch.testing.assert_close(recorded, plain, atol=1e-5, rtol=0)


def test_a_zero_edit_does_not_change_the_output(tiny_model: UNetModel, scene: Scene) -> None:
    plain = called(tiny_model, scene, None).eps
    edited = called(tiny_model, scene, Taps(edits=(lambda name, logits: torch.zeros_like(logits),))).eps
    torch.testing.assert_close(edited, plain, atol=1e-5, rtol=0)


def test_what_is_read_is_the_softmax_of_the_layer(tiny_model: UNetModel, scene: Scene) -> None:
    """Against `Attention.get_attention_scores`, diffusers' own naive path."""
    taps, inputs = Taps(record=every(tiny_model)), {}
    hooks = [
        module.register_forward_pre_hook(lambda m, args, name=name: inputs.setdefault(name, args[0]))
        for name, module in tiny_model.pipeline.unet.named_modules()
        if name in every(tiny_model)
    ]
    called(tiny_model, scene, taps)
    for hook in hooks:
        hook.remove()
    modules = dict(tiny_model.pipeline.unet.named_modules())
    text = tiny_model.encode(scene).text
    assert set(inputs) == every(tiny_model)
    for name, hidden in inputs.items():
        attn = modules[name]
        seen = text if attn.is_cross_attention else hidden
        query, key = (attn.head_to_batch_dim(x) for x in (attn.to_q(hidden), attn.to_k(seen)))
        naive = attn.get_attention_scores(query, key)
        torch.testing.assert_close(taps.logits(name).softmax(-1).flatten(0, 1), naive, atol=1e-6, rtol=1e-5)


def test_an_edit_acts_on_the_logits(tiny_model: UNetModel, scene: Scene) -> None:
    """A very large bias for one token sends all attention there, so the layer's output is that token's value."""
    name = tiny_model.layers[0].name
    attn = dict(tiny_model.pipeline.unet.named_modules())[name]
    hidden, text = torch.randn(1, 64, 16), tiny_model.encode(scene).text

    def edit(layer: str, logits: torch.Tensor) -> torch.Tensor:
        bias = torch.zeros_like(logits)
        bias[..., 3] = 1e4
        return bias

    with torch.no_grad():
        out = attn(hidden, encoder_hidden_states=text, taps=Taps(edits=(edit,)))
        expected = attn.to_out[0](attn.to_v(text)[:, 3:4])
    torch.testing.assert_close(out, expected.expand_as(out), atol=1e-5, rtol=1e-4)


def test_biased_logits_include_the_edit(tiny_model: UNetModel, scene: Scene) -> None:
    taps = Taps(record=every(tiny_model)).also(edit=lambda name, logits: torch.full_like(logits[:, :1], 0.5))
    called(tiny_model, scene, taps)
    name = tiny_model.layers[2].name
    torch.testing.assert_close(taps.logits(name, biased=True), taps.logits(name) + 0.5)


def test_the_graph_ends_after_the_last_layer_read(tiny_model: UNetModel, scene: Scene) -> None:
    first = tiny_model.layers[0].name
    taps = Taps(record=frozenset({first}), ends=first)
    with torch.enable_grad():
        x = tiny_model.noise([0]).requires_grad_()
        prediction = tiny_model.denoise(x, LEVEL, tiny_model.encode(scene).tapped(taps))
    assert taps.queries[first].requires_grad
    assert not prediction.eps.requires_grad
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(taps.logits(first).sum(), x)
    assert gradient.abs().max() > 0
    assert not torch.is_grad_enabled() or torch.zeros(1, requires_grad=True).exp().requires_grad


def test_self_attention_has_no_keys_of_extra_words(tiny_model: UNetModel, scene: Scene) -> None:
    taps = Taps(record=every(tiny_model), extra=tiny_model.prompts(["a tree"]).states)
    called(tiny_model, scene, taps)
    layer = tiny_model.layers[0]
    assert taps.logits(layer.name).shape == (1, 2, 64, 48)
    assert taps.logits(layer.itself).shape == (1, 2, 64, 64)
    assert set(taps.extra_keys) == {layer.name for layer in tiny_model.layers}


def test_grad_mode_is_restored_after_the_call(tiny_model: UNetModel, scene: Scene) -> None:
    name = tiny_model.layers[-1].name
    before = torch.is_grad_enabled()
    with torch.enable_grad():
        tiny_model.denoise(
            tiny_model.noise([0]), LEVEL, tiny_model.encode(scene).tapped(Taps(record=frozenset({name}), ends=name))
        )
    assert torch.is_grad_enabled() == before


def test_maps_of_segments_are_shares(tiny_model: UNetModel, scene: Scene) -> None:
    taps = Taps(record=every(tiny_model))
    called(tiny_model, scene, taps)
    names = [layer.name for layer in tiny_model.layers]
    grids = [layer.grid((8, 8)) for layer in tiny_model.layers]
    whole = torch.ones(1, 1, 24)
    torch.testing.assert_close(segment_maps(taps, names, whole, grids, (8, 8)), torch.ones(1, 1, 8, 8))
    some = segment_maps(taps, names, tiny_model.encode(scene).groups, grids, (16, 16))
    assert some.shape == (1, 2, 16, 16)
    assert 0 < some.min() < some.max() < 1


def test_attention_is_returned_for_every_step_and_segment(tiny_model: UNetModel, scene: Scene) -> None:
    draws = sample(tiny_model, [scene, Scene("a dog", (), (32, 32))], steps=3, seeds=[0, 1], record_attention="res8")
    assert draws.attention is not None
    assert draws.attention.shape == (3, 4, 2, 8, 8)
    assert (draws.attention[:, :2] > 0).all()
    assert (draws.attention[:, 2:] == 0).all()
    torch.testing.assert_close(
        draws.latents, sample(tiny_model, [scene, Scene("a dog", (), (32, 32))], steps=3, seeds=[0, 1]).latents
    )


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("all", range(9)),
        ("encoder", [0, 1, 2]),
        ("mid", [3, 4, 5]),
        ("res16", [1, 4, 7]),
        ("res16+res32", [0, 1, 3, 4, 6, 7]),
        ("encoder&res16+decoder&res16+decoder&res32", [1, 6, 7]),
        ("decoder & res8", [8]),
        ("published", [0, 1, 6, 7]),
        ("near20", [1, 4, 7]),
        ("decoder&near64+mid&near1", [6, 5]),
    ],
)
def test_layers_by_name(choice: str, expected: list[int]) -> None:
    assert select(LAYERS, choice) == tuple(LAYERS[i] for i in sorted(expected))


def test_published_layers_of_a_small_model_are_its_finest() -> None:
    small = tuple(Layer(f"a{side}", "encoder", i, side) for i, side in enumerate((8, 4)))
    assert select(small, "published") == small[:1]


@pytest.mark.parametrize("choice", ["", "res7", "encoder+res7", "sixteen", "encoder&decoder"])
def test_unknown_layers_are_refused(choice: str) -> None:
    with pytest.raises(UserError, match="no attention layer matches .*; this model has all, encoder, mid"):
        select(LAYERS, choice)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(0, 3))
def test_grids_halve_upwards(height: int, width: int, halvings: int) -> None:
    rows, columns = Layer("a", "mid", halvings, 1).grid((height, width))
    assert rows == -(-height // 2**halvings)
    assert columns == -(-width // 2**halvings)


def test_processors_know_their_layer(tiny_model: UNetModel) -> None:
    for key, processor in tiny_model.pipeline.unet.attn_processors.items():
        assert isinstance(processor, AttendProcessor)
        assert key == f"{processor.name}.processor"
