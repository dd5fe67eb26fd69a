"""The drawing board for objects: solids collected in an object's local frame.

Local frame: x is the length of the object (it faces +x), y is up with the ground at 0, z is its width. Lengths are
"object units"; `compose` scales a kind so that its largest extent is what the scene asks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .shapes import Solid

Vector = Sequence[float] | np.ndarray
Colour = tuple[float, float, float]

SKIN, HAIR, TROUSERS, WOOD = (0.93, 0.72, 0.56), (0.28, 0.17, 0.10), (0.17, 0.20, 0.36), (0.45, 0.28, 0.15)
DARK, GLASS, METAL, LAMP = (0.08, 0.08, 0.09), (0.55, 0.78, 0.92), (0.62, 0.64, 0.68), (1.0, 0.93, 0.62)


def rotation(axis: int, angle: float) -> np.ndarray:
    """(3, 3) right-handed rotation about x, y or z (0, 1, 2) by `angle` radians."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    m = np.eye(3)
    m[i, i], m[i, j], m[j, i], m[j, j] = c, -s, s, c
    return m


@dataclass
class Sketch:
    """Collects solids in the local frame while an object is being built."""

    main: Colour
    rng: np.random.Generator
    solids: list[Solid] = field(default_factory=list)
    keypoints: dict[str, np.ndarray] = field(default_factory=dict)

    def put(self, shape: str, centre: Vector, linear: np.ndarray, rgb: Colour, **look: float | str) -> None:
        self.solids.append(Solid(shape, linear, np.asarray(centre, float), rgb, **look))  # type: ignore[arg-type]

    def ball(self, centre: Vector, radii: Vector | float, rgb: Colour, tilt: float = 0.0, **look: float | str) -> None:
        size = np.broadcast_to(np.asarray(radii, float), 3)
        self.put("sphere", centre, rotation(2, tilt) @ np.diag(size), rgb, **look)

    def box(
        self, centre: Vector, half: Vector, rgb: Colour, tilt: float = 0.0, axis: int = 2, **look: float | str
    ) -> None:
        self.put("box", centre, rotation(axis, tilt) @ np.diag(half), rgb, **look)

    def limb(
        self, start: Vector, end: Vector, radius: float, rgb: Colour, tip: float | None = None, **look: float | str
    ) -> None:
        """A round bar from `start` to `end`, narrowing to radius `tip`."""
        a, b = np.asarray(start, float), np.asarray(end, float)
        axis = (b - a) / 2
        y = axis / np.linalg.norm(axis)
        x = np.cross(y, (0.0, 0.0, 1.0) if abs(y[2]) < 0.9 else (1.0, 0.0, 0.0))
        x /= np.linalg.norm(x)
        linear = np.stack([x * radius, axis, np.cross(x, y) * radius], 1)
        taper = 1.0 if tip is None else tip / radius
        self.put("frustum", (a + b) / 2, linear, rgb, taper=taper, **look)

    def wheels(self, xs: Vector, z: float, radius: float, width: float = 0.06) -> None:
        for x in xs:
            for side in (-1, 1):
                self.limb((x, radius, side * (z - width)), (x, radius, side * (z + width)), radius, DARK)
                hub = side * (z + width + 0.012)
                self.limb((x, radius, side * z), (x, radius, hub), radius * 0.45, METAL)
