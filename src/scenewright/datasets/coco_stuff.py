"""COCO-Stuff label pictures (Caesar et al., 2018): a pixel is the COCO class id minus 1, 255 is void."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scenewright.datasets.coco_names import COCO_STUFF, FIRST_STUFF, spoken
from scenewright.datasets.pictures import label_values
from scenewright.errors import UserError
from scenewright.scene import Scene, Segment

VOID = 255


def read_coco_stuff(
    label: Path,
    caption: str = "",
    instances: Path | None = None,
    names: Mapping[int, str] = COCO_STUFF,
) -> Scene:
    """The scene of a label picture: one segment per class, stuff behind, things in front from large to small.

    `instances`: a grey picture that gives each thing its own value (and stuff its class), as SPADE ships; with it each
    instance of a thing is a segment. `names`: COCO class id -> name. Raises UserError if a picture cannot be read, the
    two differ in size, or a value is no class.
    """
    values = label_values(label)
    parts = values if instances is None else label_values(instances)
    if parts.shape != values.shape:
        raise UserError(f"{label} and {instances} differ in size; give the two pictures of one photo")
    segments = []
    for value in np.unique(values[values != VOID]):
        name = names.get(int(value) + 1)
        if name is None:
            raise UserError(
                f"{label} holds the value {value}, which is no COCO-Stuff class; values are id - 1 (0 to 181) and 255"
            )
        is_stuff = int(value) + 1 >= FIRST_STUFF
        region = values == value
        pieces = (
            [region] if is_stuff or instances is None else [region & (parts == i) for i in np.unique(parts[region])]
        )
        segments += [Segment(piece, spoken(name), name=name, stuff=is_stuff) for piece in pieces]
    segments.sort(key=lambda s: (not s.stuff, -s.area))
    return Scene(caption, tuple(segments), values.shape, name=label.stem)
