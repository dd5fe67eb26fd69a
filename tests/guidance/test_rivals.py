"""Attend-and-Excite, BoxDiff and layout-guidance: gradients by finite differences, each one's defining law."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from conftest import pipeline, two_segments
from scenewright.attention import Taps
from scenewright.backends.analytic import GaussianMixture
from scenewright.backends.unet import UNetModel
from scenewright.denoiser import Condition, Prediction
from scenewright.errors import UserError
from scenewright.guidance import AttendAndExcite, BoxDiff, LayoutGuidance
from scenewright.guidance.attend import Neglect, excited, sharp_maps
from scenewright.guidance.boxes import BoxConstraints, BoxShares, _highest, _projected, boxes_at
from scenewright.guidance.gradient import Energy, descend, weighed
from scenewright.guidance.push import Push, Round
from scenewright.sampling import sample
from scenewright.scene import Scene, Segment
from scenewright.schedule import Level

LEVEL = Level(0.6, 0.8, 500, 3, 10)
RIVALS = [AttendAndExcite, BoxDiff, LayoutGuidance]
ENERGIES = [Neglect(), Neglect("all"), BoxShares(), BoxConstraints(), BoxConstraints("all", share=0.5, reach=2)]


@pytest.fixture(scope="module")
def double() -> UNetModel:
    return UNetModel.wrap(pipeline("v_prediction"), dtype=torch.float64)


def read(model: UNetModel, condition: Condition, x: Tensor) -> tuple[Prediction, Taps]:
    taps = Taps(record=frozenset(layer.name for layer in model.layers))
    with torch.no_grad():
        return model.denoise(x, LEVEL, condition.tapped(taps)), taps


@pytest.mark.parametrize("energy", ENERGIES, ids=repr)
def test_gradients_are_finite_differences(double: UNetModel, energy: Energy) -> None:
    condition, x = double.encode(two_segments()), double.noise([0])
    _, gradient = descend(((energy, 1.0),), double.denoise, x, LEVEL, condition)
    step = 1e-4 * torch.randn_like(x)
    ahead, behind = (float(energy(*read(double, condition, x + way * step), condition)) for way in (1, -1))
    assert gradient.abs().max() > 0
    assert float((gradient * step).sum()) == pytest.approx((ahead - behind) / 2, rel=1e-3)


@pytest.mark.parametrize("rival", RIVALS)
def test_zero_strength_is_identity(tiny_model: UNetModel, scene: Scene, rival: Callable) -> None:
    plain = sample(tiny_model, scene, steps=5).latents
    assert torch.equal(sample(tiny_model, scene, [rival(scale=0.0)], steps=5).latents, plain)
    assert not torch.equal(sample(tiny_model, scene, [rival()], steps=5).latents, plain)


@pytest.mark.parametrize(
    ("rival", "energy"),
    [
        (AttendAndExcite(iterations=0), Neglect()),
        (BoxDiff(), BoxConstraints()),
        (LayoutGuidance(target=0.0), BoxShares()),
    ],
    ids=["attend", "boxdiff", "layout-guidance"],
)
def test_each_lowers_its_energy(double: UNetModel, scene: Scene, rival: object, energy: Energy) -> None:
    before: list[float] = []
    after: list[float] = []

    def watch(log: list[float]) -> Callable:
        def look(denoise: Callable, x: Tensor, level: Level, condition: Condition) -> Prediction:
            if level.index == 0:
                log.append(float(energy(*read(double, condition, x), condition)))
            return denoise(x, level, condition)

        return look

    for seed in range(4):
        sample(double, scene, [watch(after), rival, watch(before)], steps=10, seeds=[seed])  # type: ignore[list-item]
    assert np.mean(after) < np.mean(before)


def test_maps_are_sharpened_and_smoothed_as_released(double: UNetModel) -> None:
    condition, x = double.encode(two_segments()), double.noise([2])
    prediction, taps = read(double, condition, x)
    ours = sharp_maps(taps, condition, "near16", (8, 8))
    tokens = condition.groups.shape[-1]
    names = [layer.name for layer in double.layers if layer.side == 8]
    shares = np.mean([taps.logits(name).softmax(-1).mean(1)[0].numpy() for name in names], axis=0)[:, 1:-1]
    sharp = np.exp(100 * shares) / np.exp(100 * shares).sum(1, keepdims=True)
    for k in range(2):
        own = condition.groups[0, k, 1 : tokens - 1].bool().numpy()
        map_ = sharp[:, own].sum(1).reshape(8, 8)
        expected = ndimage.gaussian_filter(map_, 0.5, mode="mirror", radius=1)
        assert np.allclose(ours[0, k].numpy(), expected, atol=1e-9)


def test_the_most_neglected_phrase_counts(double: UNetModel) -> None:
    condition, x = double.encode(two_segments()), double.noise([3])
    prediction, taps = read(double, condition, x)
    peaks = sharp_maps(taps, condition, "near16", (8, 8))[0].amax((-2, -1))
    assert float(Neglect()(prediction, taps, condition)) == pytest.approx(1 - float(peaks.min()))


def test_pushes_follow_the_released_schedule() -> None:
    at = lambda index: excited(Level(0.6, 0.8, 500, index, 50), 20.0, 0.5, 20)  # noqa: E731
    assert [(one.most, one.target) for one in at(0)] == [(20, pytest.approx(0.95)), (1, 0)]
    assert [(one.most, one.target) for one in at(10)] == [(20, 0.5), (1, 0)]
    assert [(one.most, one.target) for one in at(20)] == [(20, pytest.approx(0.2)), (1, 0)]
    assert [one.rate for one in at(24)] == [pytest.approx(20 * np.sqrt(np.linspace(1, 0.5, 50)[24]))]
    assert at(25) == ()
    rounds = LayoutGuidance()._rounds
    (one,) = rounds(Level(0.6, 0.8, 500, 9, 50))
    assert (one.rate, one.most, one.target) == (pytest.approx(30 * 0.64), 5, 0.2)
    assert rounds(Level(0.6, 0.8, 500, 10, 50)) == ()


def test_boxes_are_those_around_the_masks() -> None:
    masks = np.zeros((2, 16, 16), np.float32)
    masks[0, 4, 2:9] = masks[0, 4:11, 2] = 1  # an L in rows 4 to 10, columns 2 to 8
    masks[1, 15, 15] = 1
    one = torch.ones(1, dtype=torch.float64)
    model = GaussianMixture(torch.zeros(1, 1, 16, 16, dtype=torch.float64), one, one)
    condition = model.encode(Scene("", tuple(Segment(mask, "0") for mask in masks), (16, 16)))
    fine, coarse = boxes_at(condition, (16, 16))[0], boxes_at(condition, (8, 8))[0]
    expected = np.zeros((16, 16))
    expected[4:11, 2:9] = 1
    assert np.array_equal(fine[0].numpy(), expected)
    assert coarse[0].nonzero().amin(0).tolist() == [2, 1]
    assert coarse[0].nonzero().amax(0).tolist() == [5, 4]  # the rows 10 and the columns 8 cover half a cell
    assert coarse[1].nonzero().tolist() == [[7, 7]]


def test_a_map_that_is_its_box_costs_nothing() -> None:
    boxes = torch.zeros(1, 1, 8, 8)
    boxes[0, 0, 2:5, 3:8] = 1
    assert float(_highest(boxes, boxes, 0.2)) == 1
    assert float(_highest(boxes, 1 - boxes, 0.2)) == 0
    for axis in (-2, -1):
        assert float(_projected(boxes, boxes, axis, 1)) == 0
        assert float(_projected(boxes.roll(2, axis - 1 if axis == -1 else -1), boxes, axis, 1)) > 0


def test_highest_and_projected_by_hand() -> None:
    maps = torch.arange(16.0).reshape(1, 1, 4, 4) / 16
    box = torch.zeros(1, 1, 4, 4)
    box[..., 1:3, 1:3] = 1
    assert float(_highest(maps, box, 0.5)) == pytest.approx((10 + 9) / 32)  # cells 5, 6, 9 and 10 are inside
    assert float(_highest(maps, 1 - box, 0.2)) == pytest.approx((15 + 14) / 32)  # two of twelve
    columns = maps.amax(-2)[0, 0] - box.amax(-2)[0, 0]  # all four lie within a cell of an edge
    assert float(_projected(maps, box, -2, 1)) == pytest.approx(float(columns.abs().mean()))
    assert float(_projected(maps, box, -2, 0)) == pytest.approx(float(columns[1:3].abs().mean()))


def test_attention_inside_the_box_costs_layout_guidance_nothing() -> None:
    """One layer, one head, made to order: the phrase attends to its box alone."""
    logits = torch.full((1, 1, 64, 4), -40.0, dtype=torch.float64)
    logits[..., 0] = 0
    logits[0, 0, :32, 1] = 40  # the upper half attends to token 1

    class Made(Taps):
        def logits(self, name: str, biased: bool = False) -> Tensor:
            return logits

    model = UNetModel.wrap(pipeline(), dtype=torch.float64)
    mask = np.zeros((32, 32), np.float32)
    mask[:16] = 1
    condition = model.encode(Scene("dog", (Segment(mask, "dog"),), (32, 32)))
    condition = replace(condition, groups=torch.nn.functional.one_hot(torch.tensor([[1]]), 4).double())
    x = torch.zeros(1, 4, 8, 8, dtype=torch.float64)
    inside = BoxShares("res8&decoder")(Prediction(x, x), Made(), condition)
    assert float(inside) == pytest.approx(0, abs=1e-9)
    logits[0, 0, 32:, 1] = 40  # and now the lower half too: half of it is outside
    assert float(BoxShares("res8&decoder")(Prediction(x, x), Made(), condition)) == pytest.approx(0.25)


class Pull:
    """Half the squared distance of x0 to 1."""

    layers = ""
    absent = ()

    def __call__(self, prediction: Prediction, taps: Taps, condition: Condition) -> Tensor:
        return 0.5 * (prediction.x0 - 1).square().sum((1, 2, 3))


def test_rounds_descend_exactly_and_rows_stop_one_by_one() -> None:
    """For N(0, d^2) data x0 = k x, so a step of rate r takes x to x - r k (k x - 1)."""
    one = torch.ones(1, dtype=torch.float64)
    model = GaussianMixture(torch.zeros(1, 1, 2, 2, dtype=torch.float64), 0.5 * one, one)
    k = 0.6 * 0.25 / (0.36 * 0.25 + 0.64)
    full = Scene("", (Segment(np.ones((2, 2), np.float32), "0"),), (2, 2))
    condition = model.encode(full).rows([0, 0])
    x = torch.stack([torch.full((1, 2, 2), value, dtype=torch.float64) for value in (1 / k, -3.0)])
    seen: list[Tensor] = []

    def denoise(x: Tensor, level: Level, condition: Condition) -> Prediction:
        seen.append(x)
        return model.denoise(x, level, condition)

    Push(((Pull(), 1.0),), lambda level: (Round(2.0, 3, 1e-6),))(denoise, x, LEVEL, condition)
    expected = x[1].clone()
    for _ in range(3):
        expected = expected - 2 * k * (k * expected - 1)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0][0], x[0])
    torch.testing.assert_close(seen[0][1], expected)
    _, energy, _ = weighed(((Pull(), 1.0),), model.denoise, x, LEVEL, condition)
    torch.testing.assert_close(energy, 0.5 * (k * x - 1).square().sum((1, 2, 3)))


def test_rows_without_segments_stay(tiny_model: UNetModel, scene: Scene) -> None:
    plain = Scene(scene.caption, (), scene.size)
    both = sample(tiny_model, [scene, plain], [AttendAndExcite()], steps=4, seeds=[1, 1], zipped=True).latents
    alone = sample(tiny_model, plain, steps=4, seeds=[1]).latents
    torch.testing.assert_close(both[1], alone[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize(("name", "value"), [("scale", -1.0), ("fraction", 1.5), ("iterations", -1)])
def test_bad_values_are_refused(rival: Callable, name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} is {value}"):
        rival(**{name: value})
