"""Colours that can be told apart: corners of a cubic grid in RGB, whose least distance is known beforehand.

The grid of k levels a side holds k^3 colours, every two of them at least 255 // (k - 1) apart in some channel. The
palette of FG-DM's release (bits of the label, as in PASCAL VOC) comes to 32 for its 183 labels, and is decoded with
windows of +-28, which overlap; here the nearest colour wins.
"""

from functools import cache

import numpy as np
from scipy import ndimage

from scenewright.errors import UserError

MOST = 4096  # labels; a grid of 16 levels, 17 apart


@cache
def _levels(count: int) -> int:
    if not 1 <= count <= MOST:
        raise UserError(f"{count} colours cannot be kept apart; give 1 to {MOST} labels")
    return next(k for k in range(2, 17) if k**3 >= count)


def spacing(count: int) -> int:
    """Least distance, in the channel where they differ most, of two of `palette(count)`'s colours (of 255)."""
    return 255 // (_levels(count) - 1)


@cache
def _palette(count: int) -> np.ndarray:
    line = np.arange(_levels(count)) * spacing(count)
    grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    order, gap = [0], np.full(len(grid), np.inf)
    while len(order) < count:  # farthest first, so that small label sets get colours farther apart still
        gap = np.minimum(gap, ((grid - grid[order[-1]]) ** 2).sum(1))
        order.append(int(gap.argmax()))
    colours = grid[order].astype(np.uint8)
    colours.flags.writeable = False
    return colours


def palette(count: int) -> np.ndarray:
    """(count, 3) uint8 colours of labels 0 to count - 1, read-only; label 0 is black.

    Always ask for the whole label set, never for the labels that one picture happens to hold: the colours of a label
    depend on `count`. Raises UserError for more than 4096.
    """
    return _palette(count)


def nearest(picture: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index (H, W) of the nearest of `colours` (M, 3), by Euclidean distance, and the distance in its worst channel.

    `picture` (H, W, 3) is on the scale 0 to 255.
    """
    flat, values = picture.reshape(-1, 3).astype(np.float32), colours.astype(np.float32)
    far = (flat**2).sum(1)[:, None] - 2 * flat @ values.T + (values**2).sum(1)
    index = far.argmin(1)
    worst = np.abs(flat - values[index]).max(1)
    return index.reshape(picture.shape[:2]), worst.reshape(picture.shape[:2])


def vote(labels: np.ndarray, weights: np.ndarray, reach: int) -> np.ndarray:
    """(H, W) for each pixel the label with most weight in a square of 2 reach + 1 pixels; its own where none has any.

    `weights` (H, W), 0 or more. Of equal labels the smaller wins.
    """
    best, winner, side = np.full(labels.shape, 1e-6), labels.copy(), 2 * reach + 1
    for label in np.unique(labels):
        share = ndimage.uniform_filter(np.where(labels == label, weights, 0).astype(np.float64), side, mode="constant")
        wins = share > best + 1e-9
        best[wins], winner[wins] = share[wins], label
    return winner
