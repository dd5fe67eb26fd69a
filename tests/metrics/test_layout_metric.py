"""Mean IoU: against torchmetrics and by hand, and the laws of the three protocols."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scenewright.metrics.layout import Confusion, LayoutScore, Overlaps, mean_iou

OBJECTS, STUFF = (1, 2, 3), (4, 5)
maps = arrays(np.uint8, (4, 6), elements=st.integers(0, 5))


def test_confusion_matches_sklearn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 6, (2, 5, 9, 9))
    confusion = Confusion(6)
    for one, other in zip(truth, predicted, strict=True):
        confusion.update(one, other)
    expected = metrics.confusion_matrix(truth.ravel(), predicted.ravel(), labels=range(6))
    assert np.array_equal(confusion.counts, expected)


def test_iou_matches_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics.classification")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 6, (2, 3, 16, 16))
    metric = torchmetrics.MulticlassJaccardIndex(num_classes=6, average="none")
    expected = metric(torch.from_numpy(predicted), torch.from_numpy(truth)).numpy()
    confusion = Confusion(6)
    confusion.update(truth, predicted)
    assert np.allclose(confusion.iou(), expected, atol=1e-6)


def test_iou_by_hand() -> None:
    confusion = Confusion(3)
    confusion.update(np.array([[1, 1, 2, 2]]), np.array([[1, 2, 2, 2]]))
    iou = confusion.iou()
    assert np.isnan(iou[0])
    assert iou[1:].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert mean_iou(iou, (0, 1, 2)) == pytest.approx(7 / 12)
    assert mean_iou(iou, (0, 1, 2), spurious_zero=True) == pytest.approx(7 / 12 * 2 / 3)
    assert np.isnan(mean_iou(iou, (0,)))


def test_refuses_what_it_cannot_count() -> None:
    with pytest.raises(ValueError, match="shape"):
        Confusion(3).update(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="expected 0 to 2"):
        Confusion(3).update(np.zeros((2, 2), int), np.full((2, 2), 3))
    with pytest.raises(ValueError, match="-1"):
        Confusion(3).update(np.full((2, 2), -1), np.zeros((2, 2), int))


@given(maps, maps, maps, maps)
def test_merging_is_seeing_all(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> None:
    one, other, both = Confusion(6), Confusion(6), Confusion(6)
    one.update(a, b)
    other.update(c, d)
    both.update(np.stack([a, c]), np.stack([b, d]))
    assert np.array_equal(one.merged(other).counts, both.counts)


@given(st.lists(st.tuples(maps, maps), min_size=1, max_size=4), st.integers(0, 4))
def test_overlaps_are_the_confusion_of_any_pictures(pairs: list[tuple[np.ndarray, np.ndarray]], split: int) -> None:
    one, other = Overlaps(6), Overlaps(6)
    for index, pair in enumerate(pairs):
        (one if index < split else other).update(*pair)
    both = one.merged(other)
    assert len(both) == len(pairs)
    chosen = np.arange(len(pairs) + 1) % len(pairs)  # the first one twice
    for pictures in (None, chosen):
        confusion = Confusion(6)
        for index in range(len(pairs)) if pictures is None else pictures:
            confusion.update(*pairs[index])
        assert np.array_equal(both.iou(pictures), confusion.iou(), equal_nan=True)


def test_no_pictures_have_no_iou() -> None:
    assert np.isnan(Overlaps(3).iou()).all()


@given(maps, maps, maps, maps)
def test_merged_scores_have_seen_the_pictures_of_both(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray
) -> None:
    one, other, both = (LayoutScore(OBJECTS, STUFF, spurious_zero=True) for _ in range(3))
    one.update(a, b)
    other.update(c, d)
    both.update(a, b)
    both.update(c, d)
    merged = one.merged(other)
    assert np.array_equal(list(merged.over().values()), list(both.over().values()), equal_nan=True)
    assert np.array_equal(list(both.over(np.array([0])).values()), list(one.over().values()), equal_nan=True)


@given(maps)
def test_truth_scores_one(truth: np.ndarray) -> None:
    score = LayoutScore(OBJECTS, STUFF)
    score.update(truth, truth)
    for value, classes in ((score.miou, OBJECTS), (score.miou_full, OBJECTS), (score.miou_stuff, STUFF)):
        assert value == 1 if np.isin(truth, classes).any() else np.isnan(value)


@given(maps, maps, maps)
def test_predictions_outside_segments_cost_miou_nothing(truth: np.ndarray, seen: np.ndarray, other: np.ndarray) -> None:
    one, two = LayoutScore(OBJECTS, STUFF), LayoutScore(OBJECTS, STUFF)
    one.update(truth, seen)
    two.update(truth, np.where(truth > 0, seen, other))
    assert np.array_equal([one.miou, one.miou_stuff], [two.miou, two.miou_stuff], equal_nan=True)


@given(maps, maps)
def test_the_whole_picture_is_never_kinder(truth: np.ndarray, seen: np.ndarray) -> None:
    score = LayoutScore(OBJECTS, STUFF)
    score.update(truth, seen)
    if np.isin(truth, OBJECTS).any():
        assert 0 <= score.miou_full <= score.miou <= 1


def test_leaked_object_counts_in_full_only_if_asked_for() -> None:
    truth = np.array([[1, 1, 0, 0]])
    leak, other = LayoutScore(OBJECTS, STUFF), LayoutScore(OBJECTS, STUFF)
    leak.update(truth, np.array([[1, 1, 1, 1]]))
    other.update(truth, np.array([[1, 1, 2, 2]]))
    assert (leak.miou, leak.miou_full) == (1, 0.5)
    assert (other.miou, other.miou_full) == (1, 1)


def test_spurious_zero_is_n_over_n_plus_one() -> None:
    truth = np.array([[1, 2, 4]])
    score = LayoutScore(OBJECTS, STUFF, spurious_zero=True)
    score.update(truth, truth)
    assert (score.miou, score.miou_stuff) == (pytest.approx(2 / 3), pytest.approx(1 / 2))
