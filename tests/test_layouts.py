"""Layouts of other makers: indexed PNG with JSON, colour-coded PNG, boxes; what disagrees is not silent."""

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from scenewright.errors import UserError
from scenewright.scene import Scene, Segment
from scenewright.scene_io import find_scenes, read_scene, write_scene

SIZE = (12, 16)
NAMES = """
format scene caption prompt width height segments maps mask label captions boxes canvas images annotations categories
segments_info segmentation text box polygon rle soft counts size id image_id file_name name 1 2
"""
KEYS = st.sampled_from(NAMES.split())
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def layout(folder: Path, values: np.ndarray, segments: dict[str, Any], name: str = "one", **changes: Any) -> Path:
    """An indexed PNG and its JSON."""
    Image.fromarray(values.astype(np.uint8)).save(folder / f"{name}.png")
    height, width = values.shape[:2]
    document = {"id": name, "prompt": "a dog", "mask": f"{name}.png", "width": width, "height": height}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document | {"segments": segments} | changes))
    return path


@given(arrays(bool, SIZE))
def test_indexed_round_trip(tmp_path_factory: pytest.TempPathFactory, mask: np.ndarray) -> None:
    front = np.zeros(SIZE, bool)
    front[:3] = True
    scene = Scene("a dog", (Segment(mask, "grass", 0.5, stuff=True), Segment(front, "dog")), SIZE, name="one")
    path = write_scene(scene, tmp_path_factory.mktemp("indexed") / "one.png")
    again = read_scene(path)
    np.testing.assert_array_equal(again.label_map(), scene.label_map())
    assert [(s.text, s.strength, s.stuff) for s in again.segments] == [("grass", 0.5, True), ("dog", 1.0, False)]
    with Image.open(path) as picture:
        assert picture.mode == "P"


def test_layout_with_ids_that_one_side_lacks_is_read(tmp_path: Path) -> None:
    values = np.zeros(SIZE)
    values[:, 4:8], values[:, 8:12], values[:, 12:] = 1, 7, 255
    said = {"0": {"text": ""}, "1": {"text": "dog"}, "2": {"text": "cat"}}
    scene = read_scene(layout(tmp_path, values, said))
    assert [(s.name, s.text) for s in scene.segments] == [("1", "dog"), ("2", "cat"), ("7", "")]
    assert not scene.segments[1].mask.any()
    assert scene.segments[2].area == pytest.approx(0.25)
    assert read_scene(tmp_path / "one.png") == scene


def test_layout_in_colours_takes_the_nearest(tmp_path: Path) -> None:
    values = np.full((*SIZE, 3), 250)
    values[:, 4:] = (200, 90, 130)
    values[:, 4] = (225, 170, 190)  # a soft edge
    said = {"0": {"text": "", "rgb": [255, 255, 255]}, "1": {"text": "dog", "rgb": [195, 95, 133]}}
    scene = read_scene(layout(tmp_path, values, said))
    assert [s.text for s in scene.segments] == ["dog"]
    assert scene.segments[0].area in (pytest.approx(12 / 16), pytest.approx(11 / 16))
    with pytest.raises(UserError, match="is a colour picture"):
        read_scene(layout(tmp_path, values, {"1": {"text": "dog"}}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 99}, "says 99x12 pixels but its mask one.png is 16x12"),
        ({"mask": "none.png"}, "names the mask none.png, which is neither"),
        ({"segments": {"x": {"text": "dog"}}}, "segments"),
        ({"segments": {"-1": {"text": "dog"}}}, "segments"),
        ({"segments": {"1": {"text": "dog", "strength": float("inf")}}}, "finite number"),
    ],
)
def test_wrong_layouts_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_scene(layout(tmp_path, np.ones(SIZE), changes.pop("segments", {"1": {"text": "dog"}}), **changes))


