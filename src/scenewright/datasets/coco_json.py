"""What COCO's JSON files share, and its instance form: `annotations` with a `segmentation` each (Lin et al., 2014)."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from scenewright.datasets.coco_names import spoken
from scenewright.datasets.pictures import PIXELS
from scenewright.datasets.shapes import decode_runs, polygon_mask
from scenewright.errors import UserError
from scenewright.scene import Scene, Segment


class CocoImage(BaseModel):
    id: int
    file_name: str
    width: int = Field(ge=1, le=PIXELS)
    height: int = Field(ge=1, le=PIXELS)


class CocoCategory(BaseModel):
    id: int
    name: str
    isthing: bool = True
    supercategory: str = ""


class CocoRuns(BaseModel):
    counts: str | tuple[int, ...]
    size: tuple[int, int]


class CocoAnnotation(BaseModel):
    id: int
    image_id: int
    category_id: int
    segmentation: CocoRuns | tuple[tuple[float, ...], ...]


def parsed(model: type[BaseModel], data: Any, path: Path, what: str) -> Any:
    """`data` as a model; raises UserError that says which part of the file is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} has a wrong {what} ({where}: {first['msg'].lower()}); correct it") from error


def parsed_by_id(model: type[BaseModel], rows: Any, path: Path, what: str) -> dict[int, Any]:
    """Rows of a COCO table by their `id`."""
    if not isinstance(rows, list):
        raise UserError(f"{path} has no list of {what}s; give the whole COCO file")
    return {row.id: row for row in (parsed(model, row, path, what) for row in rows)}


def captions_of(data: Any) -> dict[int, str]:
    """First caption of each image id, from a COCO captions file's content."""
    first: dict[int, str] = {}
    for row in data.get("annotations", ()) if isinstance(data, dict) else ():
        match row:
            case {"image_id": int(image), "caption": str(caption)}:
                first.setdefault(image, " ".join(caption.split()))
    return first


class CocoInstances:
    """Scenes of a COCO instance or stuff file, by image id; each is built when asked for."""

    def __init__(self, data: Any, path: Path, captions: dict[int, str] | None = None) -> None:
        self.path, self.captions = path, captions or {}
        self.images: dict[int, CocoImage] = parsed_by_id(CocoImage, data.get("images"), path, "image")
        self.categories: dict[int, CocoCategory] = parsed_by_id(CocoCategory, data.get("categories"), path, "category")
        self.rows: dict[int, list[Any]] = defaultdict(list)
        for row in data["annotations"]:
            match row:
                case {"image_id": int(image)}:
                    self.rows[image].append(row)
                case _:
                    raise UserError(f"{path} has an annotation without a whole number as image_id; correct it")

    def scene(self, image_id: int) -> Scene:
        """Stuff behind, things in front from large to small. Raises UserError if an annotation is wrong."""
        image = self.images[image_id]
        segments = [self._segment(row, image) for row in self.rows[image_id]]
        segments.sort(key=lambda s: (not s.stuff, -s.area))
        caption = self.captions.get(image_id, "")
        return Scene(caption, tuple(segments), (image.height, image.width), name=Path(image.file_name).stem)

    def _segment(self, row: Any, image: CocoImage) -> Segment:
        note: CocoAnnotation = parsed(CocoAnnotation, row, self.path, "annotation")
        category = self.categories.get(note.category_id)
        if category is None:
            raise UserError(f"{self.path}: annotation {note.id} has the unknown category {note.category_id}; add it")
        try:
            mask = self._mask(note, (image.height, image.width))
        except UserError as error:
            raise UserError(f"{self.path}: annotation {note.id}: {error}") from error
        stuff = not category.isthing or note.category_id >= 92
        return Segment(mask, spoken(category.name), name=str(note.id), stuff=stuff)

    @staticmethod
    def _mask(note: CocoAnnotation, size: tuple[int, int]) -> np.ndarray:
        if not isinstance(note.segmentation, CocoRuns):
            return polygon_mask([tuple(zip(ring[::2], ring[1::2], strict=False)) for ring in note.segmentation], size)
        if note.segmentation.size != size:
            raise UserError(f"its RLE is of size {note.segmentation.size}, the image of {size}; make them agree")
        return decode_runs(note.segmentation.counts, size)
