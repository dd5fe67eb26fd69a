"""Maps as pictures: exact round trips, provable palettes, and what comes of wrong input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scenewright.errors import UserError
from scenewright.maps import (
    JOINTS,
    Depth,
    Normals,
    Pose,
    Segmentation,
    Sketch,
    from_bytes,
    name_regions,
    palette,
    spacing,
    to_bytes,
)
from scenewright.maps.codec import as_floats
from scenewright.world import CLASSES, render


@pytest.fixture(scope="module")
def samples():
    return [render(seed, 64) for seed in range(6)]


@pytest.mark.parametrize("count", [1, 2, 8, 9, 27, 41, 64, 65, 151, 183, 256, 343, 1000])
def test_colours_are_as_far_apart_as_promised(count):
    colours = palette(count).astype(int)
    worst = np.abs(colours[:, None] - colours[None]).max(-1) + 1000 * np.eye(count, dtype=int)
    assert colours.shape == (count, 3)
    assert worst.min() >= spacing(count)
    assert spacing(count) == 255 // (int(np.ceil(np.round(count ** (1 / 3), 9)).clip(2)) - 1)
    assert not colours[0].any()


def test_up_to_256_labels_no_two_windows_overlap():
    """The released palette has pairs 32 apart and windows of 28 each way."""
    assert spacing(183) == 51
    assert spacing(256) == 42


@given(st.integers(1, 300), st.data())
def test_label_maps_come_back_exactly_even_from_bytes(count, data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
    labels = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, count - 1)))
    codec = Segmentation(tuple(map(str, range(count))))
    picture = codec.encode(labels)
    assert picture.dtype == np.float32
    assert np.abs(picture).max() <= 1
    assert np.array_equal(codec.decode(picture), labels)
    assert np.array_equal(codec.decode(to_bytes(picture)), labels)


@given(st.integers(0, 2**32 - 1))
def test_noise_under_half_a_spacing_is_no_loss_without_a_vote(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 183, (12, 12))
    codec = Segmentation(tuple(map(str, range(183))), reach=0)
    noisy = to_bytes(codec.encode(labels)).astype(int) + rng.integers(-16, 17, (12, 12, 3))
    assert np.array_equal(codec.decode(noisy.clip(0, 255).astype(np.uint8)), labels)


def test_a_vote_settles_what_is_blurred_and_nothing_else(samples):
    codec, raw = Segmentation(CLASSES), Segmentation(CLASSES, reach=0)
    right = [0, 0]
    for sample in samples:
        sharp = codec.encode(sample.classes)
        blurred = sharp.copy()
        blurred[1:-1, 1:-1] = sum(sharp[1 + i : 63 + i, 1 + j : 63 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
        right[0] += (raw.decode(blurred) == sample.classes).sum()
        right[1] += (codec.decode(blurred) == sample.classes).sum()
    assert right[1] > right[0]
    assert right[1] / (6 * 64 * 64) > 0.97


def test_a_colour_of_no_label_with_nobody_to_vote_is_unlabelled():
    codec = Segmentation(("", "a", "b"))  # black and two of the other seven corners of the cube
    colours = {tuple(c) for c in codec.colours.tolist()}
    other = next(c for c in [(255, 0, 0), (0, 0, 255), (0, 255, 255), (255, 255, 0)] if c not in colours)
    assert not codec.decode(np.full((6, 6, 3), other, np.uint8)).any()


def test_open_vocabulary_gives_each_phrase_a_colour():
    codec = Segmentation.of_phrases(["red car", "a rhino", "red  car", "grass"])
    assert codec.labels == ("", "red car", "a rhino", "grass")
    assert codec.index("a rhino") == 2
    with pytest.raises(UserError, match="'squirrel'; this label set has red car"):
        codec.index("squirrel")


def test_regions_take_the_phrase_that_attends_to_them():
    labels = np.zeros((8, 8), int)
    labels[:, 4:], labels[6:] = 1, 7
    attention = np.full((2, 4, 4), 0.1)
    attention[0, :3, 2:], attention[1, 3] = 0.3, 0.2
    assert name_regions(labels, attention, ["rhino", "lawn"]) == {1: "rhino", 7: "lawn"}
    with pytest.raises(UserError, match="does not fit"):
        name_regions(labels, attention, ["rhino"])


def test_depth_comes_back_within_a_step_of_eight_bits(samples):
    codec = Depth()
    for sample in samples:
        back = codec.decode(to_bytes(codec.encode(sample.depth)))
        assert np.array_equal(np.isinf(back), np.isinf(sample.depth))
        assert np.abs(1.6 / back - 1.6 / np.maximum(sample.depth, 1.6)).max() < 0.6 / 255 / 0.9
        near = sample.depth < 50
        exact = codec.decode(codec.encode(sample.depth))
        assert np.allclose(exact[near], np.maximum(sample.depth, 1.6)[near], rtol=1e-4)


def test_normals_come_back_within_half_a_degree(samples):
    for sample in samples:
        back = Normals().decode(to_bytes(Normals().encode(sample.normals)))
        surface = np.linalg.norm(sample.normals, axis=-1) > 0.5
        assert np.array_equal(np.linalg.norm(back, axis=-1) > 0.5, surface)
        cosine = (back * sample.normals).sum(-1)[surface].clip(-1, 1)
        assert np.degrees(np.arccos(cosine)).max() < 0.6


def test_the_ground_is_green_as_everybody_paints_it():
    up = np.zeros((1, 1, 3), np.float32)
    up[..., 1] = -1  # the camera's y points down
    assert to_bytes(Normals().encode(up)).tolist() == [[[128, 255, 128]]]


def test_sketches_come_back_exactly(samples):
    for sample in samples:
        assert np.array_equal(Sketch().decode(to_bytes(Sketch().encode(sample.sketch))), sample.sketch)


def test_joints_come_back_to_a_pixel():
    person = {name: (20.0 + 6 * (i % 5), 10.0 + 22 * (i // 5)) for i, name in enumerate(JOINTS)}
    other = {name: (x + 60, y + 3) for name, (x, y) in person.items()}
    found = Pose((128, 128)).decode(to_bytes(Pose((128, 128)).encode([other, person])))
    assert len(found) == 2
    for want, got in zip((person, other), found, strict=True):
        assert got.keys() == want.keys()
        assert max(np.hypot(got[j][0] - want[j][0], got[j][1] - want[j][1]) for j in want) < 1


def test_the_worlds_people_are_drawn_with_every_joint():
    seen = 0
    for seed in range(30):
        sample = render(seed, 24)
        for person in sample.poses.values():
            assert set(person) == set(JOINTS)
            seen += 1
    assert seen
    assert Pose((32, 32)).decode(Pose((32, 32)).encode([])) == []


WRONG = [
    (Segmentation(("", "a")), np.full((2, 2), 2), "holds label 2; this label set has 0 to 1"),
    (Segmentation(("", "a")), np.full((2, 2), -1), "holds label -1"),
    (Segmentation(("", "a")), np.zeros((2, 2)), "holds float64; give whole numbers"),
    (Segmentation(("", "a")), np.zeros((2, 2, 3), int), "has the shape"),
    (Depth(), np.array([[1.0, 0.0]]), "depths lie above 0"),
    (Depth(), np.array([[1.0, np.nan]]), "depths lie above 0"),
    (Normals(), np.full((2, 2, 3), 0.9), "normalise them"),
    (Normals(), np.zeros((2, 2)), "with 3 channels"),
    (Sketch(), np.zeros((2, 2)), "give true and false"),
    (Pose((8, 8)), [{"tail": (1.0, 2.0)}], "no joint 'tail'"),
    (Pose((8, 8)), [{"nose": (1.0, np.inf)}], "give x and y"),
]


@pytest.mark.parametrize(("codec", "values", "says"), WRONG)
def test_what_cannot_be_a_map_is_refused_in_a_sentence(codec, values, says):
    with pytest.raises(UserError, match=says):
        codec.encode(values)


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.full((2, 2, 3), np.nan), np.zeros((2, 2, 3), int)]
)
def test_what_cannot_be_a_picture_is_refused(picture):
    with pytest.raises(UserError, match="a map's picture"):
        as_floats(picture)


def test_settings_are_checked():
    for wrong in (lambda: Depth(0), lambda: Sketch(1), lambda: Segmentation(()), lambda: palette(5000)):
        with pytest.raises(UserError):
            wrong()


def test_bytes_are_the_whole_range():
    assert to_bytes(np.array([-2.0, -1, 0, 1, 2])).tolist() == [0, 0, 128, 255, 255]
    assert from_bytes(np.array([0, 255], np.uint8)).tolist() == [-1, 1]