def test_box_layouts(tmp_path: Path) -> None:
    cat = {"text": "cat", "xywh": [8, 6, 4, 6]}
    rows = [
        {"prompt": "two", "canvas": [16, 12], "boxes": [{"text": "dog", "xyxy": [-4, 0, 8, 6]}, cat]},
        {"prompt": "half", "boxes": [{"text": "dog", "xyxy": [0, 0, 0.5, 1]}]},
        {"prompt": "odd", "canvas": [16, 12], "boxes": [{"text": "dog", "xyxy": [9, 9, 2, 2]}]},
        {"prompt": "pixels", "boxes": [{"text": "dog", "xyxy": [9, 9, 20, 20]}]},
        {"prompt": "nan", "canvas": [16, 12], "boxes": [{"text": "dog", "xyxy": [float("nan"), 9, 2, 2]}]},
    ]  # fmt: skip
    path = tmp_path / "boxes.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    found = find_scenes(path).sources
    assert [s.name for s in found][:2] == ["boxes-00001", "boxes-00002"]
    two, half, odd = (source.read() for source in found[:3])
    assert [s.box for s in two.segments] == [(0, 0, 0.5, 0.5), (0.5, 0.5, 0.75, 1)]
    assert half.size == (512, 512)
    assert half.segments[0].area == pytest.approx(0.5)
    assert odd.segments[0].box is None
    with pytest.raises(UserError, match='need a "canvas"'):
        found[3].read()
    with pytest.raises(UserError, match="finite number"):
        found[4].read()
    with pytest.raises(UserError, match="holds 5 scenes"):
        read_scene(path)
    path.write_text('{"prompt": "x"}')
    with pytest.raises(UserError, match="line 1 is no scene"):
        read_scene(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["one.png", "dog"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)


@given(st.dictionaries(KEYS, JSON, max_size=8))
def test_no_json_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_text(json.dumps(data))
    with contextlib.suppress(UserError):
        for source in find_scenes(path).sources:
            source.read()


WHOLE = {
    "scene": {
        "caption": "a dog", "width": 16, "height": 12, "maps": {"m": {"dtype": "uint8", "shape": [1, 1], "data": ""}},
        "segments": [
            {"text": "a", "strength": 1.0, "box": [0, 0, 4, 4]}, {"text": "b", "polygon": [[0, 0], [4, 0], [4, 4]]},
            {"text": "c", "rle": {"counts": [0, 192], "size": [12, 16]}}, {"text": "d", "mask": "one.png"},
        ],
    },
    "layout": {"prompt": "a dog", "mask": "one.png", "width": 16, "height": 12, "segments": {"1": {"text": "dog"}}},
    "boxes": {"prompt": "a dog", "canvas": [16, 12], "boxes": [{"text": "dog", "xyxy": [0, 0, 8, 8]}]},
    "label": {"label": "one.png", "captions": ["a dog"]},
    "instances": {
        "images": [{"id": 9, "file_name": "9.jpg", "width": 16, "height": 12}],
        "annotations": [{"id": 3, "image_id": 9, "category_id": 1, "segmentation": [[2, 2, 8, 2, 8, 6, 2, 6]]}],
        "categories": [{"id": 1, "name": "person"}],
    },
    "panoptic": {
        "images": [{"id": 9, "file_name": "9.jpg", "width": 16, "height": 12}],
        "annotations": [{"image_id": 9, "file_name": "one.png", "segments_info": [{"id": 1, "category_id": 1}]}],
        "categories": [{"id": 1, "name": "person", "isthing": 1}],
    },
}  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [pair for key in keys for pair in [(value, key), *places(value[key])]]


@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=60)
@given(data=st.data())
def test_no_single_wrong_value_crashes_the_reader(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    document = copy.deepcopy(WHOLE[kind])
    container, key = data.draw(st.sampled_from(places(document)))
    container[key] = data.draw(JSON)
    folder = tmp_path_factory.getbasetemp()
    Image.fromarray(np.ones(SIZE, np.uint8)).save(folder / "one.png")
    (folder / "mutant.json").write_text(json.dumps(document))
    with contextlib.suppress(UserError):
        for source in find_scenes(folder / "mutant.json").sources:
            source.read()


@pytest.mark.parametrize("name", ["densediffusion_layouts", "zestguide_layouts", "coco_val100_layouts"])
def test_every_real_layout_is_read(name: str) -> None:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: the real layouts are not part of the repository")
    found = find_scenes(folder)
    place = folder / "layouts" if (folder / "layouts").is_dir() else folder
    assert len(found.sources) == len(list(place.glob("*.json")))
    for source in found.sources:
        scene = source.read()
        said = json.loads(source.path.read_text(encoding="utf-8"))
        shares = [s["area_frac"] for s in said["segments"].values() if s["text"].strip()]
        assert len(scene.segments) == len(shares)
        assert [s.area for s in scene.segments] == pytest.approx(shares, abs=1e-4)
        assert scene.caption


def test_real_box_layouts_are_read() -> None:
    if not (DATA / "box_layouts").is_dir():
        pytest.skip("the real box layouts are not part of the repository")
    sources = find_scenes(DATA / "box_layouts").sources
    assert len({source.name for source in sources}) == len(sources)
    for source in sources[:200]:
        assert source.read().segments
