"""Editing maps, drawn or given, and drawing again what depends on them.

An edit takes a map's values, (H, W) or (H, W, C), and a region (H, W) bool, and returns new values of the same kind.
What a region leaves behind is filled from the nearest pixels outside it, so no void of a foreign colour stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from scenewright import masks
from scenewright.errors import UserError
from scenewright.graph.factor import FactorGraph
from scenewright.graph.sampling import Each, Variable, draw
from scenewright.guidance.keep import Keep


def region_of(labels: np.ndarray, label: int, at: tuple[float, float] | None = None) -> np.ndarray:
    """(H, W) bool: one connected piece of a label, that under the point `at` (x, y in fractions) or else the largest.

    Raises UserError when the map does not show the label, or not there.
    """
    pieces, count = ndimage.label(labels == label)  # pyright: ignore[reportGeneralTypeIssues] - scipy's stubs
    if not count:
        raise UserError(f"the map shows no label {label}; it has {', '.join(map(str, np.unique(labels)))}")
    if at is None:
        return pieces == 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    height, width = labels.shape
    row, column = (min(int(part * side), side - 1) for part, side in ((at[1], height), (at[0], width)))
    if not (0 <= at[0] <= 1 and 0 <= at[1] <= 1 and pieces[row, column]):
        raise UserError(f"there is no label {label} at {at}; give a point of it, in fractions of the picture")
    return pieces == pieces[row, column]


def delete(values: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The map without a region: each of its pixels becomes as the nearest one outside."""
    region = _checked(values, region)
    if region.all():
        raise UserError("the region is the whole map, so nothing is left to fill it with; choose a smaller one")
    rows, columns = ndimage.distance_transform_edt(region, return_distances=False, return_indices=True)  # pyright: ignore[reportGeneralTypeIssues] - scipy's stubs
    return values[rows, columns]


def move(values: np.ndarray, region: np.ndarray, by: tuple[float, float]) -> np.ndarray:
    """A region shifted by (dx, dy) fractions of the picture, to whole pixels; what leaves the frame is lost."""
    height, width = values.shape[:2]
    rows, columns = np.arange(height) - round(by[1] * height), np.arange(width) - round(by[0] * width)
    return _carried(values, region, rows, columns)


def resize(values: np.ndarray, region: np.ndarray, factor: float) -> np.ndarray:
    """A region scaled about the centre of its box by a factor above 0, at most 100, without blending labels."""
    if not 0 < factor <= 100:
        raise UserError(f"cannot resize by {factor}; give a factor above 0, at most 100")
    x0, y0, x1, y1 = _box(values, region)
    rows, columns = (
        np.floor((np.arange(side) + 0.5 - centre) / factor + centre).astype(int)
        for side, centre in zip(values.shape, ((y0 + y1) / 2, (x0 + x1) / 2), strict=False)
    )
    return _carried(values, region, rows, columns)


def flip(values: np.ndarray, region: np.ndarray, normals: bool = False) -> np.ndarray:
    """A region mirrored left and right inside its box; with `normals` the vectors turn round too."""
    x0, _, x1, _ = _box(values, region)
    source = values * np.array([-1, 1, 1], values.dtype) if normals else values
    columns = x0 + x1 - 1 - np.arange(values.shape[1])
    return _carried(values, region, np.arange(values.shape[0]), columns, source)


def repaint(values: np.ndarray, region: np.ndarray, value: Any) -> np.ndarray:
    """A region given one value: another label, another depth. Also how something is added."""
    return np.where(_across(_checked(values, region), values), np.asarray(value, values.dtype), values)


def paste(values: np.ndarray, other: np.ndarray, region: np.ndarray, by: tuple[float, float] = (0, 0)) -> np.ndarray:
    """A region of another map of the same size (an object drawn alone, say) put on this one, shifted by (dx, dy)."""
    if other.shape != values.shape:
        raise UserError(f"a map of shape {other.shape} cannot be pasted on one of {values.shape}; resize one of them")
    height, width = values.shape[:2]
    rows, columns = np.arange(height) - round(by[1] * height), np.arange(width) - round(by[0] * width)
    return _carried(values, region, rows, columns, other, values)


