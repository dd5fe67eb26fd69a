"""The variables of factor graphs over the reference world: their codecs, and their mirror images."""

from typing import Any

import numpy as np

from scenewright.errors import UserError
from scenewright.maps import Codec, Depth, Normals, Pose, Segmentation, Sketch, to_bytes
from scenewright.world import CLASSES, Sample, render

CAPTION, PICTURE = "caption", "image"
MAPS = ("segmentation", "depth", "normals", "sketch", "pose")


def codec_of(variable: str, size: tuple[int, int] = (128, 128)) -> Codec | None:
    """The codec of a variable of the world; None for the picture, which is its own. Raises UserError for others."""
    codecs: dict[str, Codec | None] = {
        "segmentation": Segmentation(CLASSES),
        "depth": Depth(),
        "normals": Normals(),
        "sketch": Sketch(),
        "pose": Pose(size),
        PICTURE: None,
    }
    if variable not in codecs:
        raise UserError(f"there is no variable '{variable}'; choose from {', '.join(codecs)}.")
    return codecs[variable]


def map_of(sample: Sample, variable: str) -> Any:
    """The exact map of a rendered scene."""
    if variable == "pose":
        return list(sample.poses.values())
    return getattr(sample, {"segmentation": "classes"}.get(variable, variable))


def mirrored(variable: str, values: Any, width: int = 128) -> Any:
    """The map of the mirrored picture: normals turn round, and the left arm becomes the right one."""
    if variable == "pose":
        return [{_other(joint): (width - x, y) for joint, (x, y) in person.items()} for person in values]
    flipped = np.ascontiguousarray(values[:, ::-1])
    return flipped * np.array([-1, 1, 1], flipped.dtype) if variable == "normals" else flipped


def both(variable: str, values: Any) -> np.ndarray:
    """(2, H, W, 3) uint8: the map's picture, and that of the mirrored map."""
    codec = codec_of(variable)
    if codec is None:
        return np.stack([values, values[:, ::-1]])
    return np.stack([to_bytes(codec.encode(each)) for each in (values, mirrored(variable, values))])


def rendered(job: tuple[str, int]) -> np.ndarray:
    """`both` of the map of a (variable, seed); here, so that a process that renders imports no torch."""
    return both(job[0], map_of(render(job[1], shaded=False), job[0]))


def _other(joint: str) -> str:
    side, _, rest = joint.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, joint)
