"""What a user says about a picture: a caption and segments with words. Values; every edit returns a new scene.

Pixel (row, column) covers [column, column + 1) x [row, row + 1); fractions are of the width and of the height.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module

import numpy as np

from scenewright import masks
from scenewright.errors import UserError

Which = int | str


@dataclass(frozen=True, eq=False)
class Segment:
    """A region and its words.

    mask: (H, W) float32 in [0, 1], read-only; soft values are allowed. text: free words, may be empty.
    strength: weight of this segment's guidance, 0 or more. name: what the user calls it. stuff: ground, sky, wall, ….
    Raises UserError if the mask is not a finite 2-D array in [0, 1], or the strength is not finite and >= 0.
    """

    mask: np.ndarray
    text: str
    strength: float = 1.0
    name: str = ""
    stuff: bool = False

    def __post_init__(self) -> None:
        mask = np.array(self.mask, dtype=np.float32)
        label = f"segment {self.text or self.name!r}"
        if mask.ndim != 2 or mask.size == 0:
            raise UserError(f"{label} has a mask of shape {mask.shape}; give an array (height, width)")
        if not (mask.min() >= 0.0 and mask.max() <= 1.0):  # also false for NaN
            raise UserError(f"{label} has mask values outside 0 to 1 or not finite; scale the mask to 0 to 1")
        if not (math.isfinite(self.strength) and self.strength >= 0.0):
            raise UserError(f"{label} has strength {self.strength}; give a finite number, 0 or more")
        mask.flags.writeable = False
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "text", " ".join(self.text.split()))

    @property
    def area(self) -> float:
        """Share of the picture that the mask covers, in [0, 1]."""
        return float(self.mask.mean(dtype=np.float64))

    @property
    def box(self) -> tuple[float, float, float, float] | None:
        """(x0, y0, x1, y1) of the mask as fractions of the picture; None if the mask is empty."""
        found = masks.extent(self.mask)
        if found is None:
            return None
        (height, width), (x0, y0, x1, y1) = self.mask.shape, found
        return x0 / width, y0 / height, x1 / width, y1 / height

    def same_as(self, other: "Segment") -> bool:
        """Whether words, numbers and every mask value are equal."""
        mine = (self.text, self.strength, self.name, self.stuff)
        return mine == (other.text, other.strength, other.name, other.stuff) and np.array_equal(self.mask, other.mask)


@dataclass(frozen=True, eq=False)
class Scene:
    """A caption, segments from back to front, and maps (segmentation, depth, …) of one picture.

    size: (H, W) in pixels. maps: arrays (H, W) or (H, W, C), read-only. name: what the user calls the scene.
    Equal by content. Raises UserError if a mask or map has another size.
    """

    caption: str
    segments: tuple[Segment, ...]
    size: tuple[int, int]
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        height, width = (int(side) for side in self.size)
        if height < 1 or width < 1:
            raise UserError(f"a scene of {width}x{height} pixels has no room; give a positive width and height")
        object.__setattr__(self, "size", (height, width))
        object.__setattr__(self, "segments", tuple(self.segments))
        object.__setattr__(self, "maps", {name: _read_only(values) for name, values in self.maps.items()})
        regions = [(s.text or s.name, s.mask) for s in self.segments]
        for label, values in [*regions, *self.maps.items()]:
            if values.shape[:2] != self.size:
                shape = "x".join(map(str, values.shape[1::-1]))
                raise UserError(f"{label!r} is {shape} pixels but the scene is {width}x{height}; resize one of them")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scene) and self.same_as(other)

    def __hash__(self) -> int:
        return hash((self.caption, self.size, self.name, tuple(s.text for s in self.segments)))

    def same_as(self, other: "Scene") -> bool:
        """Whether words, masks and maps are all equal."""
        return (
            (self.caption, self.size, self.name) == (other.caption, other.size, other.name)
            and len(self.segments) == len(other.segments)
            and all(a.same_as(b) for a, b in zip(self.segments, other.segments, strict=True))
            and self.maps.keys() == other.maps.keys()
            and all(_same(values, other.maps[name]) for name, values in self.maps.items())
        )

    # Reading

    def index(self, which: Which) -> int:
        """Position of the segment that `which` means: a position, a name, or words. Raises UserError if not one."""
        if isinstance(which, int | np.integer):
            if -len(self.segments) <= which < len(self.segments):
                return int(which) % len(self.segments)
            raise UserError(f"there is no segment {which}; the scene has {len(self.segments)}, counted from 0")
        for wanted, said in ((which, "name"), (which, "text"), (which.casefold(), "folded")):
            keys = [s.text.casefold() if said == "folded" else getattr(s, said) for s in self.segments]
            found = [i for i, key in enumerate(keys) if key and key == wanted]
            if len(found) == 1:
                return found[0]
            if found:
                raise UserError(f"{len(found)} segments are called {which!r}; say which by position: {found}")
        names = ", ".join(repr(s.text or s.name) for s in self.segments) or "no segment"
        raise UserError(f"there is no segment {which!r}; the scene has {names}")

    def visible(self) -> Iterator[tuple[int, np.ndarray]]:
        """(position, what is seen of the mask) from front to back; a pixel's shares sum to at most 1.

        A segment gets what those in front leave of the pixel: soft edges that add up to 1 stay as they are.
        """
        left = np.ones(self.size, np.float32)
        for i in reversed(range(len(self.segments))):
            seen = np.minimum(self.segments[i].mask, left)
            left = left - seen
            yield i, seen

    def exclusive(self) -> "Scene":
        """The scene with masks that no longer overlap: later segments are in front and win."""
        seen = dict(self.visible())
        return replace(self, segments=tuple(replace(s, mask=seen[i]) for i, s in enumerate(self.segments)))

    def label_map(self) -> np.ndarray:
        """(H, W) int64: i + 1 where segment i has the largest visible share, 0 where unlabelled has a larger one."""
        labels, best, left = np.zeros(self.size, np.int64), np.zeros(self.size, np.float32), np.ones(self.size)
        for i, seen in self.visible():
            wins = seen > best
            labels[wins], best[wins] = i + 1, seen[wins]
            left -= seen
        labels[best < left] = 0
        return labels

    def drawable(self) -> "Scene":
        """The scene without segments that say nothing or cover nothing: no method can use them."""
        return replace(self, segments=tuple(s for s in self.segments if s.text and s.mask.any()))

    # Edits: each returns a new scene

    def move(self, which: Which, by: tuple[float, float]) -> "Scene":
        """Shift a segment by (dx, dy) fractions of the picture, to whole pixels; what leaves the frame is lost."""
        if not all(math.isfinite(d) and abs(d) <= 1 for d in by):
            raise UserError(f"cannot move by {by}; give fractions of the picture from -1 to 1")
        height, width = self.size
        rows, columns = np.arange(height) - round(by[1] * height), np.arange(width) - round(by[0] * width)
        return self._with(which, lambda s: replace(s, mask=masks.taken(s.mask, rows, columns)))

    def resize(self, which: Which, factor: float) -> "Scene":
        """Scale a segment about the centre of its box; hard masks stay hard. `factor` is above 0, at most 100.

        Raises UserError if nothing of it would be left.
        """
        if not 0.0 < factor <= 100.0:
            raise UserError(f"cannot resize by {factor}; give a factor above 0, at most 100")

        def scaled(segment: Segment) -> Segment:
            mask = masks.scaled(segment.mask, factor)
            if segment.mask.any() and not mask.any():
                raise UserError(f"{segment.text!r} would vanish when resized by {factor}; choose a larger factor")
            return replace(segment, mask=mask)

        return self._with(which, scaled)

    def flip(self, which: Which | None = None) -> "Scene":
        """Mirror left and right: one segment inside its own box, or with None the whole scene and its maps."""
        if which is not None:
            return self._with(which, lambda s: replace(s, mask=masks.mirrored(s.mask)))
        segments = tuple(replace(s, mask=s.mask[:, ::-1]) for s in self.segments)
        maps = {name: values[:, ::-1] for name, values in self.maps.items()}
        if "normals" in maps:  # x points right: a mirror turns it round
            maps["normals"] = maps["normals"] * np.array([-1, 1, 1], maps["normals"].dtype)
        return replace(self, segments=segments, maps=maps)

    def add(self, segment: Segment, at: int | None = None) -> "Scene":
        """Put a segment in front of all, or at position `at` counted from the back."""
        segments = list(self.segments)
        segments.insert(len(segments) if at is None else at, segment)
        return replace(self, segments=tuple(segments))

    def remove(self, which: Which) -> "Scene":
        """Take a segment out; the caption stays."""
        gone = self.index(which)
        return replace(self, segments=self.segments[:gone] + self.segments[gone + 1 :])

    def restyle(self, which: Which, text: str | None = None, strength: float | None = None) -> "Scene":
        """Give a segment other words or another strength; where the caption says the old words, it follows.

        Of n segments with the same words, the k-th changes the k-th place in the caption.
        """
        i = self.index(which)
        old = self.segments[i]
        new = replace(
            old, text=old.text if text is None else text, strength=old.strength if strength is None else strength
        )
        twins = sum(s.text.casefold() == old.text.casefold() for s in self.segments[:i])
        places = phrase_spans(self.caption, old.text)
        caption = self.caption
        if text is not None and len(places) > twins:
            start, end = places[twins]
            caption = caption[:start] + new.text + caption[end:]
        return replace(self._with(i, lambda _: new), caption=caption)

    def reorder(self, which: Which, to: int) -> "Scene":
        """Put a segment at position `to`: 0 is behind all, -1 in front of all."""
        i, count = self.index(which), len(self.segments)
        if not -count <= to < count:
            raise UserError(f"cannot put a segment at position {to}; the scene has {count}, counted from 0")
        return self.remove(i).add(self.segments[i], to % count)

    def resized(self, size: tuple[int, int]) -> "Scene":
        """The scene at `size` (H, W): masks averaged over area, maps sampled at pixel centres."""
        rows, columns = (masks.shares(old, new) for old, new in zip(self.size, size, strict=True))
        segments = tuple(replace(s, mask=np.clip(rows @ s.mask @ columns.T, 0, 1)) for s in self.segments)
        near = [((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(self.size, size, strict=True)]
        maps = {name: values[near[0]][:, near[1]] for name, values in self.maps.items()}
        return replace(self, segments=segments, maps=maps, size=size)

    def _with(self, which: Which, change: Callable[[Segment], Segment]) -> "Scene":
        i = self.index(which)
        return replace(self, segments=(*self.segments[:i], change(self.segments[i]), *self.segments[i + 1 :]))

    def _repr_png_(self) -> bytes:
        display = import_module("scenewright.display")  # by name: drawing is above this layer, and only Jupyter asks
        return display.png_bytes(display.overlay(self))


def phrase_spans(caption: str, phrase: str) -> list[tuple[int, int]]:
    """(start, end) of every place where the caption says the phrase: whole words, any case, any spacing."""
    words = [re.escape(word) for word in phrase.split()]
    return [m.span() for m in re.finditer(r"(?<!\w)" + r"\s+".join(words) + r"(?!\w)", caption, re.I)] if words else []


def _read_only(values: np.ndarray) -> np.ndarray:
    copy = np.array(values)
    copy.flags.writeable = False
    return copy


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
