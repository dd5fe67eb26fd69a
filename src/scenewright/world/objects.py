"""Plants, buildings, vehicles, furniture and things, each built from a handful of convex solids."""

from collections.abc import Callable

import numpy as np

from .creatures import BODIES, bird, person, quadruped
from .sketch import DARK, GLASS, LAMP, METAL, WOOD, Colour, Sketch, rotation
from .vocabulary import COLOURS


def tree(s: Sketch, _: str) -> None:
    s.limb((0, 0, 0), (0, 0.5, 0), 0.075, WOOD, 0.055)
    if s.rng.random() < 0.5:
        for y, r in ((0.28, 0.36), (0.5, 0.29), (0.72, 0.2)):
            s.limb((0, y, 0), (0, y + 0.34, 0), r, s.main, 0.0, pattern="leaves")
    else:
        for x, y, z, r in (
            (0, 0.70, 0, 0.30),
            (0.2, 0.58, 0.1, 0.2),
            (-0.2, 0.6, -0.06, 0.21),
            (0.03, 0.88, 0.04, 0.2),
        ):
            s.ball((x, y, z), r, s.main, pattern="leaves")


def house(s: Sketch, _: str) -> None:
    s.box((0, 0.3, 0), (0.42, 0.3, 0.34), s.main)
    roof = (0.55, 0.16, 0.12) if s.main[0] < 0.6 or s.main[1] > 0.4 else (0.30, 0.30, 0.34)
    s.put("prism", (0, 0.77, 0), rotation(1, np.pi / 2) @ np.diag([0.42, 0.19, 0.5]), roof)
    s.box((0.26, 0.88, 0), (0.05, 0.14, 0.05), (0.5, 0.3, 0.25))
    for side in (-1, 1):
        s.box((0, 0.17, side * 0.345), (0.085, 0.17, 0.012), WOOD)
        for x in (-0.26, 0.26):
            s.box((x, 0.34, side * 0.345), (0.085, 0.09, 0.012), GLASS, gloss=0.4)
        s.box((side * 0.425, 0.34, 0), (0.012, 0.09, 0.1), GLASS, gloss=0.4)


def car(s: Sketch, _: str) -> None:
    s.box((0, 0.2, 0), (0.5, 0.11, 0.22), s.main, gloss=0.3)
    s.put(
        "frustum", (-0.04, 0.39, 0), np.diag([0.36, 0.11, 0.235]) @ rotation(1, np.pi / 4), GLASS, taper=0.72, gloss=0.5
    )
    s.box((-0.04, 0.5, 0), (0.2, 0.022, 0.16), s.main, gloss=0.3)
    s.box((-0.04, 0.39, 0), (0.025, 0.11, 0.2), s.main)
    for z in (-0.15, 0.15):
        s.ball((0.5, 0.22, z), (0.02, 0.045, 0.045), LAMP, glow=0.5)
        s.ball((-0.5, 0.22, z), (0.02, 0.04, 0.045), (0.8, 0.05, 0.05), glow=0.3)
    s.wheels((-0.3, 0.3), 0.2, 0.115)


def bus(s: Sketch, _: str) -> None:
    s.box((0, 0.33, 0), (0.52, 0.25, 0.17), s.main, gloss=0.2)
    s.box((0, 0.595, 0), (0.5, 0.02, 0.15), (0.93, 0.93, 0.93))
    for side in (-1, 1):
        for x in (-0.38, -0.19, 0.0, 0.19, 0.38):
            s.box((x, 0.43, side * 0.172), (0.075, 0.085, 0.008), GLASS, gloss=0.5)
        s.ball((0.525, 0.19, side * 0.11), (0.012, 0.035, 0.035), LAMP, glow=0.5)
    s.box((0.522, 0.42, 0), (0.008, 0.11, 0.14), GLASS, gloss=0.5)
    s.wheels((-0.32, 0.32), 0.14, 0.095, 0.04)


def truck(s: Sketch, _: str) -> None:
    s.box((-0.16, 0.37, 0), (0.34, 0.25, 0.19), (0.90, 0.90, 0.88))
    s.box((0.34, 0.28, 0), (0.15, 0.19, 0.18), s.main, gloss=0.3)
    s.box((0.0, 0.11, 0), (0.5, 0.03, 0.15), DARK)
    s.box((0.492, 0.34, 0), (0.01, 0.08, 0.15), GLASS, gloss=0.5)
    for side in (-1, 1):
        s.box((0.36, 0.35, side * 0.182), (0.08, 0.07, 0.008), GLASS, gloss=0.5)
        s.box((-0.16, 0.37, side * 0.193), (0.34, 0.06, 0.006), s.main)
        s.ball((0.49, 0.17, side * 0.12), (0.012, 0.035, 0.035), LAMP, glow=0.5)
    s.wheels((-0.34, 0.33), 0.15, 0.1, 0.045)


