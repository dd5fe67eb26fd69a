"""Readers of published data: names, COCO-Stuff, COCO panoptic and instances, made up and real."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scenewright.datasets import CocoInstances, CocoPanoptic, read_coco_stuff
from scenewright.datasets.coco_names import COCO_STUFF, FIRST_STUFF, spoken
from scenewright.errors import UserError
from scenewright.scene_io import find_scenes, read_scene

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SIZE = (12, 16)


def real(*parts: str) -> Path:
    """A real sample, or a skip where it is absent: real data is not part of the repository."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return path


# Names


def test_class_names_are_said_as_words() -> None:
    said = {"sky-other-merged": "sky", "wall-brick": "brick wall", "window-blind": "window blind", "door-stuff": "door"}
    assert {name: spoken(name) for name in said} == said
    assert spoken("other") == "other"
    assert (COCO_STUFF[1], COCO_STUFF[FIRST_STUFF], COCO_STUFF[182], len(COCO_STUFF)) == (
        "person",
        "banner",
        "wood",
        182,
    )


def test_class_names_are_the_published_ones() -> None:
    lines = real("coco_stuff35", "cocostuff_labels.txt").read_text().splitlines()
    published = dict(line.split(": ", 1) for line in lines if line.strip())
    assert {str(i): name for i, name in COCO_STUFF.items()} | {"0": "unlabeled"} == published


# COCO-Stuff


def test_coco_stuff_values_are_id_minus_one(tmp_path: Path) -> None:
    values, parts = np.full(SIZE, 156, np.uint8), np.full(SIZE, 156, np.uint8)  # 157 is sky-other
    values[6:], values[:6, :4], values[0, 15] = 123, 0, 255  # 124 is grass, 1 is person
    parts[:6, :2], parts[:6, 2:4], parts[6:] = 7, 8, 123
    Image.fromarray(values).save(tmp_path / "label.png")
    Image.fromarray(parts).save(tmp_path / "instances.png")
    scene = read_coco_stuff(tmp_path / "label.png", "two people")
    assert [(s.text, s.stuff) for s in scene.segments] == [("grass", True), ("sky", True), ("person", False)]
    assert not any(s.mask[0, 15] for s in scene.segments)
    apart = read_coco_stuff(tmp_path / "label.png", instances=tmp_path / "instances.png")
    assert [s.text for s in apart.segments] == ["grass", "sky", "person", "person"]
    Image.fromarray(np.full(SIZE, 200, np.uint8)).save(tmp_path / "wrong.png")
    with pytest.raises(UserError, match="value 200, which is no COCO-Stuff class"):
        read_coco_stuff(tmp_path / "wrong.png")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(UserError, match="differ in size"):
        read_coco_stuff(tmp_path / "label.png", instances=tmp_path / "small.png")


def test_real_coco_stuff() -> None:
    for index in sorted(real("coco_stuff35").glob("*.jsonl")):
        rows = [json.loads(line) for line in index.read_text().splitlines()]
        for row, source in zip(rows, find_scenes(index).sources, strict=True):
            scene = source.read()
            assert scene.caption == row["captions"][0]
            assert {s.name for s in scene.segments} == {
                name for value, name in row["classes"].items() if value != "255"
            }


def test_real_spade_instances() -> None:
    for label in sorted(real("spade_coco_stuff", "label").glob("*.png")):
        merged = read_coco_stuff(label)
        apart = read_coco_stuff(label, instances=label.parent.parent / "inst" / label.name)
        assert len(apart.segments) >= len(merged.segments)
        assert sum(s.area for s in apart.segments) == pytest.approx(sum(s.area for s in merged.segments))


# COCO panoptic and instances


