"""Light, ground, sky and coat patterns. Everything is a smooth function of position, so pictures have no aliasing."""

from dataclasses import dataclass

import numpy as np

from .shapes import Solid
from .vocabulary import COLOURS

_Floats = np.ndarray


@dataclass(frozen=True)
class Light:
    """RGB of direct sun, of ambient light from above and from below, and of distant haze."""

    sun: np.ndarray
    above: np.ndarray
    below: np.ndarray
    haze: np.ndarray


def _light(*rows: tuple[float, float, float]) -> Light:
    return Light(*(np.array(row) for row in rows))


LIGHTS: dict[str, Light] = {
    "clear": _light((0.62, 0.60, 0.54), (0.52, 0.55, 0.62), (0.34, 0.34, 0.32), (0.80, 0.88, 0.97)),
    "cloudy": _light((0.30, 0.30, 0.30), (0.70, 0.71, 0.73), (0.42, 0.42, 0.42), (0.80, 0.82, 0.84)),
    "sunset": _light((0.66, 0.42, 0.22), (0.55, 0.46, 0.48), (0.40, 0.30, 0.26), (0.98, 0.62, 0.36)),
    "night": _light((0.20, 0.22, 0.30), (0.34, 0.36, 0.50), (0.22, 0.22, 0.32), (0.10, 0.11, 0.22)),
    "indoor": _light((0.42, 0.41, 0.38), (0.66, 0.65, 0.62), (0.42, 0.41, 0.40), (0.8, 0.8, 0.8)),
}

_GROUND: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "grass": ((0.30, 0.58, 0.16), (0.40, 0.70, 0.22)),
    "sand": ((0.88, 0.76, 0.50), (0.94, 0.84, 0.60)),
    "snow": ((0.90, 0.93, 0.98), (0.98, 0.99, 1.0)),
    "water": ((0.08, 0.34, 0.58), (0.22, 0.54, 0.74)),
    "road": ((0.36, 0.36, 0.39), (0.42, 0.42, 0.44)),
    "dirt": ((0.44, 0.29, 0.18), (0.56, 0.38, 0.24)),
    "floor": ((0.66, 0.42, 0.24), (0.76, 0.52, 0.31)),
}


def _mix(a: _Floats, b: _Floats, share: _Floats) -> _Floats:
    return a + (b - a) * share[:, None]


def ground_colour(scene, point: _Floats, depth: _Floats) -> _Floats:  # noqa: ANN001 - a Composition; importing it would be circular
    """(N, 3) albedo of the ground at world points; texture fades with distance so that it never aliases."""
    dark, bright = (np.array(c) for c in _GROUND[scene.ground])
    x, z, p = point[:, 0], point[:, 2], scene.phase
    fade = np.clip(1.4 - depth / 14, 0, 1)
    if scene.ground == "water":
        wave = np.sin(2.2 * z + 0.8 * np.sin(0.9 * x + p[0]) + p[1])
    elif scene.ground == "dirt":
        wave = np.sin(5.0 * x + 0.5 * np.sin(0.5 * z + p[0]))
    elif scene.ground == "floor":
        wave = np.clip(8 * np.sin(5.2 * x + p[0]), -1, 1)
    else:
        wave = 0.6 * np.sin(2.1 * x + p[0] + 1.3 * np.sin(0.9 * z + p[1])) + 0.5 * np.sin(
            2.7 * z + p[2] + np.sin(1.1 * x + p[3])
        )
    rgb = _mix(dark, bright, 0.5 + 0.5 * np.clip(wave, -1, 1) * fade)
    if scene.ground == "road":
        lane = np.abs(x - 0.6 * np.sin(p[4])) < 0.07
        dash = (np.sin(2.4 * z + p[5]) > 0) & (depth < 30)
        rgb = np.where((lane & dash)[:, None], np.array([0.92, 0.90, 0.80]), rgb)
    return rgb


_SKY: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "clear": ((0.80, 0.90, 0.98), (0.26, 0.52, 0.90)),
    "cloudy": ((0.84, 0.86, 0.88), (0.60, 0.63, 0.67)),
    "sunset": ((1.0, 0.66, 0.34), (0.46, 0.28, 0.48)),
    "night": ((0.10, 0.12, 0.26), (0.03, 0.03, 0.10)),
}
_HILLS = {
    "clear": (0.42, 0.52, 0.62),
    "cloudy": (0.46, 0.50, 0.54),
    "sunset": (0.50, 0.30, 0.36),
    "night": (0.13, 0.15, 0.24),
}


