"""DenseDiffusion: its modulation by hand, and what it does to attention."""

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import two_segments
from scenewright.attention import Taps
from scenewright.backends.unet import UNetModel
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.errors import UserError
from scenewright.guidance import ClassifierFree, DenseDiffusion
from scenewright.guidance.dense import _modulation, _neighbours_of, _words_of
from scenewright.sampling import sample
from scenewright.scene import Scene, Segment
from scenewright.schedule import Level

EARLY = Level(0.1, 0.995, 1000, 0, 10)


def test_full_strength_gives_pairs_the_highest_logit_and_others_the_lowest() -> None:
    logits = torch.randn(2, 3, 5, 4)
    pairs = torch.rand(2, 1, 5, 4) > 0.5
    out = logits + _modulation(logits, pairs, torch.ones(2, 1, 5, 1), 1.0)
    highest, lowest = logits.amax(-1, keepdim=True), logits.amin(-1, keepdim=True)
    torch.testing.assert_close(out, torch.where(pairs, highest, lowest).expand_as(out))
    half = logits + _modulation(logits, pairs, torch.ones(2, 1, 5, 1), 0.5)
    torch.testing.assert_close(half, (logits + out) / 2)
    assert _modulation(logits, pairs, torch.zeros(2, 1, 5, 1), 1.0).abs().max() == 0


def test_who_belongs_together(tiny_model: UNetModel) -> None:
    """The upper half is the car, a quarter of the picture below it the dog; the rest has no words."""
    car, dog = np.zeros((2, 32, 32), np.float32)
    car[:16] = dog[16:, :16] = 1
    scene = Scene("a red car and a dog", (Segment(car, "red car"), Segment(dog, "dog")), (32, 32))
    condition = tiny_model.encode(scene)
    pairs, sizes = _words_of(condition, (4, 4))
    words, grid = condition.groups[0].bool(), pairs[0, 0].reshape(4, 4, -1)
    assert torch.equal(grid[0, 0], words[0])
    assert torch.equal(grid[3, 1], words[1])
    assert not grid[3, 3].any()
    assert sizes.reshape(4, 4)[[0, 3, 3], [0, 1, 3]].tolist() == [0.5, 0.75, 0]
    pairs, sizes = _neighbours_of(condition, (4, 4))
    near = pairs[0, 0].reshape(4, 4, 4, 4)
    assert near[0, 0].sum() == 8
    assert near[3, 3].nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert sizes.reshape(4, 4)[3, 3] == 0.75


def test_zero_strength_is_identity(tiny_model: UNetModel, scene: Scene) -> None:
    plain = sample(tiny_model, scene, steps=4).latents
    off = [DenseDiffusion(0.0, 0.0, own_words=False), DenseDiffusion(fraction=0.0, own_words=False)]
    for guidance in off:
        assert torch.equal(sample(tiny_model, scene, [guidance], steps=4).latents, plain)
    for guidance in (DenseDiffusion(self_weight=0.0), DenseDiffusion(0.0), DenseDiffusion(0.0, 0.0)):
        assert not torch.equal(sample(tiny_model, scene, [guidance], steps=4).latents, plain)


def test_cells_turn_to_their_own_words(tiny_model: UNetModel) -> None:
    scene = two_segments()
    condition, x = tiny_model.encode(scene), tiny_model.noise([0])

    def inside(*guidance: DenseDiffusion) -> list[float]:
        taps = Taps(record=frozenset(layer.name for layer in tiny_model.layers))
        tapped = condition.tapped(taps)
        for one in guidance:
            one(tiny_model.denoise, x, EARLY, tapped)
        if not guidance:
            tiny_model.denoise(x, EARLY, tapped)
        shares = []
        for layer in tiny_model.layers:
            maps = taps.logits(layer.name, biased=True).softmax(-1).mean(1) @ condition.groups.transpose(-1, -2)
            masks = condition.masks_at(layer.grid((8, 8))).flatten(2).transpose(-1, -2)
            shares.append(float((maps * masks).sum() / masks.sum()))
        return shares

    weak, strong = inside(DenseDiffusion(0.3, own_words=False)), inside(DenseDiffusion(own_words=False))
    assert all(a < b < c for a, b, c in zip(inside(), weak, strong, strict=True))


def test_editing_self_attention_by_nothing_is_the_stock_processor(tiny_model: UNetModel, scene: Scene) -> None:
    def nothing(denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        still = lambda name, logits: logits.new_zeros(1, 1, 1, 1)  # noqa: E731
        return denoise(x, level, condition.tapped(Taps().also(self_edit=still)))

    plain, edited = (sample(tiny_model, scene, guidance, steps=4).latents for guidance in ([], [nothing]))
    torch.testing.assert_close(edited, plain, atol=1e-4, rtol=0)


def test_phrases_have_their_own_states(tiny_model: UNetModel) -> None:
    scene = two_segments()
    condition = tiny_model.encode(scene)
    seen: list[Condition] = []

    def denoise(x: Tensor, level: Level, condition: Condition) -> Prediction:
        seen.append(condition)
        return tiny_model.denoise(x, level, condition)

    DenseDiffusion(0.0, 0.0)(denoise, tiny_model.noise([0]), EARLY, condition)
    text, own = seen[0].text[0], condition.groups[0].bool()
    for k, segment in enumerate(scene.segments):
        torch.testing.assert_close(text[own[k]], tiny_model.words([segment.text])[0])
    others = ~own.any(0)
    assert torch.equal(text[others], condition.text[0][others])


def test_only_the_conditional_half_changes(tiny_model: UNetModel, scene: Scene) -> None:
    """With a scale of 0 the picture is the empty prompt's, whatever the segments say."""
    guided = sample(tiny_model, scene, [DenseDiffusion(), ClassifierFree(0.0)], steps=3).latents
    plain = sample(tiny_model, scene, [ClassifierFree(0.0)], steps=3).latents
    torch.testing.assert_close(guided, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "value"), [("weight", -1.0), ("self_weight", float("nan")), ("fraction", 2.0)])
def test_bad_values_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} is"):
        DenseDiffusion(**{name: value})  # type: ignore[arg-type]