def panoptic(folder: Path) -> dict[str, Any]:
    """A panoptic file of one picture: id 1 is sky, 70000 a person; 5 is only in the JSON, 300 only in the PNG."""
    ids = np.ones(SIZE, np.int64)
    ids[6:], ids[:, 12:], ids[0, 0] = 70_000, 300, 0
    (folder / "panoptic").mkdir()
    Image.fromarray(np.dstack([ids % 256, ids // 256 % 256, ids // 65536]).astype(np.uint8)).save(
        folder / "panoptic/9.png"
    )
    parts = [{"id": 1, "category_id": 187}, {"id": 70_000, "category_id": 1}, {"id": 5, "category_id": 1}]
    return {
        "images": [{"id": 9, "file_name": "9.jpg", "width": 16, "height": 12}],
        "annotations": [{"image_id": 9, "file_name": "9.png", "segments_info": parts}],
        "categories": [
            {"id": 1, "name": "person", "isthing": 1},
            {"id": 187, "name": "sky-other-merged", "isthing": 0},
        ],
    }


def test_panoptic_ids_and_what_one_side_lacks(tmp_path: Path) -> None:
    path = tmp_path / "panoptic.json"
    path.write_text(json.dumps(panoptic(tmp_path)))
    (tmp_path / "captions.json").write_text(json.dumps({"annotations": [{"image_id": 9, "caption": "a person\n"}]}))
    scene = read_scene(path)
    assert (scene.caption, scene.name) == ("a person", "9")
    found = {s.name: (s.text, s.stuff, round(s.area * 192)) for s in scene.segments}
    assert found == {
        "1": ("sky", True, 71),
        "70000": ("person", False, 72),
        "5": ("person", False, 0),
        "300": ("", False, 48),
    }


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"categories": []}, "unknown category"),
        ({"categories": None}, "no list of categorys"),
        ({"images": [{"id": 9, "file_name": "9.jpg", "width": 99, "height": 12}]}, "is 16x12 pixels but .* says 99x12"),
        ({"images": [{"id": 9, "file_name": "9.jpg", "width": float("nan"), "height": 12}]}, "wrong image"),
        ({"annotations": [{"image_id": 9, "file_name": "8.png", "segments_info": []}]}, "names 8.png, which is not in"),
        ({"annotations": [{"image_id": 9, "segments_info": []}]}, "wrong annotation"),
    ],
)
def test_wrong_panoptic_files(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    path = tmp_path / "panoptic.json"
    path.write_text(json.dumps(panoptic(tmp_path) | wrong))
    with pytest.raises(UserError, match=said):
        read_scene(path)


def test_real_panoptic_areas() -> None:
    path = real("coco_panoptic_sample", "panoptic_examples.json")
    data = json.loads(path.read_text())
    scenes = CocoPanoptic(data, path)
    for note in data["annotations"]:
        scene = scenes.scene(note["image_id"])
        areas = {s.name: round(s.area * scene.size[0] * scene.size[1]) for s in scene.segments}
        assert areas == {str(part["id"]): part["area"] for part in note["segments_info"]}


def test_real_instances_areas() -> None:
    path = real("coco_panoptic_sample", "panoptic_coco_detection_format.json")
    data = json.loads(path.read_text())
    scenes = CocoInstances(data, path)
    for image in data["images"]:
        scene = scenes.scene(image["id"])
        areas = {s.name: round(s.area * image["width"] * image["height"]) for s in scene.segments}
        assert areas == {str(a["id"]): a["area"] for a in data["annotations"] if a["image_id"] == image["id"]}


def instances(**annotation: Any) -> dict[str, Any]:
    note = {"id": 3, "image_id": 9, "category_id": 1, "segmentation": [[2, 2, 8, 2, 8, 6, 2, 6]]}
    return {
        "images": [{"id": 9, "file_name": "9.jpg", "width": 16, "height": 12}],
        "annotations": [note | annotation],
        "categories": [{"id": 1, "name": "person"}],
    }


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"category_id": 5}, "unknown category 5"),
        ({"segmentation": {"counts": [1, 2], "size": [12, 16]}}, "annotation 3: the RLE counts cover 3 pixels"),
        ({"segmentation": {"counts": [192], "size": [16, 12]}}, "its RLE is of size"),
        ({"segmentation": [[2, 2, 8, 2]]}, "at least 3"),
        ({"segmentation": [[2, 2, float("nan"), 2, 3, 3]]}, "far outside"),
        ({"segmentation": "x"}, "wrong annotation"),
    ],
)
def test_wrong_instances(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(instances()))
    assert read_scene(path).segments[0].box == (2 / 16, 2 / 12, 8 / 16, 6 / 12)
    path.write_text(json.dumps(instances(**wrong)))
    with pytest.raises(UserError, match=said):
        read_scene(path)
