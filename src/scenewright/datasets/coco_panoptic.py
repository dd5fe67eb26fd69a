"""COCO panoptic (Kirillov et al., 2019): a JSON, and a folder of PNGs where R + 256 G + 65536 B is a segment's id."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from scenewright.datasets.coco_json import CocoCategory, CocoImage, parsed, parsed_by_id
from scenewright.datasets.coco_names import spoken
from scenewright.datasets.pictures import open_picture
from scenewright.errors import UserError
from scenewright.scene import Scene, Segment


class PanopticSegment(BaseModel):
    id: int
    category_id: int


class PanopticAnnotation(BaseModel):
    image_id: int
    file_name: str
    segments_info: tuple[PanopticSegment, ...]


class CocoPanoptic:
    """Scenes of a COCO panoptic file, by image id; each is built when asked for.

    The PNGs are looked up in the folder named as the file (`panoptic_val2017/` for `panoptic_val2017.json`), or beside
    it. An id that JSON or PNG lacks becomes a segment without pixels or without words, and lint names it.
    """

    def __init__(self, data: Any, path: Path, captions: dict[int, str] | None = None) -> None:
        self.path, self.captions = path, captions or {}
        self.images: dict[int, CocoImage] = parsed_by_id(CocoImage, data.get("images"), path, "image")
        self.categories: dict[int, CocoCategory] = parsed_by_id(CocoCategory, data.get("categories"), path, "category")
        notes = [parsed(PanopticAnnotation, row, path, "annotation") for row in data["annotations"]]
        self.notes: dict[int, PanopticAnnotation] = {note.image_id: note for note in notes}

    def scene(self, image_id: int) -> Scene:
        """Stuff behind, things in front from large to small. Raises UserError if PNG and JSON do not match."""
        note = self.notes[image_id]
        picture = self._picture(note)
        ids = panoptic_ids(picture)
        image = self.images.get(image_id)
        if image is not None and ids.shape != (image.height, image.width):
            got = f"{ids.shape[1]}x{ids.shape[0]}"
            raise UserError(
                f"{picture} is {got} pixels but {self.path.name} says {image.width}x{image.height}; use its own PNG"
            )
        segments = [self._segment(ids == part.id, part) for part in note.segments_info]
        known = [0, *(part.id for part in note.segments_info)]
        strangers = np.setdiff1d(np.unique(ids), known)
        if len(strangers) > 1000:
            raise UserError(
                f"{picture} holds {len(strangers)} ids that {self.path.name} lacks; use the PNG of this file"
            )
        segments += [Segment(ids == i, "", name=str(i)) for i in strangers]
        segments.sort(key=lambda s: (not s.stuff, -s.area))
        return Scene(self.captions.get(image_id, ""), tuple(segments), ids.shape, name=Path(note.file_name).stem)

    def _segment(self, mask: np.ndarray, part: PanopticSegment) -> Segment:
        category = self.categories.get(part.category_id)
        if category is None:
            raise UserError(f"{self.path}: segment {part.id} has the unknown category {part.category_id}; add it")
        return Segment(mask, spoken(category.name), name=str(part.id), stuff=not category.isthing)

    def _picture(self, note: PanopticAnnotation) -> Path:
        places = [self.path.with_suffix("") / note.file_name, self.path.parent / note.file_name]
        for place in places:
            if place.is_file():
                return place
        raise UserError(f"{self.path} names {note.file_name}, which is not in {places[0].parent}; put its PNGs there")


def panoptic_ids(path: Path) -> np.ndarray:
    """(H, W) int64 ids of a panoptic PNG; raises UserError if it is no RGB picture."""
    picture = open_picture(path)
    if picture.mode not in ("RGB", "RGBA"):
        raise UserError(f"{path} is no RGB picture ({picture.mode}); COCO panoptic ids are R + 256 G + 65536 B")
    rgb = np.asarray(picture.convert("RGB")).astype(np.int64)
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
