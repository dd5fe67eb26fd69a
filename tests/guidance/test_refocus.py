"""Attention Refocusing: its losses by hand, the released schedule, what it moves and what it leaves alone."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import pipeline, two_segments
from scenewright.attention import Taps
from scenewright.backends.analytic import GaussianMixture
from scenewright.backends.unet import UNetModel
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.errors import UserError
from scenewright.guidance import AttentionRefocusing
from scenewright.guidance.gradient import _taps, descend
from scenewright.guidance.refocus import Misplaced, refocused
from scenewright.sampling import sample
from scenewright.scene import Scene, Segment
from scenewright.schedule import Level

LEVEL = Level(0.6, 0.8, 500, 3, 10)


@pytest.fixture(scope="module")
def double() -> UNetModel:
    return UNetModel.wrap(pipeline("v_prediction"), dtype=torch.float64)


def read(model: UNetModel, condition: Condition, x: Tensor) -> tuple[Prediction, Taps]:
    names = {name for layer in model.layers for name in (layer.name, layer.itself)}
    taps = Taps(record=frozenset(names))
    with torch.no_grad():
        return model.denoise(x, LEVEL, condition.tapped(taps)), taps


@pytest.mark.parametrize(
    "energy",
    [
        Misplaced(),
        Misplaced(self_weight=0.0),
        Misplaced(weight=0.0),
        Misplaced("all", early=False),
        Misplaced(reached=0.99),
    ],
    ids=repr,
)
def test_gradients_are_finite_differences(double: UNetModel, energy: Misplaced) -> None:
    condition, x = double.encode(two_segments()), double.noise([0])
    _, gradient = descend(((energy, 1.0),), double.denoise, x, LEVEL, condition)
    step = 1e-4 * torch.randn_like(x)
    ahead, behind = (float(energy(*read(double, condition, x + way * step), condition)) for way in (1, -1))
    assert gradient.abs().max() > 0
    assert float((gradient * step).sum()) == pytest.approx((ahead - behind) / 2, rel=1e-3)


def crossed(maps: np.ndarray, boxes: np.ndarray, early: bool) -> list[float]:
    """The cross-attention loss of each phrase, cell by cell, of maps and boxes (K, rows, columns)."""
    losses = []
    for k, map_ in enumerate(maps):
        inside = map_[boxes[k] > 0].max()
        loss = (6 if inside < 0.1 else 1 if inside < 0.2 or early else 0) * (1 - inside)
        for j in range(len(maps)):
            if j != k:
                cells = (boxes[j] > 0) & (boxes[k] == 0)
                there = map_[cells].max() if cells.any() else 0
                loss += (4 if there > 0.15 else 1 if there > 0.1 or early else 0) * there
        losses.append(loss + map_[boxes.sum(0) == 0].max() / 2)
    return losses


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("height", [0.08, 0.13, 0.18, 1.0])
def test_cross_attention_is_judged_as_released(early: bool, height: float) -> None:
    """Maps of every height, so that every weight of the release is met; boxes overlap."""
    maps = np.random.default_rng(0).random((3, 8, 8)) * height
    boxes = np.zeros((3, 8, 8))
    boxes[0, :3, :4] = boxes[1, 2:5, 3:6] = boxes[2, 6:, :] = 1
    groups = torch.eye(3)[None]
    ours = Misplaced(early=early)._crossed(torch.tensor(maps)[None], torch.tensor(boxes)[None], groups)
    np.testing.assert_allclose(ours[0].numpy(), crossed(maps, boxes, early))


def test_a_map_that_is_its_box_costs_nothing_and_a_wrong_one_does() -> None:
    boxes = torch.zeros(1, 2, 8, 8)
    boxes[0, 0, 1:4, 1:4] = boxes[0, 1, 5:8, 2:7] = 1
    energy = Misplaced()
    assert energy._crossed(boxes, boxes, torch.eye(2)[None]).tolist() == [[0, 0]]
    swapped = energy._crossed(boxes.flip(1), boxes, torch.eye(2)[None])
    assert swapped.tolist() == [[10, 10]]  # 6 for nothing inside, 4 for all of it in the other box
    assert energy._crossed(boxes.roll(-1, -2), boxes, torch.eye(2)[None]).min() >= 0.5


def test_the_same_words_may_look_into_each_other_s_box() -> None:
    boxes = torch.zeros(1, 2, 8, 8)
    boxes[0, 0, 1:4, 1:4] = boxes[0, 1, 5:8, 2:7] = 1
    both = boxes.amax(1, keepdim=True).expand(1, 2, 8, 8)
    assert Misplaced()._crossed(both, boxes, torch.ones(1, 2, 3)).tolist() == [[0, 0]]
    assert Misplaced()._crossed(both, boxes, torch.eye(2)[None]).tolist() == [[4, 4]]


class Made(Taps):
    """Taps whose logits are made to order."""

    cross: Tensor
    itself: Tensor

    def logits(self, name: str, biased: bool = False) -> Tensor:
        return self.itself if name.endswith("attn1") else self.cross


def made(double: UNetModel) -> tuple[Made, Condition, Prediction]:
    """One phrase in the upper half of the picture, uniform attention of every kind."""
    mask = np.zeros((32, 32), np.float32)
    mask[:16] = 1
    condition = double.encode(Scene("dog", (Segment(mask, "dog"),), (32, 32)))
    taps = Made()
    taps.cross = torch.zeros(1, 1, 64, condition.groups.shape[-1], dtype=torch.float64)
    taps.itself = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    x = torch.zeros(1, 4, 8, 8, dtype=torch.float64)
    return taps, condition, Prediction(x, x)


def test_self_attention_that_stays_inside_costs_nothing(double: UNetModel) -> None:
    taps, condition, prediction = made(double)
    energy = Misplaced("res8&decoder", weight=0.0)
    assert float(energy(prediction, taps, condition)) == pytest.approx(0.5)  # half of all cells are outside
    taps.itself[..., :32, 32:] = -60.0
    assert float(energy(prediction, taps, condition)) == pytest.approx(0, abs=1e-9)
    taps.itself[..., :32, 32:] = 60.0
    assert float(energy(prediction, taps, condition)) == pytest.approx(1)
    taps.itself[..., :16, 32:] = -60.0
    assert float(energy(prediction, taps, condition)) == pytest.approx(0.5)


def test_it_is_over_when_every_phrase_has_its_peak(double: UNetModel) -> None:
    taps, condition, prediction = made(double)
    token = int(condition.groups[0, 0].nonzero())
    taps.cross[:, :, 3:6, token] = 60.0  # three cells of the first row
    assert float(Misplaced()(prediction, taps, condition)) > 0
    assert float(Misplaced(reached=0.2)(prediction, taps, condition)) == 0
    assert float(Misplaced(reached=1.0)(prediction, taps, condition)) > 0


def test_self_attention_alone_ends_the_graph_before_the_words_are_read(double: UNetModel, scene: Scene) -> None:
    class Still:
        layers, self_layers, absent = "", "decoder&res8", ()

    condition = double.encode(scene)
    taps = _taps(((Still(), 1.0),), condition)  # type: ignore[arg-type]
    assert taps.ends == double.layers[-1].itself
    both = _taps(((Misplaced("mid"), 1.0),), condition)
    (mid,) = (layer for layer in double.layers if layer.part == "mid")
    assert (both.ends, both.record) == (mid.name, {mid.name, mid.itself})
    with torch.enable_grad():
        x = double.noise([0]).requires_grad_()
        prediction = double.denoise(x, LEVEL, condition.tapped(taps))
    assert not prediction.eps.requires_grad
    assert taps.queries[double.layers[-1].itself].requires_grad


def test_a_model_without_self_attention_gets_a_sentence(double: UNetModel, scene: Scene) -> None:
    bare = tuple(replace(layer, itself="") for layer in double.layers)
    with pytest.raises(UserError, match="this model has no self-attention to read at 'near16'"):
        sample(_Other(double, bare), scene, [AttentionRefocusing()], steps=2)  # type: ignore[arg-type]
    one = torch.ones(1)
    flat = GaussianMixture(torch.zeros(1, 1, 2, 2), one, one)
    full = Scene("", (Segment(np.ones((2, 2), np.float32), "0"),), (2, 2))
    with pytest.raises(UserError, match="cannot be read"):
        sample(flat, full, [AttentionRefocusing()], steps=2)


class _Other:
    """A model with other layers."""

    def __init__(self, model: UNetModel, layers: tuple) -> None:
        self.model, self.layers = model, layers

    def encode(self, *arguments: object) -> Condition:
        return replace(self.model.encode(*arguments), model=self)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)


def test_moves_follow_the_released_schedule() -> None:
    """(step, step size, most moves) of the release's 50 steps."""
    seen = []
    for index in range(50):
        rounds = refocused(Level(0.6, 0.8, 500, index, 50), 1.0)
        if rounds:
            first, more = rounds
            assert (first.most, first.target, more.rate) == (1, 0.0, first.rate)
            assert more.target == (pytest.approx(0.1 / first.rate) if index < 10 else 0.0)
            seen.append((index, first.rate, 1 + more.most))
    assert seen == [
        *[(i, 4, 2) for i in (0, 1)],
        *[(i, 4, 6) for i in (2, 3, 4)],
        *[(i, 3, 3) for i in range(5, 10)],
        *[(i, 3, 2) for i in (10, 15)],
        *[(i, 1, 2) for i in (20, 25, 30, 35)],
    ]
    assert [index for index in range(30) if refocused(Level(0.6, 0.8, 500, index, 30), 1.0)] == [
        *range(6), 6, 9, 12, 15, 18, 21,
    ]  # fmt: skip