def backdrop(scene, rays: _Floats) -> tuple[_Floats, np.ndarray]:  # noqa: ANN001 - see ground_colour
    """(N, 3) colour behind the ground for rays, and (N,) bool: is it a mountain."""
    flat = np.hypot(rays[:, 0], rays[:, 2])
    lift, turn, p = rays[:, 1] / flat, np.arctan2(rays[:, 0], rays[:, 2]), scene.phase
    if scene.wall:
        shade = 1 - 0.06 * np.clip(np.sin(14 * turn + p[0]) * 6, -1, 1)
        pale = 0.45 + 0.5 * np.array(COLOURS[scene.wall])
        return pale * shade[:, None] * 0.95, np.zeros(len(rays), bool)
    horizon, zenith = (np.array(c) for c in _SKY[scene.sky])
    rgb = _mix(horizon, zenith, np.clip(lift / 0.55, 0, 1))
    puff = np.sin(7 * turn + p[0]) + np.sin(4 * turn + 16 * lift + p[1]) + np.sin(30 * lift + 3 * turn + p[2])
    cloud = np.clip(puff - (0.9 if scene.sky == "clear" else 0.0), 0, 1) * np.clip(lift * 9, 0, 1)
    tint = {"clear": (1, 1, 1), "cloudy": (0.94, 0.94, 0.95), "sunset": (1.0, 0.55, 0.42), "night": (0.13, 0.14, 0.24)}[
        scene.sky
    ]
    rgb = _mix(rgb, np.array(tint), cloud * {"clear": 0.75, "cloudy": 0.8, "sunset": 0.45, "night": 0.6}[scene.sky])
    rgb = _disc(scene, rays, rgb)
    if not scene.mountain:
        return rgb, np.zeros(len(rays), bool)
    crest = 0.10 + 0.055 * np.sin(5 * turn + p[4]) + 0.035 * np.sin(11 * turn + p[5]) + 0.012 * np.sin(27 * turn + p[6])
    hill = lift < crest
    snow = np.clip((lift - crest + 0.05) / 0.02, 0, 1) * np.clip((crest - 0.11) * 40, 0, 1)
    rock = _mix(np.array(_HILLS[scene.sky]), np.array(_HILLS[scene.sky]) * 0.55 + 0.42, snow)
    return np.where(hill[:, None], rock, rgb), hill


def _disc(scene, rays: _Floats, rgb: _Floats) -> _Floats:  # noqa: ANN001 - see ground_colour
    """A low sun at sunset, a moon at night."""
    if scene.sky not in ("sunset", "night"):
        return rgb
    low = scene.sky == "sunset"
    at = np.array([0.35 * np.sin(scene.phase[3]), 0.16 if low else 0.30, 1.0])
    unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    away = np.arccos(np.clip(unit @ (at / np.linalg.norm(at)), -1, 1))
    disc = np.clip((0.062 if low else 0.045) / 0.004 - away / 0.004, 0, 1)
    halo = 0.5 * np.exp(-away / 0.12)
    colour = np.array((1.0, 0.92, 0.62) if low else (0.92, 0.93, 0.86))
    return _mix(rgb, colour, np.maximum(disc, halo if low else 0.3 * halo))


def paint(solid: Solid, local: _Floats) -> _Floats:
    """(N, 3) albedo of a patterned solid at object-local points."""
    x, y, z = local.T
    base = np.array(solid.rgb)
    if solid.pattern == "stripes":
        on, other = np.sin(34 * x + 6 * y + 2 * np.sin(9 * y)) > 0.15, np.array((0.08, 0.08, 0.08))
    elif solid.pattern == "spots":
        on, other = np.sin(24 * x + 1) * np.sin(24 * y) * np.cos(18 * z) > 0.06, np.array((0.50, 0.27, 0.10))
    elif solid.pattern == "patches":
        on, other = np.sin(9 * x + 2) + np.sin(11 * y + 1) + np.sin(8 * z) > 0.9, np.array((0.95, 0.94, 0.90))
    elif solid.pattern == "gores":
        on, other = np.sin(4 * np.arctan2(z, x)) > 0, base * 0.82
    elif solid.pattern == "band":
        on, other = np.abs(y - 0.5) < 0.07, base * 0.5 + 0.5
    elif solid.pattern == "lines":
        on, other = (np.sin(45 * y) > 0.4) & (np.abs(z) > 0.03), np.array((0.55, 0.55, 0.58))
    else:  # leaves and wool: a soft mottle
        mottle = 0.09 * np.sin(26 * x) * np.sin(24 * y + 1) * np.cos(25 * z)
        return np.clip(base * (1 + mottle[:, None] * 1.6), 0, 1)
    return np.where(on[:, None], other, base)
