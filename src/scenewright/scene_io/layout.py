"""Indexed PNG + JSON: the pixel value is the segment's id, the JSON gives each id its words.

    {"prompt": "…", "mask": "0001.png", "width": 512, "height": 512, "segments": {"1": {"text": "a dog"}, …}}

An id with empty text is background, no segment. Where picture and JSON disagree nothing is dropped in silence: an id
the picture lacks becomes a segment with an empty mask, an id the JSON lacks becomes one without words (0 and 255
excepted: unlabelled and void), and lint names both.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from scenewright.datasets.coco_names import spoken
from scenewright.datasets.pictures import colours, label_values, open_picture
from scenewright.errors import UserError
from scenewright.scene import Scene, Segment
from scenewright.scene_io.document import VALUES, Number, Text

VOID = (0, 255)
Channel = Annotated[int, Field(ge=0, le=255)]


class LayoutSegment(BaseModel):
    """Words of one id. With `rgb` the mask may be a colour picture; with `category_id` the text is a COCO class."""

    model_config = ConfigDict(frozen=True)
    text: Text = ""
    strength: Number = Field(default=1.0, ge=0.0)
    kind: str = ""
    rgb: tuple[Channel, Channel, Channel] | None = None
    category_id: int | None = None


class LayoutDocument(BaseModel):
    """The JSON beside an indexed PNG; keys not named here are ignored."""

    model_config = ConfigDict(frozen=True)
    id: str | int = ""
    prompt: Text = ""
    captions: tuple[Text, ...] = ()
    mask: str = ""
    width: int | None = Field(default=None, ge=1)
    height: int | None = Field(default=None, ge=1)
    segments: dict[Annotated[int, Field(ge=0)], LayoutSegment]


def layout_scene(document: LayoutDocument, path: Path) -> Scene:
    """The scene of a layout JSON at `path`; the mask is looked up beside it, or beside its folder.

    Raises UserError if the mask is missing, no label picture, or not of the size that the JSON says.
    """
    mask = _mask_path(document, path)
    said = document.segments
    coded = {i: segment.rgb for i, segment in said.items() if segment.rgb is not None}
    coloured = coded and open_picture(mask).mode in ("RGB", "RGBA")
    labels = nearest(colours(mask), coded) if coloured else label_values(mask)
    height, width = labels.shape
    if (document.width or width, document.height or height) != (width, height):
        raise UserError(
            f"{path} says {document.width}x{document.height} pixels but its mask {mask.name} is {width}x{height}; "
            "correct the numbers or the picture"
        )
    segments = label_segments(labels, said, path)
    caption = document.prompt or next(iter(document.captions), "")
    return Scene(caption, segments, (height, width), name=str(document.id) or path.stem)


def label_segments(labels: np.ndarray, said: Mapping[int, LayoutSegment], path: Path) -> tuple[Segment, ...]:
    """Segments of a label map (H, W), by id; see the top of this file for ids that one side lacks."""
    found = {int(i) for i in np.unique(labels)}
    silent = {i for i, segment in said.items() if not segment.text.strip()}
    ids = sorted((found | set(said)) - silent - (set(VOID) - set(said)))
    if len(ids) * labels.size > VALUES:
        raise UserError(f"{path} has {len(ids)} regions, too many to hold; use a label map with flat colours")
    return tuple(_segment(labels == i, said.get(i, LayoutSegment()), str(i)) for i in ids)


def _segment(mask: np.ndarray, said: LayoutSegment, name: str) -> Segment:
    text = said.text if said.category_id is None else spoken(said.text)
    return Segment(mask, text, said.strength, name, said.kind == "stuff")


def nearest(picture: np.ndarray, coded: Mapping[int, tuple[int, int, int]]) -> np.ndarray:
    """(H, W) int64: for each pixel (H, W, 3) the id with the nearest colour, so that soft edges make no new ids."""
    labels, best = np.zeros(picture.shape[:2], np.int64), np.full(picture.shape[:2], np.iinfo(np.int64).max)
    for i, rgb in coded.items():
        distance = ((picture - np.asarray(rgb)) ** 2).sum(-1)
        nearer = distance < best
        labels[nearer], best[nearer] = i, distance[nearer]
    return labels


def layout_files(scene: Scene, path: Path) -> tuple[Image.Image, dict[str, Any]]:
    """The label picture and the JSON of a scene: hard regions, front ones win; `path` names the picture.

    Raises UserError above 254 segments: one byte holds an id.
    """
    if len(scene.segments) > 254:
        raise UserError(f"an indexed PNG holds at most 254 segments, not {len(scene.segments)}; write a .json instead")
    picture = Image.fromarray(scene.label_map().astype(np.uint8))
    picture.putpalette([channel for i in range(256) for channel in _colour(i)])
    height, width = scene.size
    segments = {
        str(i): {"text": s.text, "strength": s.strength, "kind": "stuff" if s.stuff else "thing"}
        for i, s in enumerate(scene.segments, start=1)
    }
    document = {"id": scene.name or path.stem, "prompt": scene.caption, "mask": path.name}
    return picture, document | {"width": width, "height": height, "segments": segments}


def _colour(i: int) -> tuple[int, int, int]:
    """The PASCAL VOC colour of a label: its bits, spread over red, green and blue, high bits first."""
    red, green, blue = (sum(((i >> (3 * k + c)) & 1) << (7 - k) for k in range(3)) for c in range(3))
    return red, green, blue


def _mask_path(document: LayoutDocument, path: Path) -> Path:
    name = document.mask or f"{path.stem}.png"
    for folder in (path.parent, path.parent.parent):
        with contextlib.suppress(OSError):  # a name too long to be one
            if (folder / name).is_file():
                return folder / name
    raise UserError(
        f"{path} names the mask {name[:100]}, which is neither beside it nor beside its folder; put it there"
    )
