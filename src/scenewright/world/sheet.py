"""Contact sheets: many pictures, or one scene with all its maps, in one."""

import numpy as np

from .sample import Sample
from .vocabulary import CLASSES


def palette(count: int = len(CLASSES)) -> np.ndarray:
    """(count, 3) uint8 colours, far apart in hue and lightness; entry 0 is black."""
    index = np.arange(count)
    hue = (index * 0.618034) % 1.0
    light = 0.55 + 0.4 * ((index * 7) % 3) / 2
    ramp = np.abs((hue[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    rgb = np.clip(ramp, 0, 1) * 0.8 + 0.2
    colours = np.round(255 * rgb * light[:, None]).astype(np.uint8)
    colours[0] = 0
    return colours


def maps_of(sample: Sample) -> dict[str, np.ndarray]:
    """Each map of a scene as an (H, W, 3) uint8 picture for looking at."""
    near = np.clip(1.6 / np.maximum(sample.depth, 1.6), 0, 1)
    pose = sample.image // 4
    for joints in sample.poses.values():
        for x, y in joints.values():
            column, row = int(x), int(y)
            pose[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = (255, 210, 60)
    return {
        "picture": sample.image,
        "classes": palette()[sample.classes],
        "instances": palette(256)[sample.instances],
        "depth": np.repeat(np.round(255 * near).astype(np.uint8)[..., None], 3, 2),
        "normals": np.round(127.5 * (sample.normals * np.array([1, -1, -1]) + 1)).astype(np.uint8),
        "sketch": np.repeat(np.where(sample.sketch, 0, 255).astype(np.uint8)[..., None], 3, 2),
        "pose": pose,
    }


def grid(pictures: list[np.ndarray], columns: int, gap: int = 2) -> np.ndarray:
    """One white-ruled (H, W, 3) uint8 picture of equal pictures, row by row."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        y, x = index // columns * (height + gap), index % columns * (width + gap)
        sheet[y : y + height, x : x + width] = picture
    return sheet


def contact_sheet(samples: list[Sample], columns: int = 8, with_maps: int = 2) -> np.ndarray:
    """Pictures of all samples, then every map of the `with_maps` scenes that hold the most people and objects."""
    rows = [sample.image for sample in samples[: len(samples) // columns * columns or len(samples)]]
    best = sorted(samples, key=lambda s: (bool(s.poses), len(s.composition.things)), reverse=True)[:with_maps]
    blank = np.full_like(rows[0], 255)
    for sample in best:
        views = list(maps_of(sample).values())
        rows += (views + [blank] * columns)[:columns] if columns >= len(views) else views[:columns]
    return grid(rows, columns)
