"""Objects and colours of a picture: by hand, and against the world's own truth."""

import numpy as np
import pytest

from scenewright.metrics.objects import (
    SMALLEST_FOUND,
    ColourJudge,
    Share,
    found,
    ids,
    largest,
    light_of,
    palette_shares,
)
from scenewright.world import CLASS_ID, CLASSES, COLOURS, KINDS, Sample, render


@pytest.fixture(scope="module")
def world() -> list[Sample]:
    return [render(10_000_000 + i) for i in range(40)]


def test_found_needs_the_smallest_area() -> None:
    classes = np.zeros((128, 128), np.uint8)
    enough = int(np.ceil(SMALLEST_FOUND * classes.size))
    classes.flat[: enough - 1] = 7
    assert not found(classes, 7)
    classes.flat[:enough] = 7
    assert found(classes, 7)


def test_largest_of_the_candidates() -> None:
    classes = np.array([[1, 1, 1, 2, 2, 3]])
    assert largest(classes, (2, 3)) == 2
    assert largest(classes, (1, 2, 3)) == 1
    assert largest(classes, (4, 5)) == 0
    assert largest(classes, ()) == 0


def test_share_of_nothing_is_nan() -> None:
    share = Share()
    assert np.isnan(share.value)
    share.add(True)
    share.add(False)
    assert share.value == 0.5


@pytest.mark.parametrize("sky", ["clear", "cloudy", "sunset", "night", ""])
@pytest.mark.parametrize("name", COLOURS)
def test_a_flat_lit_surface_has_its_colour(sky: str, name: str) -> None:
    light = light_of(sky)
    lit = np.array(COLOURS[name]) * ((light.above + light.below) / 2 + 0.25 * light.sun)
    pixels = np.tile(np.round(lit * 255).clip(0, 255).astype(np.uint8), (50, 1))
    shares = palette_shares(pixels, light)
    assert shares.sum() == pytest.approx(1)
    assert list(COLOURS)[int(shares.argmax())] == name


def test_the_judge_discounts_what_a_kind_always_shows() -> None:
    judge = ColourJudge()
    tyres, paint = np.full((60, 3), 10, np.uint8), np.tile(np.array([140, 16, 16], np.uint8), (40, 1))
    for other in ([20, 50, 150], [20, 105, 30], [150, 140, 20], [90, 28, 120], [150, 80, 8]):
        judge.learn("car", np.concatenate([tyres, np.tile(np.array(other, np.uint8), (40, 1))]), "clear")
    assert judge.name("car", np.concatenate([tyres, paint]), "clear") == "red"
    assert ColourJudge().name("car", np.concatenate([tyres, paint]), "clear") == "black"
    assert judge.name("zebra", paint, "clear") is None
    assert judge.name("car", paint[:0], "clear") is None


def test_colours_of_renders_are_mostly_right(world: list[Sample]) -> None:
    judge, share = ColourJudge(), Share()
    things = [(s, p) for s in world for p in s.phrases if p.instance]
    for sample, phrase in things:
        judge.learn(CLASSES[phrase.class_id], sample.image[sample.mask(phrase)], sample.composition.sky)
    for sample, phrase in things:
        if phrase.colour:
            kind, pixels = CLASSES[phrase.class_id], sample.image[sample.mask(phrase)]
            share.add(judge.name(kind, pixels, sample.composition.sky) == phrase.colour)
    assert share.total > 20
    assert share.value > 0.75  # few renders teach it here; the bench reports the figure for 400


def test_true_maps_show_every_object(world: list[Sample]) -> None:
    for sample in world:
        for phrase in sample.phrases:
            if phrase.instance:
                assert found(sample.classes, phrase.class_id)


def test_ids_are_positions_in_classes() -> None:
    assert ids(KINDS) == tuple(range(1, len(KINDS) + 1))
    assert ids(["sky"]) == (CLASS_ID["sky"],)
