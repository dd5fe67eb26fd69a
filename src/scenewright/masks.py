"""Arithmetic on one mask: an array (H, W) of values in [0, 1]. Nothing here knows scenes."""

import numpy as np

from scenewright.errors import UserError


def extent(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """(x0, y0, x1, y1) in pixels around all values above 0."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else None


def taken(mask: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """mask[rows][:, columns], 0 where an index lies outside."""
    height, width = mask.shape
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    return mask[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)] * inside


def mirrored(mask: np.ndarray) -> np.ndarray:
    found = extent(mask)
    if found is None:
        return mask
    x0, _, x1, _ = found
    return np.concatenate([mask[:, :x0], mask[:, x0:x1][:, ::-1], mask[:, x1:]], axis=1)


def scaled(mask: np.ndarray, factor: float) -> np.ndarray:
    found = extent(mask)
    if found is None or factor == 1.0:
        return mask
    x0, y0, x1, y1 = found
    out = mask
    for axis, centre in ((0, (y0 + y1) / 2), (1, (x0 + x1) / 2)):
        source = (np.arange(mask.shape[axis]) + 0.5 - centre) / factor + centre - 0.5
        low = np.floor(source).astype(int)
        share = (source - low).astype(np.float32)
        lines = [np.arange(n) for n in mask.shape]
        sides = []
        for index in (low, low + 1):
            lines[axis] = index
            sides.append(taken(out, lines[0], lines[1]))
        share = share[:, None] if axis == 0 else share
        out = sides[0] * (1 - share) + sides[1] * share
    hard = bool(((mask == 0) | (mask == 1)).all())
    return (out >= 0.5).astype(np.float32) if hard else np.clip(out, 0, 1)


def shares(old: int, new: int) -> np.ndarray:
    """(new, old) float64 weights: the share of each old pixel in each new one; rows sum to 1."""
    if new < 1:
        raise UserError(f"cannot resize a scene to {new} pixels; give a positive size")
    edges = np.arange(new + 1) * (old / new)
    pixels = np.arange(old)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return covered.clip(0) * (new / old)