def train(s: Sketch, _: str) -> None:
    s.limb((-0.12, 0.38, 0), (0.46, 0.38, 0), 0.16, s.main, gloss=0.3)
    s.limb((0.46, 0.38, 0), (0.5, 0.38, 0), 0.13, DARK)
    s.box((-0.3, 0.46, 0), (0.19, 0.26, 0.19), s.main)
    s.box((-0.3, 0.74, 0), (0.23, 0.022, 0.22), DARK)
    for side in (-1, 1):
        s.box((-0.3, 0.56, side * 0.192), (0.1, 0.09, 0.008), GLASS)
    s.limb((0.34, 0.5, 0), (0.34, 0.76, 0), 0.055, DARK, 0.085)
    s.ball((0.1, 0.54, 0), (0.07, 0.09, 0.07), (0.85, 0.68, 0.2), gloss=0.4)
    s.box((0, 0.17, 0), (0.48, 0.045, 0.15), DARK)
    s.put("prism", (0.53, 0.1, 0), np.diag([0.1, 0.1, 0.17]), METAL)
    s.wheels((-0.34, -0.1, 0.14, 0.36), 0.14, 0.1, 0.03)


def motorcycle(s: Sketch, _: str) -> None:
    for x in (-0.36, 0.36):
        s.limb((x, 0.2, -0.045), (x, 0.2, 0.045), 0.2, DARK)
        s.limb((x, 0.2, -0.055), (x, 0.2, 0.055), 0.1, METAL)
    s.limb((-0.34, 0.24, 0), (0.2, 0.36, 0), 0.07, METAL)
    s.box((0, 0.26, 0), (0.14, 0.11, 0.07), METAL)
    s.ball((0.1, 0.47, 0), (0.2, 0.1, 0.09), s.main, gloss=0.4)
    s.ball((-0.22, 0.46, 0), (0.22, 0.05, 0.08), DARK, tilt=-0.15)
    s.ball((-0.38, 0.41, 0), (0.16, 0.06, 0.07), s.main, tilt=-0.2)
    s.ball((0.36, 0.38, 0), (0.17, 0.05, 0.06), s.main)
    s.limb((0.36, 0.2, 0.06), (0.22, 0.62, 0.06), 0.026, METAL)
    s.limb((0.2, 0.64, -0.2), (0.2, 0.64, 0.2), 0.026, DARK)
    s.ball((0.31, 0.55, 0), 0.07, LAMP, glow=0.4)


def boat(s: Sketch, _: str) -> None:
    s.put("frustum", (0, 0.13, 0), np.diag([0.34, 0.13, 0.15]), s.main, taper=1.42)
    s.limb((0, 0.255, 0), (0, 0.27, 0), 0.20, WOOD)
    s.limb((0, 0.2, 0), (0, 1.0, 0), 0.022, WOOD)
    s.put("prism", (-0.19, 0.62, 0), np.diag([0.17, 0.33, 0.012]), (0.96, 0.95, 0.90))
    s.put("prism", (0.15, 0.56, 0), np.diag([0.12, 0.27, 0.012]), (0.96, 0.95, 0.90))


def _legs(s: Sketch, x: float, z: float, top: float, rgb: Colour, radius: float = 0.03) -> None:
    for i in (-1, 1):
        for j in (-1, 1):
            s.box((i * x, top / 2, j * z), (radius, top / 2, radius), rgb)


def bench(s: Sketch, _: str) -> None:
    for z in (-0.11, 0.0, 0.11):
        s.box((0, 0.27, z), (0.5, 0.022, 0.045), s.main)
    for y in (0.4, 0.52):
        s.box((0, y, -0.17), (0.5, 0.045, 0.02), s.main)
    for x in (-0.4, 0.4):
        s.box((x, 0.13, 0.1), (0.025, 0.13, 0.03), DARK)
        s.box((x, 0.28, -0.17), (0.025, 0.28, 0.03), DARK)


def chair(s: Sketch, _: str) -> None:
    _legs(s, 0.2, 0.2, 0.42, WOOD, 0.032)
    s.box((0, 0.44, 0), (0.25, 0.04, 0.25), s.main)
    s.box((-0.22, 0.72, 0), (0.032, 0.26, 0.23), s.main)


def table(s: Sketch, _: str) -> None:
    _legs(s, 0.43, 0.24, 0.42, s.main, 0.035)
    s.box((0, 0.45, 0), (0.52, 0.035, 0.32), s.main)


def bed(s: Sketch, _: str) -> None:
    s.box((0, 0.14, 0), (0.5, 0.07, 0.28), WOOD)
    s.box((0, 0.25, 0), (0.48, 0.06, 0.27), (0.95, 0.95, 0.95))
    s.box((0.13, 0.275, 0), (0.36, 0.055, 0.285), s.main)
    s.box((-0.5, 0.3, 0), (0.03, 0.3, 0.29), WOOD)
    for z in (-0.13, 0.13):
        s.ball((-0.36, 0.34, z), (0.09, 0.05, 0.11), (0.97, 0.97, 0.97))
    s.box((0.5, 0.16, 0), (0.025, 0.16, 0.29), WOOD)


