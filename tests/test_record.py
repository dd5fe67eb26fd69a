"""A record survives the picture it travels in, and bad files are refused in a sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from scenewright.errors import UserError
from scenewright.files import write_atomically
from scenewright.record import CHUNK, Record, digest, is_finished, read_picture, read_record, save_picture
from scenewright.scene import Scene, Segment
from scenewright.scene_io import SceneDocument


@pytest.fixture
def record(scene: Scene) -> Record:
    model = {"name": "tiny", "sha256": "0" * 64, "family": "unet", "dtype": "float32", "source": "tiny"}
    document = SceneDocument.from_scene(scene)
    return Record(
        model=model,  # pyright: ignore[reportArgumentType]
        scene=document,
        guidance="zest",
        parameters={"zest.eta": 0.5},
        steps=3,
        seed=7,
        batch=(7,),
    )


def noise(side: int = 16) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


def test_record_travels_in_the_picture_and_beside_it(record: Record, tmp_path: Path) -> None:
    image = noise()
    record = record.model_copy(update={"pixels": digest(image)})
    path = save_picture(image, record, tmp_path / "new" / "a.png")
    assert read_record(path) == read_record(path.with_suffix(".json")) == record
    assert (np.asarray(read_picture(path)) == np.asarray(image)).all()
    assert is_finished(path, record.key())
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.json", "a.png"]  # nothing temporary is left


def test_words_beyond_latin_survive(record: Record, tmp_path: Path) -> None:
    scene = Scene("ein Ölbild, 猫 🐈", (Segment(np.ones((4, 4), np.float32), "猫"),), (4, 4))
    record = record.model_copy(update={"scene": SceneDocument.from_scene(scene)})
    path = save_picture(noise(), record, tmp_path / "a.png")
    assert read_record(path).scene.scene() == scene


def test_key_ignores_what_came_of_it_and_nothing_else(record: Record) -> None:
    model = record.model.model_copy(update={"source": "elsewhere"})
    same = {"pixels": "x", "seconds": 2.0, "versions": {"torch": "0"}, "threads": 9, "batch": (7, 8), "model": model}
    assert all(record.model_copy(update={name: value}).key() == record.key() for name, value in same.items())
    other = {
        "seed": 8,
        "steps": 4,
        "guidance": "none",
        "parameters": {},
        "eta": 1.0,
        "negative": "x",
        "solver": "euler",
    }
    keys = {record.model_copy(update={name: value}).key() for name, value in other.items()}
    assert len(keys | {record.key()}) == len(other) + 1


def test_touched_or_cut_picture_is_not_finished(record: Record, tmp_path: Path) -> None:
    image = noise()
    record = record.model_copy(update={"pixels": digest(image)})
    path = save_picture(image, record, tmp_path / "a.png")
    whole = path.read_bytes()
    assert not is_finished(path, "another key")
    path.write_bytes(whole[:-200])
    assert not is_finished(path, record.key())
    save_picture(noise(17), record, path)
    assert not is_finished(path, record.key())
    assert not is_finished(tmp_path / "missing.png", record.key())


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.png", None, "does not exist"),
        ("a.json", None, "no such file"),
        ("a.png", b"", "not a whole picture"),
        ("a.png", b"\x89PNG\r\n\x1a\n cut", "not a whole picture"),
        ("a.json", b"{", "no valid record"),
        ("a.json", b"\xff\xfe", "not text"),
        ("a.json", b'{"format": "scenewright-record-1"}', "no valid record"),
    ],
)
def test_bad_record_files(tmp_path: Path, name: str, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=said):
        read_record(tmp_path / name)


def test_picture_without_a_record(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    with pytest.raises(UserError, match="no record"):
        read_record(tmp_path / "a.png")


def test_record_with_a_surprise_is_refused(record: Record, tmp_path: Path) -> None:
    values = json.loads(record.json_text()) | {"steps": -1}
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text(CHUNK, json.dumps(values))
    noise().save(tmp_path / "a.png", pnginfo=chunk)
    with pytest.raises(UserError, match="steps"):
        read_record(tmp_path / "a.png")


def test_only_png_carries_a_record(record: Record, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.png"):
        save_picture(noise(), record, tmp_path / "a.jpg")


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        write_atomically(tmp_path / "file" / "a.png", b"x")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        write_atomically(tmp_path / "folder.png", b"x")
    assert not list(tmp_path.glob(".*partial"))


def test_huge_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise(64).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match="too many pixels"):
        read_picture(tmp_path / "a.png")
