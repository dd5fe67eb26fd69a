"""Files of scenes: what is written is read back; what is damaged fails in one sentence that names the file."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from scenewright.errors import UserError
from scenewright.scene import Scene, Segment
from scenewright.scene_io import SceneDocument, find_scenes, read_scene, read_scenes, schema_text, write_scene

ROOT = Path(__file__).resolve().parent.parent
SIZE = (12, 16)
MASKS = arrays(bool, SIZE).map(lambda m: m.astype(np.float32)) | arrays(np.uint8, SIZE).map(
    lambda m: m / np.float32(255)
)
WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SEGMENTS = st.builds(Segment, MASKS, WORDS, st.floats(0, 1e6), WORDS, st.booleans())
MAPS = st.dictionaries(
    st.sampled_from(["depth", "sketch", "pose"]),
    arrays(np.float32, SIZE) | arrays(bool, SIZE) | arrays(np.uint8, (*SIZE, 3)),
)
SCENES = st.builds(Scene, WORDS, st.lists(SEGMENTS, max_size=3), st.just(SIZE), MAPS, WORDS)


def png(values: np.ndarray, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(values.astype(np.uint8))
    (picture if mode == "L" else picture.convert(mode)).save(buffer, "PNG")
    return buffer.getvalue()


def written(path: Path, **changes: Any) -> Path:
    """A scene file with one box, and `changes` to its keys."""
    segments = [{"text": "dog", "box": [2, 2, 8, 8]}]
    path.write_text(json.dumps({"caption": "a dog", "width": 16, "height": 12, "segments": segments} | changes))
    return path


def test_published_schema_is_current() -> None:
    assert (ROOT / "docs" / "scene.schema.json").read_text(encoding="utf-8") == schema_text()


@given(SCENES)
def test_json_round_trip(scene: Scene) -> None:
    document = SceneDocument.from_scene(scene)
    again = SceneDocument.model_validate_json(document.model_dump_json())
    assert again == document
    assert again.scene() == scene


@given(SCENES)
def test_python_dump_round_trip(scene: Scene) -> None:
    document = SceneDocument.from_scene(scene)
    assert SceneDocument.model_validate(document.model_dump(mode="json", exclude_defaults=True)) == document


def test_written_file_is_read_back(tmp_path: Path) -> None:
    soft = np.linspace(0, 1, 192, dtype=np.float32).reshape(SIZE)
    scene = Scene(
        "ein Hünd 犬", (Segment(soft > 0.5, "dog", 0.5, "rex"), Segment(soft, "sky", stuff=True)), SIZE, name="s"
    )
    path = write_scene(scene, tmp_path / "deep" / "scene.json")
    again = read_scene(path)
    np.testing.assert_allclose(again.segments[1].mask, soft, atol=0.5 / 255 + 1e-6)
    assert again.segments[0].same_as(scene.segments[0])
    assert write_scene(again, tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_writing_says_what_it_cannot(tmp_path: Path) -> None:
    empty = Segment(np.zeros(SIZE), "dog")
    with pytest.raises(UserError, match=r"neither \.json nor \.png"):
        write_scene(Scene("", (), SIZE), tmp_path / "scene.yaml")
    with pytest.raises(UserError, match="at most 254 segments, not 255"):
        write_scene(Scene("", (empty,) * 255, SIZE), tmp_path / "scene.png")
    with pytest.raises(UserError, match="cannot write"):
        write_scene(Scene("", (), SIZE), written(tmp_path / "file.json") / "scene.json")
    with pytest.raises(UserError, match=r"cannot be written: segments|cannot be written: text"):
        write_scene(Scene("", (Segment(np.zeros(SIZE), "x" * 20_000),), SIZE), tmp_path / "scene.json")


def test_mask_files_are_grey_alpha_or_black_and_white(tmp_path: Path) -> None:
    grey = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (12, 1))
    (tmp_path / "grey.png").write_bytes(png(grey))
    rgba = np.dstack([np.full((12, 16, 3), 40), grey])
    Image.fromarray(rgba.astype(np.uint8)).save(tmp_path / "alpha.png")
    Image.fromarray(grey > 127).save(tmp_path / "hard.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    names = ["grey.png", "alpha.png", "hard.png", "deep.png"]
    scene = read_scene(written(tmp_path / "s.json", segments=[{"text": n, "mask": n} for n in names]))
    for i in (0, 1, 3):
        np.testing.assert_allclose(scene.segments[i].mask, grey / 255, atol=1e-6)
    np.testing.assert_array_equal(scene.segments[2].mask, grey > 127)
    with pytest.raises(UserError, match="cannot be reached here"):
        SceneDocument.model_validate(json.loads((tmp_path / "s.json").read_text())).scene()


def test_unnamed_scene_takes_the_name_of_its_file(tmp_path: Path) -> None:
    assert read_scene(written(tmp_path / "park.json", **{"$schema": "scene.schema.json"})).name == "park"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": float("nan")}, "width"),
        ({"width": 0}, "width: input should be greater than or equal to 1"),
        ({"width": 10**6, "height": 10**6}, "over 64 million pixels"),
        (
            {"width": 8000, "height": 8000, "segments": [{"text": "a", "box": [0, 0, 9, 9]}] * 60},
            "60 masks of 8000x8000",
        ),
        ({"colour": "red"}, "colour: extra inputs are not permitted"),
        ({"caption": 3}, "caption: input should be a valid string"),
        ({"segments": [{"text": "a"}]}, r"segments\.0: needs exactly one of box"),
        ({"segments": [{"text": "a", "box": [0, 0, 4, 4], "soft": ""}]}, "has box and soft"),
        ({"segments": [{"text": "a", "box": [0, 0, 4]}]}, "box"),
        ({"segments": [{"text": "a", "box": [0, 0, float("nan"), 4]}]}, "finite number"),
        ({"segments": [{"text": "a", "box": [0, 0, float("inf"), 4]}]}, "finite number"),
        ({"segments": [{"text": "a", "strength": -1, "box": [0, 0, 4, 4]}]}, "strength: .* greater than or equal to 0"),
        ({"segments": [{"text": "a", "strength": float("nan"), "box": [0, 0, 4, 4]}]}, "strength"),
        ({"segments": [{"text": "a", "box": [4, 0, 2, 4]}]}, r"segment 0 \(a\): its box .* has no area"),
        ({"segments": [{"text": "a", "box": [40, 40, 50, 50]}]}, "covers no pixel of the 16x12 scene"),
        ({"segments": [{"text": "a", "box": [0.1, 0.2, 0.5, 0.9]}]}, "looks like fractions"),
        ({"segments": [{"text": "a", "polygon": [[0, 0], [4, 4]]}]}, "polygon"),
        ({"segments": [{"text": "a", "polygon": [0, 0, 4, 4, 2]}]}, "polygon"),
        ({"segments": [{"text": "a", "polygon": []}]}, "polygon"),
        ({"segments": [{"text": "a", "polygon": [[0, 0], [1e9, 4], [2, 2]]}]}, "far outside the 16x12 picture"),
        ({"segments": [{"text": "a", "rle": {"counts": [5], "size": [12, 16]}}]}, "cover 5 pixels, not the 192"),
        ({"segments": [{"text": "a", "rle": {"counts": [192], "size": [16, 12]}}]}, "its RLE is 12x16 pixels"),
        ({"segments": [{"text": "a", "soft": "%%%"}]}, "not base64"),
        ({"segments": [{"text": "a", "soft": "AAAA"}]}, "not a whole picture"),
        ({"segments": [{"text": "a", "mask": "none.png"}]}, "none.png does not exist"),
        ({"segments": [{"text": "a", "mask": ""}]}, "not a file"),
        ({"segments": [{"text": "a", "mask": "\0"}]}, "does not exist"),
        ({"segments": [{"text": "a", "mask": "x" * 5000}]}, "cannot read"),
        ({"segments": [{"text": "a", "polygon": [20, 0, 24, 0, 24, 4]}]}, "polygon covers no pixel"),
        ({"segments": 3}, "segments"),
        ({"maps": {"depth": {"dtype": "float32", "shape": [12, 16], "data": "AAAA"}}}, "damaged"),
        ({"maps": {"depth": {"dtype": "object", "shape": [12, 16], "data": ""}}}, "maps.depth.dtype"),
    ],
)
def test_wrong_values_are_named_in_one_sentence(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = written(tmp_path / "scene.json", **changes)
    with pytest.raises(UserError, match=said) as caught:
        read_scene(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert ";" in message


def test_map_that_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    import zlib

    bomb = base64.b64encode(zlib.compress(bytes(10**6))).decode()
    path = written(tmp_path / "s.json", maps={"depth": {"dtype": "uint8", "shape": [12, 16], "data": bomb}})
    with pytest.raises(UserError, match="does not hold the bytes of its shape"):
        read_scene(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"{", "not valid JSON"),
        (b'{"segments": [' + b"[" * 100_000, "nested too deeply|not valid JSON"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"[1, 2]", "is no scene"),
        (b'{"a": 1}', 'no "segments"'),
        (b'{"segments": [], "width": 1' + b"0" * 5000 + b"}", "not valid JSON"),
        (b'{"segments": [], "caption": "\\ud800", "width": 4, "height": 4}', "caption"),
        (b'{"format": "scenewright-record-1"}', "has no 'scene'"),
    ],
)
def test_files_that_are_no_scene(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "scene.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_scene(path)


def test_paths_that_are_no_scene(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    (tmp_path / "alone.png").write_bytes(png(np.zeros(SIZE)))
    for path, said in [
        (tmp_path / "none.json", "does not exist"),
        (tmp_path / "none.png", "does not exist"),
        (tmp_path / "alone.png", "has no alone.json beside it"),
        (tmp_path / "photo.jpg", "is no scene"),
        (tmp_path, "is a folder"),
    ]:
        with pytest.raises(UserError, match=said):
            read_scene(path)
    with pytest.raises(UserError, match="holds no scene"):
        find_scenes(tmp_path)


def test_empty_scene_and_sixty_segments_are_read(tmp_path: Path) -> None:
    assert read_scene(written(tmp_path / "none.json", segments=[])).segments == ()
    many = [{"text": f"dog {i}", "box": [0, 0, 4, 4]} for i in range(60)]
    assert len(read_scene(written(tmp_path / "many.json", segments=many)).segments) == 60


def test_record_gives_its_scene(tmp_path: Path) -> None:
    scene = Scene("a dog", (Segment(np.ones(SIZE), "dog"),), SIZE, name="one")
    record = {"format": "scenewright-record-1", "scene": SceneDocument.from_scene(scene).model_dump(mode="json")}
    (tmp_path / "picture.json").write_text(json.dumps(record))
    assert read_scene(tmp_path / "picture.json") == scene


def test_folder_is_searched_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    for name in ("a", "b/a", "preview", "orig_set", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a/one.json", "b/a/one.json", "preview/one.json", "orig_set/x.json", ".hidden/x.json", "two.json"):
        written(tmp_path / name)
    (tmp_path / "categories.json").write_text('{"1": "person"}')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "a" / "picture.json").write_text('{"format": "scenewright-record-1", "scene": {}}')
    found = find_scenes(tmp_path)
    assert {s.name for s in found.sources} == {"two", "a-one", "b-a-one", "broken"}
    assert {s.path.name for s in found.skipped} == {"preview", "orig_set", "categories.json", "picture.json"}
    assert all(s.reason for s in found.skipped)
    broken = next(s for s in found.sources if s.name == "broken")
    with pytest.raises(UserError, match="not valid JSON"):
        broken.read()
    (tmp_path / "broken.json").unlink()
    assert [path.name for path, _ in read_scenes(tmp_path)] == ["two.json", "one.json", "one.json"]
