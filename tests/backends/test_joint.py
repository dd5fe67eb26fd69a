"""Attention of transformers: what is read is what a naive computation gives, and guidance on it keeps its laws."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import apply_rotary_emb
from tiny import BUILDERS, model, tiny
from torch import Tensor

from conftest import two_segments
from scenewright import backends
from scenewright.attention import Taps
from scenewright.denoiser import Condition, Prediction
from scenewright.errors import UserError
from scenewright.families import FAMILIES
from scenewright.guidance import METHODS, Zest, build
from scenewright.guidance.gradient import descend
from scenewright.joint import JointProcessor
from scenewright.sampling import During, sample
from scenewright.scene import Scene, Segment
from scenewright.schedule import Level

load: Any = backends.load  # each kind of model has more than the protocol

JOINT = ["sd3", "flux", "auraflow"]
NEW = ["sdxl", *JOINT]
LEVEL = Level(0.4, 0.6, 600.0, 3, 10)
FULL = np.ones((32, 32), np.float32)


def called(family: str, taps: Taps | None, seeds: tuple[int, ...] = (0,)) -> Prediction:
    drawer = model(family)
    condition = drawer.encode(two_segments()).rows([0] * len(seeds))
    with torch.no_grad():
        return drawer.denoise(drawer.noise(seeds), LEVEL, condition if taps is None else condition.tapped(taps))


def every(family: str) -> frozenset[str]:
    return frozenset(layer.name for layer in model(family).layers)


def velocity(prediction: Prediction) -> Tensor:
    return prediction.eps - prediction.x0


@pytest.mark.parametrize("family", JOINT)
def test_with_nothing_to_read_the_network_is_the_stock_one(family: str) -> None:
    ours, stock = model(family), load(tiny(family))
    stock.release()
    condition = ours.encode(two_segments())
    with torch.no_grad():
        theirs = stock.denoise(stock.noise([0]), LEVEL, condition)
    assert not any(isinstance(own, JointProcessor) for own in stock.network.attn_processors.values())
    for taps in (None, Taps(), Taps(record=every(family))):
        assert torch.equal(called(family, taps).eps, theirs.eps)


@pytest.mark.parametrize("family", JOINT)
def test_a_zero_edit_does_not_change_the_output(family: str) -> None:
    edited = called(family, Taps(edits=(lambda name, logits: torch.zeros_like(logits[:, :1]),)))
    torch.testing.assert_close(velocity(edited), velocity(called(family, None)), atol=1e-5, rtol=0)


class Naive:
    """Joint attention of one layer from its inputs, by projections, norms and one softmax written out."""

    def __init__(self, family: str, attn: Any, inputs: dict[str, Any]) -> None:
        self.text_first = family != "sd3"
        hidden, encoder = inputs["hidden_states"], inputs.get("encoder_hidden_states")
        own: list[Tensor] = [self._heads(attn, getattr(attn, f"to_{kind}")(hidden)) for kind in "qkv"]
        own[:2] = [attn.norm_q(own[0]), attn.norm_k(own[1])]
        if encoder is not None:
            text = [self._heads(attn, getattr(attn, f"add_{kind}_proj")(encoder)) for kind in "qkv"]
            text[:2] = [attn.norm_added_q(text[0]), attn.norm_added_k(text[1])]
            pairs = zip(text, own, strict=True) if self.text_first else zip(own, text, strict=True)
            own = [torch.cat([first, second], dim=2) for first, second in pairs]
        if inputs.get("image_rotary_emb") is not None:
            turned: Any = apply_rotary_emb
            own[:2] = [turned(x, inputs["image_rotary_emb"]) for x in own[:2]]
        self.value = own[2]
        self.logits = torch.einsum("nhid,nhjd->nhij", own[0], own[1]) / own[0].shape[-1] ** 0.5

    def _heads(self, attn: Any, x: Tensor) -> Tensor:
        return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


def inputs_of(family: str, taps: Taps) -> dict[str, dict[str, Any]]:
    """What every joint layer is given and returns during one tapped call."""
    found: dict[str, dict[str, Any]] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, args: Any, given: dict[str, Any], out: Any) -> None:
            found[name] = {**given, "out": out}

        return hook

    modules = dict(model(family).network.named_modules())
    hooks = [modules[name].register_forward_hook(keep(name), with_kwargs=True) for name in every(family)]
    called(family, taps, (0, 1))
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("family", JOINT)
def test_what_is_read_is_the_softmax_over_text_tokens(family: str) -> None:
    """The image's rows and the text's columns of the naive joint attention, renormalised over the text."""
    taps = Taps(record=every(family))
    modules = dict(model(family).network.named_modules())
    found = inputs_of(family, taps)
    assert set(found) == every(family)
    tokens = model(family).encode(two_segments()).text.shape[1]
    for name, given in found.items():
        joint = Naive(family, modules[name], given).logits.softmax(-1)
        image_to_text = joint[:, :, -16:, -16 - tokens : -16] if family != "sd3" else joint[:, :, :16, 16:]
        naive = image_to_text / image_to_text.sum(-1, keepdim=True)
        assert naive.shape[-1] == tokens
        torch.testing.assert_close(taps.logits(name).softmax(-1), naive, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("family", JOINT)
def test_an_edit_acts_on_the_image_to_text_logits_alone(family: str) -> None:
    """A layer's output with a bias is the naive attention with that bias on those logits and on no others."""
    taps = Taps(record=every(family), edits=(lambda name, logits: 3 * logits[:, :1].cos(),))
    modules = dict(model(family).network.named_modules())
    tokens = model(family).encode(two_segments()).text.shape[1]
    for name, given in inputs_of(family, taps).items():
        naive = Naive(family, modules[name], given)
        text = slice(16, None) if family == "sd3" else slice(-16 - tokens, -16)
        image = slice(0, 16) if family == "sd3" else slice(-16, None)
        part = naive.logits[:, :, image, text]
        torch.testing.assert_close(taps.logits(name, biased=True), part + 3 * part[:, :1].cos(), atol=1e-4, rtol=1e-4)
        naive.logits[:, :, image, text] = part + 3 * part[:, :1].cos()
        out = (naive.logits.softmax(-1) @ naive.value).transpose(1, 2).flatten(2)
        theirs = given["out"][0] if isinstance(given["out"], tuple) else given["out"]
        if isinstance(given["out"], tuple) or family == "auraflow":
            ours = modules[name].to_out[0](out if theirs.shape[1] == out.shape[1] else out[:, image])
        else:
            ours = out  # Flux's single-stream blocks project later
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", JOINT)
def test_the_zest_gradient_equals_finite_differences(family: str) -> None:
    drawer = model(family, "float64")
    condition = drawer.encode(two_segments())
    term = Zest(layers="all").energy
    x = drawer.noise([3])
    _, gradient = descend(((term, 1.0),), drawer.denoise, x, LEVEL, condition)

    def energy(at: Tensor) -> float:
        taps = Taps(record=every(family))
        prediction = drawer.denoise(at, LEVEL, condition.tapped(taps))
        return float(term(prediction, taps, condition).sum())

    direction = torch.randn_like(x)
    step = 1e-3
    with torch.no_grad():
        slope = (energy(x + step * direction) - energy(x - step * direction)) / (2 * step)
    assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-2, abs=1e-6)


