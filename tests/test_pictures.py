"""Pictures and shapes that users name: bounded, whole, never a crash; COCO's coding agrees with pycocotools."""

import contextlib
import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco

from scenewright.datasets.pictures import colours, label_values, open_picture, soft_mask
from scenewright.datasets.shapes import box_mask, decode_runs, encode_runs, polygon_mask
from scenewright.errors import UserError
from scenewright.scene_io import read_scene

SIZE = (12, 16)
MASKS = arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20)))


# Pictures


def damaged(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(buffer, "PNG")
    whole = buffer.getvalue()
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    )
    return {"empty": b"", "cut": whole[: len(whole) // 2], "text": b"no picture", "bomb": bomb, "head": whole[:20]}[
        kind
    ]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("empty", "is an empty file"),
        ("cut", "not a whole picture"),
        ("head", "not a whole picture"),
        ("text", "not a whole picture"),
        ("bomb", "more than 64 million pixels"),
    ],
)
def test_damaged_pictures_fail_in_a_sentence(tmp_path: Path, kind: str, said: str) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(damaged(kind))
    for read in (open_picture, label_values, soft_mask, colours):
        with pytest.raises(UserError, match=said):
            read(path)
    (tmp_path / "mask.json").write_text(
        json.dumps({"prompt": "", "mask": "mask.png", "segments": {"1": {"text": "a"}}})
    )
    with pytest.raises(UserError, match=said):
        read_scene(tmp_path / "mask.json")


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_picture_reader(data: bytes) -> None:
    with pytest.raises(UserError):
        open_picture(data, "noise")


def test_missing_picture_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_picture(tmp_path / "none.png")
    with pytest.raises(UserError, match="not a file"):
        open_picture(tmp_path)


def test_transparent_colours_show_white(tmp_path: Path) -> None:
    picture = np.zeros((2, 2, 4), np.uint8)
    picture[0, 0] = (10, 20, 30, 255)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    path = tmp_path / "colours.png"
    path.write_bytes(buffer.getvalue())
    shown = colours(path)
    assert shown[0, 0].tolist() == [10, 20, 30]
    assert shown[1, 1].tolist() == [255, 255, 255]


# Shapes


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' decoder and numpy 2
@given(MASKS)
def test_run_lengths_round_trip_and_agree_with_pycocotools(mask: np.ndarray) -> None:
    text = encode_runs(mask)
    np.testing.assert_array_equal(decode_runs(text, mask.shape), mask)
    theirs: Any = {"counts": text.encode(), "size": list(mask.shape)}
    np.testing.assert_array_equal(coco.decode(theirs), mask)
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(np.r_[False, flat])).tolist()
    counts = np.diff([0, *changes, flat.size]).tolist()
    np.testing.assert_array_equal(decode_runs(counts, mask.shape), mask)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40) | st.lists(st.integers(-9, 99)))
def test_damaged_run_lengths_never_crash(counts: "str | list[int]") -> None:
    with contextlib.suppress(UserError):
        assert decode_runs(counts, SIZE).shape == SIZE


BOXES = st.tuples(st.integers(-9, 20), st.integers(-9, 12), st.integers(1, 12), st.integers(1, 12))


@given(BOXES)
def test_polygon_of_a_box_is_the_box(place: tuple[int, int, int, int]) -> None:
    x, y, width, height = place
    ring = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    expected = box_mask((x, y, x + width, y + height), SIZE)
    np.testing.assert_array_equal(polygon_mask([ring], SIZE), expected)
    np.testing.assert_array_equal(decode_runs(encode_runs(expected), SIZE), expected)


def test_box_takes_pixels_whose_centre_is_inside() -> None:
    assert box_mask((0.4, 0.6, 2.6, 1.4), SIZE).sum() == 0
    assert box_mask((0.4, 0.4, 2.6, 1.4), SIZE).sum() == 3