def test_zero_strength_is_identity(tiny_model: UNetModel, scene: Scene) -> None:
    plain = sample(tiny_model, scene, steps=5).latents
    for nothing in (AttentionRefocusing(scale=0.0), AttentionRefocusing(weight=0.0, self_weight=0.0)):
        assert torch.equal(sample(tiny_model, scene, [nothing], steps=5).latents, plain)
    for some in (AttentionRefocusing(), AttentionRefocusing(weight=0.0), AttentionRefocusing(self_weight=0.0)):
        assert not torch.equal(sample(tiny_model, scene, [some], steps=5).latents, plain)


@pytest.mark.parametrize("energy", [Misplaced(), Misplaced(weight=0.0)], ids=["both", "self-attention"])
def test_it_lowers_its_energy(double: UNetModel, scene: Scene, energy: Misplaced) -> None:
    before: list[float] = []
    after: list[float] = []

    def watch(log: list[float]) -> Callable:
        def look(denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
            if level.index == 0:
                log.append(float(energy(*read(double, condition, x), condition)))
            return denoise(x, level, condition)

        return look

    refocusing = AttentionRefocusing(0.5, energy.weight, energy.self_weight)
    sample(double, scene, [watch(after), refocusing, watch(before)], steps=4, seeds=[0])
    assert after[0] < before[0]


def test_rows_without_segments_stay(tiny_model: UNetModel, scene: Scene) -> None:
    plain = Scene(scene.caption, (), scene.size)
    guidance = [AttentionRefocusing()]
    both = sample(tiny_model, [scene, plain], guidance, steps=4, seeds=[1, 1], zipped=True).latents
    alone = sample(tiny_model, plain, steps=4, seeds=[1]).latents
    torch.testing.assert_close(both[1], alone[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "value"), [("scale", -1.0), ("weight", -1.0), ("self_weight", float("nan")), ("reached", 1.5)]
)
def test_bad_values_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} is {value}"):
        AttentionRefocusing(**{name: value})  # type: ignore[arg-type]
