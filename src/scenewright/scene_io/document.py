"""A scene as one JSON document: what `write_scene` writes, what a record holds, what `docs/scene.schema.json` says."""

import base64
import io
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from scenewright.datasets.pictures import PIXELS, soft_mask
from scenewright.datasets.shapes import box_mask, decode_runs, encode_runs, polygon_mask
from scenewright.errors import UserError
from scenewright.scene import Scene, Segment

VALUES = 2**29  # most mask values of a scene in memory: 2 GiB of float32
SHAPES = ("box", "polygon", "rle", "mask", "soft")
Text = Annotated[str, Field(max_length=10_000)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Point = tuple[Number, Number]


def _rings(value: Any) -> Any:
    """One ring [[x, y], …], several rings, or COCO's flat rings [x, y, x, y, …], as several rings of points."""
    if _depth(value) == 1:
        value = [value]
    elif _depth(value) == 2 and len(value[0]) == 2:
        return [value]
    return [_points(ring) if _depth(ring) == 1 else ring for ring in value] if _depth(value) else value


def _depth(value: Any) -> int:
    """How deep lists are nested, followed along first items, at most 4; an empty list is 1 deep."""
    depth = 0
    while isinstance(value, list | tuple) and depth < 4:
        depth, value = depth + 1, value[0] if value else None
    return depth


def _points(flat: Any) -> Any:
    return list(zip(flat[::2], flat[1::2], strict=True)) if len(flat) % 2 == 0 else flat


_POINT = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_RING = {"type": "array", "items": _POINT, "minItems": 3}
Rings = Annotated[
    tuple[Annotated[tuple[Point, ...], Field(min_length=3)], ...],
    Field(min_length=1),
    BeforeValidator(_rings),
    WithJsonSchema({"anyOf": [_RING, {"type": "array", "items": _RING, "minItems": 1}]}),
]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Runs(_Document):
    """COCO run lengths: `counts` is COCO's compressed string or plain numbers; `size` is [height, width]."""

    counts: str | tuple[Annotated[int, Field(ge=0)], ...]
    size: tuple[int, int]


class SegmentDocument(_Document):
    """Words and one shape, in pixels of the scene from its top left corner."""

    text: Text = Field(default="", description="What the region shows, in free words.")
    strength: Number = Field(default=1.0, ge=0.0, description="Weight of this segment's guidance.")
    name: Text = Field(default="", description="What you call the segment.")
    stuff: bool = Field(default=False, description="Ground, sky, wall and the like: no countable thing.")
    box: tuple[Number, Number, Number, Number] | None = Field(default=None, description="[x0, y0, x1, y1].")
    polygon: Rings | None = Field(default=None, description="One ring of [x, y] points, or several.")
    rle: Runs | None = Field(default=None, description="COCO run lengths.")
    mask: str | None = Field(default=None, description="Picture file beside this one: white inside, grey is soft.")
    soft: str | None = Field(default=None, description="The same as PNG bytes in base64.")

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        given = [shape for shape in SHAPES if getattr(self, shape) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(SHAPES)}, and has {' and '.join(given) or 'none'}")
        return self

    @classmethod
    def from_segment(cls, segment: Segment) -> Self:
        words = {"text": segment.text, "strength": segment.strength, "name": segment.name, "stuff": segment.stuff}
        if ((segment.mask == 0) | (segment.mask == 1)).all():
            return cls(**words, rle=Runs(counts=encode_runs(segment.mask), size=segment.mask.shape))
        buffer = io.BytesIO()
        Image.fromarray((segment.mask * 255).round().astype(np.uint8)).save(buffer, "PNG")
        return cls(**words, soft=base64.b64encode(buffer.getvalue()).decode("ascii"))

    def pixels(self, size: tuple[int, int], folder: Path | None) -> np.ndarray:
        """The mask (H, W); raises UserError if the shape does not fit the scene."""
        height, width = size
        if self.box is not None:
            return self._box(self.box, size)
        if self.polygon is not None:
            mask = polygon_mask(self.polygon, size)
            if not mask.any():
                raise UserError(f"its polygon covers no pixel of the {width}x{height} scene; move or enlarge it")
            return mask
        if self.rle is not None:
            if self.rle.size != size:
                got = f"{self.rle.size[1]}x{self.rle.size[0]}"
                raise UserError(
                    f"its RLE is {got} pixels but the scene is {width}x{height}; its size is [height, width]"
                )
            return decode_runs(self.rle.counts, size)
        mask = self._picture(folder)
        if mask.shape != size:
            got = f"{mask.shape[1]}x{mask.shape[0]}"
            raise UserError(f"its mask is {got} pixels but the scene is {width}x{height}; make them the same size")
        return mask

    def _box(self, box: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
        x0, y0, x1, y1 = box
        if x1 <= x0 or y1 <= y0:
            raise UserError(f"its box {list(box)} has no area; give [x0, y0, x1, y1] with x0 < x1 and y0 < y1")
        if max(box) <= 1.0 < max(size) and any(v != int(v) for v in box):
            raise UserError(f"its box {list(box)} looks like fractions; give pixels of the {size[1]}x{size[0]} scene")
        mask = box_mask(box, size)
        if not mask.any():
            raise UserError(f"its box {list(box)} covers no pixel of the {size[1]}x{size[0]} scene; move or enlarge it")
        return mask

    def _picture(self, folder: Path | None) -> np.ndarray:
        if self.soft is not None:
            try:
                data = base64.b64decode(self.soft, validate=True)
            except ValueError as error:
                raise UserError("its soft mask is not base64; encode the PNG again") from error
            return soft_mask(data, "its soft mask")
        if folder is None:
            raise UserError(f"its mask is the file {self.mask!r}, which cannot be reached here; use rle or soft")
        return soft_mask(folder / str(self.mask))


class MapDocument(_Document):
    """An array: zlib-compressed little-endian bytes in base64."""

    dtype: Literal["bool", "uint8", "uint16", "int32", "int64", "float16", "float32", "float64"]
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2, max_length=3)]
    data: str

    @classmethod
    def from_array(cls, values: np.ndarray) -> Self:
        data = zlib.compress(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes(), 6)
        return cls.model_validate(
            {"dtype": values.dtype.name, "shape": values.shape, "data": base64.b64encode(data).decode("ascii")}
        )

    def array(self) -> np.ndarray:
        """The array; raises UserError if the bytes are damaged or not as many as `shape` says."""
        dtype = np.dtype(self.dtype).newbyteorder("<")
        size = math.prod(self.shape) * dtype.itemsize
        if size > 4 * VALUES:
            raise UserError(f"a map of shape {list(self.shape)} is too large; make it smaller")
        try:
            data = zlib.decompressobj().decompress(base64.b64decode(self.data, validate=True), size + 1)
        except (ValueError, zlib.error) as error:
            raise UserError("a map's bytes are damaged; write the scene again") from error
        if len(data) != size:
            raise UserError(f"a map does not hold the bytes of its shape {list(self.shape)}; write the scene again")
        return np.frombuffer(data, dtype).astype(np.dtype(self.dtype)).reshape(self.shape)