def couch(s: Sketch, _: str) -> None:
    dark: Colour = tuple(0.82 * c for c in s.main)  # type: ignore[assignment]
    s.box((0, 0.15, 0.02), (0.5, 0.13, 0.22), dark)
    s.box((0, 0.38, -0.17), (0.48, 0.2, 0.07), s.main)
    for side in (-1, 1):
        s.limb((side * 0.47, 0.33, -0.22), (side * 0.47, 0.33, 0.25), 0.09, s.main)
        s.box((side * 0.47, 0.18, 0.015), (0.075, 0.15, 0.23), s.main)
        s.box((side * 0.2, 0.3, 0.05), (0.185, 0.045, 0.19), s.main)


def umbrella(s: Sketch, _: str) -> None:
    s.limb((0, 0, 0), (0, 0.85, 0), 0.025, WOOD)
    s.limb((0, 0.62, 0), (0, 0.9, 0), 0.5, s.main, 0.05, pattern="gores")
    s.ball((0, 0.91, 0), 0.035, METAL)


def ball(s: Sketch, _: str) -> None:
    s.ball((0, 0.5, 0), 0.5, s.main, gloss=0.5, pattern="band")


def book(s: Sketch, _: str) -> None:
    for tilt, x in ((0.22, -0.29), (-0.22, 0.29)):
        s.box((x, 0.42, 0), (0.3, 0.4, 0.03), s.main, tilt=tilt * 2, axis=1)
        s.box((x * 0.98, 0.42, 0.045), (0.20, 0.29, 0.02), (0.96, 0.95, 0.9), tilt=tilt * 2, axis=1, pattern="lines")


def bag(s: Sketch, _: str) -> None:
    s.box((0, 0.32, 0), (0.4, 0.32, 0.17), s.main)
    s.box((0, 0.22, 0.18), (0.24, 0.14, 0.03), tuple(0.75 * c for c in s.main))  # type: ignore[arg-type]
    s.box((0, 0.52, 0), (0.41, 0.02, 0.18), DARK)
    for x in (-0.17, 0.17):
        s.limb((x, 0.62, 0), (x * 0.8, 0.85, 0), 0.035, DARK)
    s.limb((-0.16, 0.85, 0), (0.16, 0.85, 0), 0.035, DARK)


def bottle(s: Sketch, _: str) -> None:
    s.limb((0, 0, 0), (0, 0.55, 0), 0.19, s.main, gloss=0.6)
    s.limb((0, 0.55, 0), (0, 0.75, 0), 0.19, s.main, 0.07, gloss=0.6)
    s.limb((0, 0.75, 0), (0, 0.93, 0), 0.07, s.main, gloss=0.6)
    s.limb((0, 0.93, 0), (0, 1.0, 0), 0.078, METAL)
    s.limb((0, 0.16, 0), (0, 0.42, 0), 0.194, (0.95, 0.93, 0.85))


def kite(s: Sketch, _: str) -> None:
    diamond = rotation(2, np.pi / 4) @ np.diag([0.3, 0.3, 0.02])
    s.put("box", (0, 0.62, 0), np.diag([0.85, 1.15, 1]) @ diamond, s.main)
    s.box((0, 0.62, 0), (0.018, 0.46, 0.03), DARK)
    s.box((0, 0.66, 0), (0.3, 0.016, 0.03), DARK)
    for k in range(3):
        s.ball((0.06 * (-1) ** k, 0.08 - 0.11 * k, 0), (0.07, 0.035, 0.03), s.main if k % 2 else (0.95, 0.9, 0.3))


def traffic_light(s: Sketch, _: str) -> None:
    s.limb((0, 0, 0), (0, 0.5, 0), 0.04, METAL)
    s.box((0, 0.72, 0), (0.13, 0.27, 0.1), (0.15, 0.16, 0.14))
    for y, rgb in ((0.9, (0.95, 0.12, 0.1)), (0.72, (0.98, 0.78, 0.1)), (0.54, (0.12, 0.85, 0.25))):
        for z in (-0.1, 0.1):
            s.ball((0, y, z), (0.075, 0.075, 0.035), rgb, glow=0.7)
        for x in (-0.13, 0.13):
            s.ball((x, y, 0), (0.035, 0.075, 0.075), rgb, glow=0.7)


BUILDERS: dict[str, Callable[[Sketch, str], None]] = {
    **dict.fromkeys(BODIES, quadruped),
    "person": person,
    "bird": bird,
    "tree": tree,
    "house": house,
    "car": car,
    "bus": bus,
    "truck": truck,
    "train": train,
    "motorcycle": motorcycle,
    "boat": boat,
    "bench": bench,
    "chair": chair,
    "table": table,
    "bed": bed,
    "couch": couch,
    "umbrella": umbrella,
    "ball": ball,
    "book": book,
    "bag": bag,
    "bottle": bottle,
    "kite": kite,
    "traffic light": traffic_light,
}


def build(kind: str, colour: str | None, rng: np.random.Generator) -> Sketch:
    """An object of `kind` in its local frame; `colour` is a palette name, or None for kinds with one look."""
    sketch = Sketch(COLOURS[colour] if colour else (0.3, 0.55, 0.2), rng)
    BUILDERS[kind](sketch, kind)
    return sketch