@pytest.mark.parametrize("family", JOINT)
def test_the_graph_ends_after_the_last_layer_read(family: str) -> None:
    drawer = model(family)
    first = drawer.layers[0].name
    taps = Taps(record=frozenset({first}), ends=first)
    with torch.enable_grad():
        x = drawer.noise([0]).requires_grad_()
        prediction = drawer.denoise(x, LEVEL, drawer.encode(two_segments()).tapped(taps))
    assert taps.queries[first].requires_grad
    assert not prediction.eps.requires_grad
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(taps.logits(first).square().sum(), x)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("family", NEW)
@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_runs_on_what_it_claims_and_is_refused_elsewhere(family: str, method: str) -> None:
    """Rows of a batch of four, scenes mixed, equal the picture alone. Tolerance 2e-3: normalised gradients amplify the
    rounding of batched products.
    """
    drawer, row = model(family), FAMILIES[family]
    assert (method in row.supports) != (method in row.refused)
    other = Scene("a tree on grass", (Segment(FULL, "grass"),), (32, 32))
    scenes, seeds = [two_segments(), other, Scene("sky", (), (32, 32)), two_segments()], [5, 6, 7, 8]
    if method in row.refused:
        with pytest.raises(UserError, match="' does not work on this model: .*; choose another method"):
            sample(drawer, scenes[0], build(method), steps=1)
        return
    guidance = build(method, **({"iterations": 1} if method in ("attend", "layout-guidance") else {}))
    together = sample(drawer, scenes, guidance, steps=2, seeds=seeds, zipped=True).latents
    alone = [sample(drawer, scenes[i], guidance, steps=2, seeds=[seeds[i]]).latents[0] for i in (0, 1)]
    assert max((alone[i] - together[i]).abs().max() for i in (0, 1)) < 2e-3
    plain = sample(drawer, scenes[0], build("none"), steps=2, seeds=[seeds[0]]).latents[0]
    assert (method == "none") == torch.equal(alone[0], plain)