def scribble(sketch: np.ndarray, text: str, at: tuple[float, float], height: float = 0.1) -> np.ndarray:
    """Text written on a sketch (H, W) bool from (x, y) on, its lines `height` high (fractions of the picture)."""
    if sketch.ndim != 2 or sketch.dtype != bool:
        raise UserError("text is written on a sketch of true and false; threshold the map first")
    size = round(height * sketch.shape[0])
    if size < 5:
        raise UserError(f"letters {size} pixels high cannot be read; give a larger height")
    canvas = Image.new("L", sketch.shape[::-1])
    place = (at[0] * sketch.shape[1], at[1] * sketch.shape[0])
    ImageDraw.Draw(canvas).text(place, text, 255, ImageFont.load_default(size))
    return sketch | (np.asarray(canvas) > 127)


def push(depth: np.ndarray, region: np.ndarray, other: np.ndarray, behind: bool = False) -> np.ndarray:
    """A region's depths scaled so that all of it lies in front of another region, or behind it.

    Scaling keeps its shape in perspective. Raises UserError where the other region is infinitely far.
    """
    region, other = _checked(depth, region), _checked(depth, other)
    mine, theirs = depth[region], depth[other]
    if not mine.size or not theirs.size or not np.isfinite(mine).any():
        raise UserError("a region without pixels, or of nothing but sky, cannot be pushed; choose another")
    limit, edge = (theirs.max(), mine.min()) if behind else (theirs.min(), mine[np.isfinite(mine)].max())
    if not np.isfinite(limit):
        raise UserError("nothing can be put behind the sky; choose another region")
    factor = limit / edge * (1.05 if behind else 0.95)
    done = factor <= 1 if behind else factor >= 1
    return depth if done else np.where(region, depth * depth.dtype.type(factor), depth)


def redraw(
    graph: FactorGraph,
    given: Mapping[str, Any],
    drawn: Mapping[str, Variable],
    edited: Mapping[str, Any],
    seeds: Sequence[int],
    changed: np.ndarray | None = None,
) -> dict[str, Variable]:
    """Draw again, with the same seeds, what depends on the `edited` maps; the rest stays as `given` or `drawn`.

    With `changed` (H, W) bool the new pictures and maps keep the old latents outside it. Returns the new variables.
    Raises UserError when nothing depends on the edit.
    """
    again = graph.descendants(edited)
    if not again:
        raise UserError(f"nothing depends on {', '.join(edited)}; edit a map that something is drawn under.")
    known = {name: Each(variable.maps) for name, variable in drawn.items() if variable.maps is not None}
    known = {**known, **given, **edited}
    used = {parent for name in again for parent in graph[name].parents} - set(again)
    if changed is not None:
        graph = _keeping(graph, drawn, again, changed)
    return draw(graph, {name: value for name, value in known.items() if name in used}, seeds, wanted=again)


def _keeping(
    graph: FactorGraph, drawn: Mapping[str, Variable], again: Sequence[str], changed: np.ndarray
) -> FactorGraph:
    """The same graph whose factors hold what lies outside `changed`: a cell is free where any of its pixels is."""
    factors = []
    for factor in graph.factors:
        if factor.variable in again and factor.variable in drawn:
            latents = drawn[factor.variable].latents
            mask = torch.from_numpy(changed.astype(np.float32))[None, None]
            free = F.adaptive_max_pool2d(mask, latents.shape[-2:])[0, 0]
            factor = replace(factor, guidance=(*factor.guidance, Keep(latents, free)))
        factors.append(factor)
    return replace(graph, factors=tuple(factors))


def _carried(
    values: np.ndarray,
    region: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    source: np.ndarray | None = None,
    ground: np.ndarray | None = None,
) -> np.ndarray:
    """`ground` (the map without the region) with source[rows][:, columns] where the region comes to lie."""
    source, region = values if source is None else source, _checked(values, region)
    ground = delete(values, region) if ground is None else ground
    target = masks.taken(region, rows, columns).astype(bool)
    height, width = values.shape[:2]
    carried = source[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)]
    return np.where(_across(target, values), carried, ground)


def _box(values: np.ndarray, region: np.ndarray) -> tuple[int, int, int, int]:
    found = masks.extent(_checked(values, region))
    if found is None:
        raise UserError("the region has no pixels; choose one that is on the map")
    return found


def _checked(values: np.ndarray, region: np.ndarray) -> np.ndarray:
    region = np.asarray(region)
    if region.dtype != bool or region.shape != values.shape[:2]:
        raise UserError(
            f"a region of shape {region.shape} does not fit; give true or false for {values.shape[:2]} pixels"
        )
    return region


def _across(region: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A region that broadcasts to the map's channels."""
    return region.reshape(*region.shape, *(1,) * (values.ndim - 2))
