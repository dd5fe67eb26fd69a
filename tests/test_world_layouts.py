"""Layouts of rendered scenes: which regions each setting keeps."""

import numpy as np
import pytest

from scenewright.errors import UserError
from scenewright.world import CLASS_ID, Sample, class_of, render
from scenewright.world.layouts import SETTINGS, scene_of


@pytest.fixture(scope="module")
def world() -> list[Sample]:
    return [render(20_000_000 + i) for i in range(12)]


def test_all_regions_tile_the_picture(world: list[Sample]) -> None:
    for sample in world:
        scene = scene_of(sample)
        assert np.array_equal(sum(segment.mask for segment in scene.segments), np.ones(scene.size))
        named = [CLASS_ID[class_of(segment.text) or "unlabelled"] for segment in scene.segments]
        assert np.array_equal(np.array([0, *named])[scene.label_map()], sample.classes)
        assert all(segment.text in scene.caption for segment in scene.segments)


def test_filtered_and_few_are_large_and_few_are_objects(world: list[Sample]) -> None:
    counts = set()
    for sample in world:
        everything = {segment.text for segment in scene_of(sample).segments}
        filtered, few = scene_of(sample, "filtered"), scene_of(sample, "few")
        assert all(segment.area > 0.05 for segment in (*filtered.segments, *few.segments))
        assert {segment.text for segment in few.segments} <= {segment.text for segment in filtered.segments}
        assert {segment.text for segment in filtered.segments} <= everything
        assert not any(segment.stuff for segment in few.segments)
        assert scene_of(sample, "few") == few
        counts.add(len(few.segments))
        for count in (1, 2, 3):
            exact = scene_of(sample, f"few-{count}").segments
            assert len(exact) == (count if len([s for s in filtered.segments if not s.stuff]) >= count else 0)
            assert len(few.segments) != count or [s.text for s in few.segments] == [s.text for s in exact]
    assert counts <= {0, 1, 2, 3}
    assert len(counts) > 1


def test_other_settings_are_refused(world: list[Sample]) -> None:
    with pytest.raises(UserError, match=", ".join(SETTINGS)):
        scene_of(world[0], "most")