@pytest.mark.parametrize("family", JOINT)
def test_zest_lowers_its_loss(family: str) -> None:
    """The attention read at the last step fits the masks better with guidance than without."""
    drawer, losses = model(family), []
    term = Zest(eta=0.5, layers="all")

    def watch(denoise: Any, x: Tensor, level: Level, condition: Condition) -> Prediction:
        taps = Taps(record=every(family))
        prediction = denoise(x, level, condition.tapped(taps))
        if level.index == level.count - 1:
            losses.append(float(term.energy(prediction, taps, condition).mean()))
        return prediction

    for guidance in ([watch], [During(term, 0.0, 0.8), watch]):
        sample(drawer, two_segments(), guidance, steps=8, seeds=range(2))
    assert losses[1] < losses[0]


@pytest.mark.parametrize("family", JOINT)
def test_paint_raises_attention_inside_its_mask(family: str) -> None:
    def read(weight: float) -> np.ndarray:
        guidance = build("paint", weight=weight, rule="sigma")
        draws = sample(model(family), two_segments(), guidance, steps=1, record_attention="all")
        assert draws.attention is not None
        return draws.attention[0, 0, 0].astype(float)

    inside = model(family).encode(two_segments()).masks_at((4, 4))[0, 0].numpy() > 0.5
    assert (read(2.0) - read(0.0))[inside].min() > 0


@pytest.mark.parametrize("family", JOINT)
def test_options_that_joint_attention_lacks_are_refused(family: str) -> None:
    with pytest.raises(UserError, match="absent words to compete"):
        sample(model(family), two_segments(), build("zest", absent="house"), steps=1)
    with pytest.raises(UserError, match="self-attention edited apart"):
        called(family, Taps(self_edits=(lambda name, logits: logits,)))
    with pytest.raises(UserError, match="no attention layer matches 'mid'; this model has all, double"):
        sample(model(family), two_segments(), build("zest", layers="mid"), steps=1)


def test_attention_that_cannot_be_watched_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    drawer = load(tiny("sd3"))
    for processor in drawer.network.attn_processors.values():
        monkeypatch.setattr(
            processor, "stock", lambda attn, hidden, text, mask: hidden if text is None else (hidden, text)
        )
    with pytest.raises(UserError, match="reset_attention_backend"):
        sample(drawer, two_segments(), build("zest"), steps=1)
    sample(drawer, two_segments(), build("none"), steps=1)


def test_the_table_shares_out_all_methods() -> None:
    assert set(FAMILIES) == {*BUILDERS, "gligen"}  # which test_gligen builds
    for family in FAMILIES.values():
        assert family.supports | set(family.refused) == set(METHODS)
        assert not family.supports & set(family.refused)
