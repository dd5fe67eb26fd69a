"""Box layouts as language models and benchmarks write them: {"prompt", "canvas": [w, h], "boxes": [{"text", "xyxy"}]}.

Boxes are corners (`xyxy`) or corner and size (`xywh`), in pixels of the canvas; without a canvas, or with [1, 1], they
are fractions of a 512x512 picture. Published layouts hold boxes that leave the canvas or have no area: the first are
cut, the second become segments without pixels, and lint names them.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scenewright.datasets.shapes import box_mask
from scenewright.errors import UserError
from scenewright.scene import Scene, Segment
from scenewright.scene_io.document import Number, Text

SIDE = 512
Corners = tuple[Number, Number, Number, Number]


class TextBox(BaseModel):
    model_config = ConfigDict(frozen=True)
    text: Text
    xyxy: Corners | None = None
    xywh: Corners | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "TextBox":
        if (self.xyxy is None) == (self.xywh is None):
            raise ValueError("needs either xyxy or xywh")
        return self

    def corners(self) -> Corners:
        if self.xyxy is not None:
            return self.xyxy
        x, y, width, height = self.xywh or (0.0, 0.0, 0.0, 0.0)
        return x, y, x + width, y + height


class BoxLayout(BaseModel):
    """Keys not named here are ignored. Later boxes are in front."""

    model_config = ConfigDict(frozen=True)
    id: str | int = ""
    prompt: Text
    canvas: tuple[Annotated[int, Field(ge=1, le=8000)], Annotated[int, Field(ge=1, le=8000)]] | None = None
    boxes: Annotated[tuple[TextBox, ...], Field(max_length=1000)]

    def scene(self, name: str = "") -> Scene:
        """The scene; raises UserError if boxes without a canvas are no fractions."""
        corners = [box.corners() for box in self.boxes]
        fractions = self.canvas in (None, (1, 1))
        if fractions and any(abs(value) > 2 for box in corners for value in box):
            raise UserError('boxes in pixels need a "canvas": [width, height]; add it')
        width, height = (SIDE, SIDE) if fractions or self.canvas is None else self.canvas
        scale = (SIDE if fractions else 1,) * 4
        segments = [
            Segment(box_mask([v * s for v, s in zip(place, scale, strict=True)], (height, width)), box.text)
            for box, place in zip(self.boxes, corners, strict=True)
        ]
        return Scene(self.prompt, tuple(segments), (height, width), name=name or str(self.id))
