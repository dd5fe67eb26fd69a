"""Labelled pictures: what people have is read, what is wrong is said before anything learns."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scenewright.datasets.label_sets import LABEL_SETS
from scenewright.datasets.pairs import label_set, read_names, read_pairs
from scenewright.errors import UserError

DATA = Path(os.environ.get("SCENEWRIGHT_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def write(folder: Path, labels: dict[str, np.ndarray], names: str = "sky\nroad\ncar\n") -> tuple[Path, Path, Path]:
    """A set of 8x8 pictures with these labels under folder/p and folder/l, and a names file."""
    for part in "pl":
        (folder / part).mkdir(exist_ok=True, parents=True)
    for stem, values in labels.items():
        Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(folder / "p" / f"{stem}.jpg")
        Image.fromarray(values.astype(np.uint8)).save(folder / "l" / f"{stem}.png")
    (folder / "names.txt").write_text(names)
    return folder / "p", folder / "l", folder / "names.txt"


def halves(top: int = 0, bottom: int = 1) -> np.ndarray:
    return np.repeat([top, bottom], 4)[:, None].repeat(8, 1)


def test_values_become_class_ids_and_void_becomes_unlabelled(tmp_path: Path) -> None:
    folders = write(tmp_path, {"a": halves(0, 2), "b": halves(1, 255)})
    found = read_pairs(*folders, (4, 4))
    assert found.names == ("unlabelled", "sky", "road", "car")
    assert found.values == (0, 1, 2)
    assert found.images.shape == (2, 4, 4, 3)
    assert found.labels[:, ::3, 0].tolist() == [[1, 3], [2, 0]]
    ours, held = found.split()
    assert (ours.stems, held.stems) == (("a",), ("b",))


BAD = {
    "outside the names": (
        {"a": halves(), "b": halves(0, 7)},
        "sky\nroad",
        "the value 7, which names.txt does not name",
    ),
    "one picture": ({"a": halves()}, "sky\nroad", "holds 1 picture; at least 2"),
    "all void": ({"a": halves(255, 255), "b": halves(255, 255)}, "sky", "every pixel of the labels in .* is void"),
    "a name twice": ({"a": halves(), "b": halves()}, "sky\nSky", "holds the name 'sky' twice"),
    "a value twice": ({"a": halves(), "b": halves()}, "0 sky\n0 road", "holds the value '0' twice"),
    "no names": ({"a": halves(), "b": halves()}, "\n# nothing\n", "names no class"),
}


@pytest.mark.parametrize(("labels", "names", "message"), BAD.values(), ids=BAD)
def test_bad_sets_are_said_in_one_sentence(tmp_path: Path, labels: dict, names: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_pairs(*write(tmp_path, labels, names), (4, 4))


def test_pictures_and_labels_that_do_not_pair(tmp_path: Path) -> None:
    pictures, labels, names = write(tmp_path, {"a": halves(), "b": halves(), "c": halves()})
    (labels / "c.png").unlink()
    with pytest.raises(UserError, match=r"c.jpg has no label of its name \(1 files have no partner\)"):
        read_pairs(pictures, labels, names, (4, 4))
    (pictures / "c.jpg").unlink()
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(labels / "b.png")
    with pytest.raises(UserError, match="differ in size"):
        read_pairs(pictures, labels, names, (4, 4))
    with pytest.raises(UserError, match="is no folder"):
        read_pairs(tmp_path / "none", labels, names, (4, 4))


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("aachen_000000_000019_gtFine_labelIds", "cityscapes"),
        ("aachen_000000_000019_gtFine_labelTrainIds", "cityscapes-train"),
        ("ADE_val_00000003", "ade20k"),
        ("000000098392", "coco-stuff"),
        ("0016E5_00450", "camvid"),
        ("Seq05VD_f00120", "camvid"),
    ],
)
def test_published_layouts_are_recognised(stem: str, name: str) -> None:
    assert label_set(None, [Path(f"{stem}.png")], Path()) is LABEL_SETS[name]
    assert label_set(name, [], Path()) is LABEL_SETS[name]


def test_an_unknown_layout_asks_for_names() -> None:
    with pytest.raises(UserError, match="is not recognised; give a names file"):
        label_set(None, [Path("holiday.png")], Path())


def test_cityscapes_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    pictures, labels, _ = write(tmp_path, {})
    for number in (1, 2):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(pictures / f"ulm_{number}_leftImg8bit.png")
        Image.fromarray(halves(7, 23).astype(np.uint8)).save(labels / f"ulm_{number}_gtFine_labelIds.png")
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(labels / f"ulm_{number}_gtFine_color.png")
    found = read_pairs(pictures, labels, None, (8, 8))
    assert {found.names[i] for i in np.unique(found.labels)} == {"road", "sky"}


@given(st.dictionaries(st.integers(0, 254), st.text("abc", min_size=1, max_size=4), min_size=1, max_size=8))
def test_names_come_back(tmp_path_factory: pytest.TempPathFactory, rows: dict[int, str]) -> None:
    names = {value: f"{name}{value}" for value, name in rows.items()}
    folder = tmp_path_factory.mktemp("names")
    (folder / "n.json").write_text(json.dumps(names))
    (folder / "n.txt").write_text("\n".join(f"{value}: {name}" for value, name in names.items()))
    assert read_names(folder / "n.json").names == read_names(folder / "n.txt").names == names


def test_real_road_photos_are_read() -> None:
    folder = DATA / "camvid"
    if not folder.is_dir():
        pytest.skip("no CamVid sample here")
    found = read_pairs(folder / "val", folder / "valannot", None, (32, 32))
    assert len(found.names) == 12
    assert len(found) >= 2
    seen = {found.names[i] for i in np.unique(found.labels)}
    assert {"road", "sky", "building", "car"} <= seen
