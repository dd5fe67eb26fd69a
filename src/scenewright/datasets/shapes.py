"""Shapes that stand for masks in files: boxes, polygons, COCO run lengths. All coordinates are pixels, (x, y)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from scenewright.errors import UserError

Ring = Sequence[Sequence[float]]


def box_mask(box: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32, 1 at pixels whose centre lies in [x0, x1) x [y0, y1); what is outside the picture is cut."""
    x0, y0, x1, y1 = box
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    inside = ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))
    return inside.astype(np.float32)


def polygon_mask(rings: Sequence[Ring], size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32, 1 inside any ring, rasterised as COCO does it; what is outside the picture is cut.

    Raises UserError for a ring of fewer than 3 points, or a point more than a picture's length outside: the
    rasteriser walks along every edge.
    """
    height, width = size
    flat = []
    for ring in rings:
        points = np.asarray(ring, np.float64).reshape(-1, 2)
        if len(points) < 3:
            raise UserError(f"a polygon of {len(points)} points has no inside; give at least 3")
        far = (points < (-width, -height)) | (points > (2 * width, 2 * height)) | ~np.isfinite(points)
        if far.any():
            x, y = points[far.any(axis=1)][0]
            raise UserError(f"polygon point ({x:g}, {y:g}) lies far outside the {width}x{height} picture; give pixels")
        flat.append(points.reshape(-1).tolist())
    if not flat:
        return np.zeros(size, np.float32)
    runs: Any = coco.merge(coco.frPyObjects(flat, height, width))
    return decode_runs(runs["counts"].decode("ascii"), size)


def encode_runs(mask: np.ndarray) -> str:
    """Compressed COCO run lengths of a hard mask (H, W)."""
    runs: Any = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return runs["counts"].decode("ascii")


def decode_runs(counts: str | Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 from COCO run lengths, compressed (a string) or not (numbers): down columns, 0 first.

    Raises UserError if they are damaged. The string is read here, because the C decoder trusts it blindly.
    """
    runs = np.asarray(_numbers(counts) if isinstance(counts, str) else counts, np.float64)
    height, width = size
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise UserError(
            f"the RLE counts cover {runs.sum():.0f} pixels, not the {height * width} of {width}x{height}, "
            "or some are negative; encode the mask again"
        )
    values = np.arange(len(runs)) % 2
    return np.repeat(values, runs.astype(np.int64)).reshape(width, height).T.astype(np.float32)


def _numbers(text: str) -> list[int]:
    """COCO's string: base 32 digits from '0' on, low first, bit 5 = more follow; from the third, differences."""
    numbers: list[int] = []
    value = place = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or place > 12:
            raise UserError(f"the RLE string holds {character!r}, which is not COCO's coding; encode the mask again")
        value |= (digit & 31) << (5 * place)
        place += 1
        if not digit & 32:
            if digit & 16:
                value -= 1 << (5 * place)
            numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
            value = place = 0
    if place:
        raise UserError("the RLE string is cut short; encode the mask again")
    return numbers
