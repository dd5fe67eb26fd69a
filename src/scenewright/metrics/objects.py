"""Which things of a caption a picture shows, judged from its class map, and in which colour, judged from its pixels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from scenewright.world.materials import LIGHTS, Light
from scenewright.world.vocabulary import CLASS_ID, COLOURS, KIND_COLOURS

SMALLEST_FOUND = 0.004  # share of the picture that must be of a class for it to count as found (64 pixels of 128 x 128)

_NAMES = tuple(COLOURS)
_SUN_SHARE = 0.25  # how much of the sun's light an average pixel of an object gets
_SHADES = np.linspace(0.45, 1.35, 10)  # brightness of a surface, relative to its average
_SHADE_COST = 0.03  # price of a shade far from 1, in squared distance: a dark gray is rather gray than a shaded white
_GAMMA = 0.35  # exponent of the scale on which colours are compared; under 1/2, dark ones are kept apart
_MOST_PIXELS = 400
_FEWEST = 5  # renders of a kind before its usual shares are trusted: the median of one is that one


def found(classes: np.ndarray, class_id: int) -> bool:
    """Whether a class map (H, W) holds enough of a class."""
    return bool((classes == class_id).sum() >= SMALLEST_FOUND * classes.size)


def largest(classes: np.ndarray, candidates: Iterable[int]) -> int:
    """The class among `candidates` with most pixels in a class map; 0 if none has any."""
    area, best = max(((int((classes == c).sum()), -c) for c in candidates), default=(0, 0))
    return -best if area else 0


@dataclass
class Share:
    """A running share of right answers."""

    right: int = 0
    total: int = 0

    def add(self, right: bool) -> None:
        self.right += right
        self.total += 1

    @property
    def value(self) -> float:
        """Share in [0, 1]; NaN when nothing was asked."""
        return self.right / self.total if self.total else float("nan")


def light_of(sky: str) -> Light:
    """The light under a sky of the world ("" is indoors)."""
    return LIGHTS[sky or "indoor"]


def palette_shares(pixels: np.ndarray, light: Light) -> np.ndarray:
    """(11,) share of uint8 RGB pixels (N, 3) nearest to each palette colour in any shade, light divided out."""
    step = -(-len(pixels) // _MOST_PIXELS)
    gain = (light.above + light.below) / 2 + _SUN_SHARE * light.sun
    seen = np.clip(pixels[::step] / 255 / gain, 0, 1.8) ** _GAMMA
    palette = np.array([COLOURS[name] for name in _NAMES])
    shades = np.clip(palette[:, None] * _SHADES[:, None], 0, 1.8) ** _GAMMA
    far = ((seen[:, None, None] - shades) ** 2).sum(-1) + _SHADE_COST * np.log(_SHADES) ** 2
    return np.bincount(far.min(2).argmin(1), minlength=len(_NAMES)) / len(seen)


@dataclass
class ColourJudge:
    """Names the colour of an object from its pixels, under the light of its scene.

    The answer is the palette colour with the largest share *beyond what a thing of that kind always shows* (wheels,
    windows, skin, trunks): the usual shares are medians over renders, learned with `learn`. A kind hardly learned has
    no usual shares.
    """

    _seen: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def learn(self, kind: str, pixels: np.ndarray, sky: str) -> None:
        """Add one render's object, of any colour."""
        self._seen.setdefault(kind, []).append(palette_shares(pixels, light_of(sky)))

    def usual(self, kind: str) -> np.ndarray:
        """(11,) usual share of each palette colour."""
        seen: Sequence[np.ndarray] = self._seen.get(kind, ())
        return np.median(seen, axis=0) if len(seen) >= _FEWEST else np.zeros(len(_NAMES))

    def name(self, kind: str, pixels: np.ndarray, sky: str) -> str | None:
        """The colour of (N, 3) uint8 pixels of a kind, among those it comes in; None if it has one look or N is 0."""
        allowed = [_NAMES.index(colour) for colour in KIND_COLOURS[kind]]
        if not allowed or not len(pixels):
            return None
        beyond = palette_shares(pixels, light_of(sky)) - self.usual(kind)
        return _NAMES[max(allowed, key=lambda i: beyond[i])]


def ids(names: Iterable[str]) -> tuple[int, ...]:
    """Class ids of class names."""
    return tuple(CLASS_ID[name] for name in names)
