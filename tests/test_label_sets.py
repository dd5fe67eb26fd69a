"""Label pictures of published data sets: their tables, their voids, real files and broken copies."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenewright.datasets.label_sets import LABEL_SETS, label_pictures, read_labels, scene_captions
from scenewright.errors import UserError
from scenewright.evaluation.protocols import cases

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def real(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{'/'.join(parts)} is not on this machine")
    return path


def saved(values: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


def test_ade20k_names_are_the_published_ones() -> None:
    lines = real("ade20k", "objectInfo150.txt").read_text().splitlines()[1:]
    rows = [line.split("\t") for line in lines if line.strip()]
    published = {int(row[0]): row[-1].split(",")[0].strip() for row in rows}
    assert LABEL_SETS["ade20k"].names == published


@pytest.mark.parametrize(
    ("name", "count", "value", "text"),
    [
        ("ade20k", 150, 150, "flag"),
        ("cityscapes", 27, 26, "car"),
        ("cityscapes", 27, 33, "bicycle"),
        ("cityscapes-train", 19, 13, "car"),
        ("cityscapes-train", 19, 18, "bicycle"),
        ("coco-stuff", 182, 0, "person"),
        ("camvid", 11, 8, "car"),
    ],
)
def test_tables(name: str, count: int, value: int, text: str) -> None:
    of = LABEL_SETS[name]
    assert (len(of.names), of.names[value]) == (count, text)
    assert of.stuff <= set(of.names)
    assert not of.void & set(of.names)


def test_real_ade20k() -> None:
    folder, of = real("ade20k", "labels"), LABEL_SETS["ade20k"]
    rows = {Path(row["name"]).stem: row for row in json.loads(real("ade20k", "index.examples.json").read_text())}
    read = 0
    for path in label_pictures(folder, of):
        scene = read_labels(path, of)
        if row := rows.get(path.stem):
            read += 1
            assert {s.name for s in scene.segments} == {of.names[value] for value in row["labels"] if value}
            assert sorted(scene.size) == sorted(row["label_size"])  # the index says width and height in either order
    assert read > 5


def test_real_camvid() -> None:
    folder, of = real("camvid", "valannot"), LABEL_SETS["camvid"]
    for path in label_pictures(folder, of):
        values = np.asarray(Image.open(path))
        scene = read_labels(path, of)
        assert sum(s.area for s in scene.segments) == pytest.approx((values != 11).mean())


def test_cityscapes_knows_its_own_pictures(tmp_path: Path) -> None:
    values = np.full((4, 8), 23)
    values[2:], values[0, 0], values[3, 6:] = 7, 255, 26
    saved(values, tmp_path / "val" / "a_gtFine_labelIds.png")
    saved(values, tmp_path / "val" / "a_gtFine_color.png")
    (path,) = label_pictures(tmp_path, LABEL_SETS["cityscapes"])
    scene = read_labels(path, LABEL_SETS["cityscapes"], "a street")
    assert [(s.text, s.stuff) for s in scene.segments] == [("sky", True), ("road", True), ("car", False)]
    assert scene.caption == "a street"
    assert not any(s.mask[0, 0] for s in scene.segments)
    with pytest.raises(UserError, match=r"holds no \*_labelTrainIds.png"):
        label_pictures(tmp_path, LABEL_SETS["cityscapes-train"])


def test_broken_label_pictures_are_named(tmp_path: Path) -> None:
    of = LABEL_SETS["ade20k"]
    with pytest.raises(
        UserError, match="holds the value 151, which is no ADE20K class; its values are 1 to 150, and 0"
    ):
        read_labels(saved(np.full((4, 4), 151), tmp_path / "unknown.png"), of)
    with pytest.raises(UserError, match="is a colour picture"):
        read_labels(saved(np.zeros((4, 4, 3)), tmp_path / "colour.png"), of)
    whole = saved(np.ones((40, 40)), tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:60])
    with pytest.raises(UserError, match="not a whole picture"):
        read_labels(tmp_path / "cut.png", of)
    with pytest.raises(UserError, match="is no folder"):
        label_pictures(tmp_path / "none", of)


def test_an_evaluation_reads_label_pictures(tmp_path: Path) -> None:
    values = np.full((20, 20), 3)
    values[10:], values[:2, :2] = 10, 20
    saved(values, tmp_path / "labels" / "ADE_val_1.png")
    saved(np.zeros((20, 20)), tmp_path / "labels" / "ADE_val_2.png")  # nothing but void
    (tmp_path / "sceneCategories.txt").write_text("ADE_val_1 access_road\nADE_val_2 bedroom\n")
    assert scene_captions(tmp_path)["ADE_val_2"] == "a photo of a bedroom"
    (case,) = cases(f"ade20k:{tmp_path / 'labels'}", "filtered", 10)
    assert case.scene.caption == "a photo of an access road"
    assert {s.text for s in case.scene.segments} == {"sky", "grass"}
    assert set(case.named) == {"sky", "grass", "chair"}
