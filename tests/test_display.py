"""Layouts, legends and sheets are drawn for any scene."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scenewright.display import attention_sheet, colours, contact_sheet, heat, layout, legend, overlay, side_by_side
from scenewright.scene import Scene, Segment


def test_front_segment_hides_the_one_behind(scene: Scene) -> None:
    front = scene.add(Segment(np.ones(scene.size, np.float32), "sky"))
    middle = np.asarray(layout(front))[8, 8]
    assert tuple(middle) == colours(3)[2]


def test_layout_over_a_picture_keeps_what_is_unlabelled(scene: Scene) -> None:
    picture = Image.new("RGB", (scene.size[1], scene.size[0]), (10, 20, 30))
    over = np.asarray(layout(scene, picture))
    assert tuple(over[0, 0]) == (10, 20, 30)
    assert tuple(over[10, 8]) != (10, 20, 30)


def test_touching_regions_have_a_border_between_them() -> None:
    left, right = np.zeros((2, 8, 8), np.float32)
    left[:, :4], right[:, 4:] = 1, 1
    pixels = np.asarray(layout(Scene("", (Segment(left, "a"), Segment(right, "b")), (8, 8))))
    assert pixels[4, 3].sum() < pixels[4, 1].sum()
    assert pixels[4, 4].sum() < pixels[4, 6].sum()
    assert (pixels[0, 1] == pixels[4, 1]).all()  # the frame of the picture is no border


def test_scenes_show_themselves_in_jupyter(scene: Scene) -> None:
    assert scene._repr_png_().startswith(b"\x89PNG")


def test_side_by_side_and_overlay_have_a_legend_below(scene: Scene) -> None:
    picture = Image.new("RGB", (64, 64))
    assert overlay(scene).height > layout(scene).height
    assert side_by_side(picture, scene).width > 3 * 300


@given(st.text(max_size=300), st.lists(st.text(max_size=80), max_size=6))
def test_any_words_fit_the_legend(caption: str, texts: list[str]) -> None:
    segments = tuple(Segment(np.ones((4, 4), np.float32), text) for text in texts)
    sheet = legend(Scene(caption, segments, (4, 4)), 300)
    assert sheet.width == 300


def test_contact_sheet_places_pictures_in_rows() -> None:
    tiles = [Image.new("RGB", (10, 10), (i * 20, 0, 0)) for i in range(5)]
    sheet = contact_sheet(tiles, columns=2)
    assert sheet.size == (24, 38)
    assert sheet.getpixel((14, 14)) == (60, 0, 0)


def test_heat_spans_dark_to_bright_and_takes_a_constant_map() -> None:
    pixels = np.asarray(heat(np.arange(16.0).reshape(4, 4), (4, 4))).sum(-1)
    assert pixels[0, 0] < pixels[-1, -1]
    assert np.ptp(np.asarray(heat(np.ones((4, 4)), (4, 4)))) < 200


def test_attention_sheet_has_a_row_per_segment(scene: Scene) -> None:
    one = attention_sheet(scene.remove(1), np.ones((2, 1, 4, 4), np.float16))
    two = attention_sheet(scene, np.ones((2, 2, 4, 4), np.float16))
    assert two.height > 1.9 * one.height
