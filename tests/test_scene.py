"""Scenes are values: edits return new ones, undo each other, and never make a mask leave [0, 1]."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scenewright.errors import UserError
from scenewright.scene import Scene, Segment, phrase_spans

SIZE = (12, 16)
HARD = arrays(bool, SIZE).map(lambda mask: mask.astype(np.float32))
SOFT = arrays(np.uint8, SIZE).map(lambda mask: (mask / np.float32(255)).astype(np.float32))
WORDS = st.sampled_from(["dog", "red ball", "grass", "a tree"])
SEGMENTS = st.builds(Segment, mask=HARD | SOFT, text=WORDS, strength=st.floats(0, 3), stuff=st.booleans())
SCENES = st.builds(Scene, caption=st.text(max_size=20), segments=st.lists(SEGMENTS, max_size=4), size=st.just(SIZE))


def block(x0: int, y0: int, x1: int, y1: int, text: str = "dog", size: tuple[int, int] = SIZE) -> Segment:
    mask = np.zeros(size, np.float32)
    mask[y0:y1, x0:x1] = 1
    return Segment(mask, text)


def scene(*segments: Segment, caption: str = "a dog on the grass") -> Scene:
    return Scene(caption, segments, SIZE)


def test_area_and_box() -> None:
    segment = block(4, 3, 8, 9)
    assert segment.area == pytest.approx(24 / 192)
    assert segment.box == (4 / 16, 3 / 12, 8 / 16, 9 / 12)
    assert block(0, 0, 0, 0).box is None


def test_masks_cannot_be_written() -> None:
    mask = np.zeros(SIZE)
    segment = Segment(mask, "dog")
    with pytest.raises(ValueError, match="read-only"):
        segment.mask[0, 0] = 1
    mask[0, 0] = 1
    assert segment.mask[0, 0] == 0


@pytest.mark.parametrize(
    ("mask", "strength", "said"),
    [
        (np.full(SIZE, np.nan), 1.0, "not finite"),
        (np.full(SIZE, 1.5), 1.0, "outside 0 to 1"),
        (np.full(SIZE, -0.1), 1.0, "outside 0 to 1"),
        (np.zeros(5), 1.0, "height, width"),
        (np.zeros((0, 4)), 1.0, "height, width"),
        (np.zeros(SIZE), np.nan, "finite number"),
        (np.zeros(SIZE), np.inf, "finite number"),
        (np.zeros(SIZE), -1.0, "0 or more"),
    ],
)
def test_bad_segments_are_refused(mask: np.ndarray, strength: float, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Segment(mask, "dog", strength)


def test_sizes_must_agree() -> None:
    with pytest.raises(UserError, match="'dog' is 16x12 pixels but the scene is 4x4"):
        Scene("a dog", (block(0, 0, 2, 2),), (4, 4))
    with pytest.raises(UserError, match="'depth' is 4x4 pixels"):
        Scene("", (), SIZE, {"depth": np.ones((4, 4))})
    with pytest.raises(UserError, match="no room"):
        Scene("", (), (0, 4))


def test_equality_is_by_content() -> None:
    assert scene(block(1, 1, 5, 5)) == scene(block(1, 1, 5, 5))
    assert hash(scene(block(1, 1, 5, 5))) == hash(scene(block(1, 1, 5, 5)))
    assert scene(block(1, 1, 5, 5)) != scene(block(1, 1, 5, 6))
    assert scene() != "scene"
    with_holes = Scene("", (), SIZE, {"depth": np.full(SIZE, np.nan)})
    assert with_holes == Scene("", (), SIZE, {"depth": np.full(SIZE, np.nan)})


@given(SCENES)
def test_exclusive_masks_sum_to_at_most_one(given_scene: Scene) -> None:
    alone = given_scene.exclusive()
    total = sum((s.mask.astype(np.float64) for s in alone.segments), np.zeros(SIZE))
    assert total.max() <= 1 + 1e-6
    for before, after in zip(given_scene.segments, alone.segments, strict=True):
        assert (after.mask <= before.mask + 1e-6).all()
    union = np.max([s.mask for s in given_scene.segments], axis=0) if given_scene.segments else np.zeros(SIZE)
    assert (total >= union - 1e-6).all()  # what any segment covers stays covered


def test_front_segment_wins() -> None:
    both = scene(block(0, 0, 8, 8, "grass"), block(4, 4, 12, 12))
    back, front = both.exclusive().segments
    assert front.same_as(both.segments[1])
    assert back.mask[5, 5] == 0
    assert back.mask[1, 1] == 1
    labels = both.label_map()
    assert (labels[5, 5], labels[1, 1], labels[0, 15]) == (2, 1, 0)


def test_soft_edges_that_meet_stay_as_they_are() -> None:
    ramp = np.tile(np.linspace(0, 1, SIZE[1], dtype=np.float32), (SIZE[0], 1))
    meeting = scene(Segment(1 - ramp, "grass"), Segment(ramp, "sky"))
    for before, after in zip(meeting.segments, meeting.exclusive().segments, strict=True):
        np.testing.assert_allclose(after.mask, before.mask, atol=1e-6)


@given(SCENES)
def test_label_map_of_hard_masks_names_the_front_one(given_scene: Scene) -> None:
    hard = Scene("", tuple(Segment(s.mask > 0.5, s.text) for s in given_scene.segments), SIZE)
    expected = np.zeros(SIZE, int)
    for i, segment in enumerate(hard.segments, start=1):
        expected[segment.mask == 1] = i
    np.testing.assert_array_equal(hard.label_map(), expected)


@given(dx=st.integers(-4, 4), dy=st.integers(-3, 3))
def test_moving_there_and_back_is_nothing(dx: int, dy: int) -> None:
    inside = scene(block(4, 3, 12, 9))
    by = (dx / SIZE[1], dy / SIZE[0])
    moved = inside.move("dog", by)
    assert moved.move("dog", (-by[0], -by[1])) == inside
    assert moved.segments[0].mask.sum() == inside.segments[0].mask.sum()
    assert moved.segments[0].mask[3 + dy, 4 + dx] == 1


@given(SCENES)
def test_flipping_twice_is_nothing(given_scene: Scene) -> None:
    assert given_scene.flip().flip() == given_scene
    for i in range(len(given_scene.segments)):
        assert given_scene.flip(i).flip(i) == given_scene
        assert given_scene.flip(i).segments[i].box == given_scene.segments[i].box


def test_flipping_a_scene_mirrors_maps_and_turns_normals() -> None:
    normals = np.zeros((*SIZE, 3), np.float32)
    normals[:, :4] = (1.0, 0.0, -1.0)
    depth = np.arange(SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
    flipped = Scene("", (), SIZE, {"depth": depth, "normals": normals}).flip()
    np.testing.assert_array_equal(flipped.maps["depth"], depth[:, ::-1])
    assert tuple(flipped.maps["normals"][0, -1]) == (-1.0, 0.0, -1.0)


def test_resizing_keeps_the_centre_and_hard_edges() -> None:
    small = scene(block(6, 4, 10, 8))
    large = small.resize("dog", 2.0)
    assert large.segments[0].box == (4 / 16, 2 / 12, 12 / 16, 10 / 12)
    assert set(np.unique(large.segments[0].mask)) == {0.0, 1.0}
    assert large.resize("dog", 0.5) == small
    soft = scene(Segment(block(4, 4, 8, 8).mask * 0.5, "dog")).resize("dog", 1.5)
    assert 0.4 < soft.segments[0].mask.max() <= 0.5
    with pytest.raises(UserError, match="would vanish"):
        small.resize("dog", 0.01)


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan, np.inf, 101.0])
def test_bad_factors_are_refused(factor: float) -> None:
    with pytest.raises(UserError, match="cannot resize"):
        scene(block(1, 1, 5, 5)).resize(0, factor)


@pytest.mark.parametrize("by", [(np.nan, 0.0), (2.0, 0.0), (0.0, -np.inf)])
def test_bad_moves_are_refused(by: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="cannot move"):
        scene(block(1, 1, 5, 5)).move(0, by)


@given(SCENES, SEGMENTS, st.integers(0, 4))
def test_removing_what_was_added_is_nothing(given_scene: Scene, segment: Segment, at: int) -> None:
    at = min(at, len(given_scene.segments))
    assert given_scene.add(segment, at).remove(at) == given_scene
    assert given_scene.add(segment).segments[-1].same_as(segment)


@given(st.permutations(["a", "b", "c"]), st.integers(0, 2), st.integers(-3, 2))
def test_reordering_keeps_everything_and_undoes(names: list[str], which: int, to: int) -> None:
    before = scene(*(block(i, i, i + 4, i + 4, name) for i, name in enumerate(names)))
    after = before.reorder(which, to)
    assert after.segments[to].text == names[which]
    assert after.reorder(to, which) == before


def test_restyling_takes_the_caption_along() -> None:
    before = scene(block(0, 0, 4, 4, "red ball"), block(4, 4, 8, 8, "grass"), caption="a Red  ball on the grass")
    after = before.restyle("red ball", text="blue ball", strength=0.5)
    assert after.caption == "a blue ball on the grass"
    assert (after.segments[0].text, after.segments[0].strength) == ("blue ball", 0.5)
    assert before.restyle("grass", strength=2.0).caption == before.caption


def test_restyling_one_of_two_changes_its_own_place() -> None:
    twins = scene(block(0, 0, 4, 4), block(8, 0, 12, 4), caption="a dog and a dog")
    assert twins.restyle(1, text="cat").caption == "a dog and a cat"
    assert twins.restyle(0, text="cat").caption == "a cat and a dog"
    one = scene(block(0, 0, 4, 4), block(8, 0, 12, 4), caption="a dog")
    assert one.restyle(1, text="cat").caption == "a dog"


def test_which_means_a_position_a_name_or_words() -> None:
    named = Segment(block(0, 0, 2, 2).mask, "sheep", name="left")
    several = scene(block(0, 0, 4, 4), named, block(8, 0, 12, 4, "Sheep"))
    assert [several.index(w) for w in (0, -1, "left", "dog", "Sheep", "DOG")] == [0, 2, 1, 0, 2, 0]
    with pytest.raises(UserError, match=r"2 segments are called 'SHEEP'.*\[1, 2\]"):
        several.index("SHEEP")
    with pytest.raises(UserError, match="no segment 'cat'.*'dog'"):
        several.index("cat")
    for wrong in (3, -4):
        with pytest.raises(UserError, match="counted from 0"):
            several.index(wrong)
    with pytest.raises(UserError, match="counted from 0"):
        several.reorder(0, 3)


@given(SCENES)
def test_resized_keeps_areas(given_scene: Scene) -> None:
    small = given_scene.resized((3, 4))
    assert small.size == (3, 4)
    for before, after in zip(given_scene.segments, small.segments, strict=True):
        assert after.area == pytest.approx(before.area, abs=1e-5)


def test_resized_averages_masks_and_samples_maps() -> None:
    depth = np.arange(192, dtype=np.float32).reshape(SIZE)
    small = Scene("", (block(0, 0, 2, 4),), SIZE, {"depth": depth}).resized((3, 4))
    assert small.segments[0].mask[0, 0] == pytest.approx(0.5)
    assert small.maps["depth"].shape == (3, 4)
    assert set(small.maps["depth"].ravel()) <= set(depth.ravel())
    with pytest.raises(UserError, match="positive size"):
        small.resized((0, 4))


def test_drawable_leaves_out_what_no_method_can_use() -> None:
    mixed = scene(block(0, 0, 4, 4), block(0, 0, 0, 0), block(0, 0, 4, 4, " "))
    assert [s.text for s in mixed.drawable().segments] == ["dog"]


def test_phrases_are_whole_words_in_any_case_and_spacing() -> None:
    assert phrase_spans("Two dogs; a  DOG.", "dog") == [(13, 16)]
    assert phrase_spans("a red\nball", "red ball") == [(2, 10)]
    assert phrase_spans("anything", " ") == []