def _with_schema_key(schema: dict[str, Any]) -> None:
    """Let a scene file name its schema, so that editors can help."""
    schema["properties"]["$schema"] = {"type": "string"}


class SceneDocument(_Document):
    """A caption and segments from back to front."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        title="Scenewright scene",
        json_schema_extra=_with_schema_key,
    )
    format: Literal["scenewright-scene-1"] = "scenewright-scene-1"
    name: Text = Field(default="", description="What you call the scene.")
    caption: Text = Field(default="", description="What the whole picture shows.")
    width: int = Field(ge=1, le=PIXELS, description="Pixels.")
    height: int = Field(ge=1, le=PIXELS, description="Pixels.")
    segments: tuple[SegmentDocument, ...] = Field(default=(), description="From back to front.")
    maps: dict[str, MapDocument] = Field(default={}, description="Segmentation, depth, normals and other maps.")

    @model_validator(mode="before")
    @classmethod
    def _without_schema(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if k != "$schema"} if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.width * self.height > PIXELS:
            raise ValueError(f"{self.width}x{self.height} is over {PIXELS // 10**6} million pixels; make it smaller")
        if self.width * self.height * len(self.segments) > VALUES:
            raise ValueError(f"{len(self.segments)} masks of {self.width}x{self.height} are too many; make it smaller")
        return self

    @classmethod
    def from_scene(cls, scene: Scene) -> Self:
        """The document of a scene: hard masks and maps exactly, soft masks to 1/255. It needs no other file.

        Raises UserError for what no document can hold, such as a text of over 10,000 characters.
        """
        try:
            return cls(
                name=scene.name,
                caption=scene.caption,
                width=scene.size[1],
                height=scene.size[0],
                segments=tuple(SegmentDocument.from_segment(segment) for segment in scene.segments),
                maps={name: MapDocument.from_array(values) for name, values in scene.maps.items()},
            )
        except ValidationError as error:
            raise UserError(f"the scene cannot be written: {sentence(error)}") from error

    def scene(self, folder: Path | None = None) -> Scene:
        """The scene; mask files are looked up in `folder`, and refused without one. Raises UserError."""
        size = (self.height, self.width)
        segments = []
        for i, said in enumerate(self.segments):
            try:
                mask = said.pixels(size, folder)
            except UserError as error:
                raise UserError(f"segment {i} ({said.text or said.name or 'no words'}): {error}") from error
            segments.append(Segment(mask, said.text, said.strength, said.name, said.stuff))
        maps = {name: said.array() for name, said in self.maps.items()}
        return Scene(self.caption, tuple(segments), size, maps, self.name)


def sentence(error: ValidationError) -> str:
    """The first of pydantic's complaints in one line, with where it is and how many more there are."""
    first, *others = error.errors(include_url=False)
    where = ".".join(str(part) for part in first["loc"]) or "the document"
    said = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    got = "" if isinstance(first["input"], dict | list | tuple) else f" (found {str(first['input'])[:40]!r})"
    more = f" (and {len(others)} more mistakes)" if others else ""
    return f"{where}: {said[0].lower() + said[1:]}{got}{more}; correct it"


def schema_text() -> str:
    """The JSON Schema of a scene file, as published in docs/scene.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | SceneDocument.model_json_schema()
    return json.dumps(schema, indent=2) + "\n"
