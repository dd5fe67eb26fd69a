"""Convex solids and their exact ray intersections. All lengths are metres, all arrays float64.

A solid is a unit shape under an affine map: sphere (radius 1), box and prism (inside [-1, 1]^3), frustum (axis y,
radius 1 at y = -1 and `taper` at y = 1: cylinder for 1, cone for 0). Because each is convex, a ray meets it in one
interval, so entry distance and surface normal are closed-form.
"""

from dataclasses import dataclass

import numpy as np

FAR = np.inf
_TINY = 1e-12


@dataclass(frozen=True)
class Solid:
    """One convex part of an object. `linear` (3, 3) and `centre` (3,) map the unit shape into the world."""

    shape: str
    linear: np.ndarray
    centre: np.ndarray
    rgb: tuple[float, float, float]
    taper: float = 1.0
    gloss: float = 0.0
    glow: float = 0.0
    pattern: str = ""

    @property
    def radius(self) -> float:
        """Radius of a sphere around `centre` that holds the solid."""
        reach = 1.0 if self.shape == "sphere" else 3**0.5 if self.shape in ("box", "prism") else 2**0.5
        if self.shape == "sphere":
            return float(np.linalg.norm(self.linear, axis=0).max())
        return float(reach * np.linalg.norm(self.linear, axis=0).max())

    def corners(self) -> np.ndarray:
        """(8, 3) corners of the box that holds the solid."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
        return signs @ self.linear.T + self.centre


_PRISM = np.array([[2.0, 1, 0], [-2, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])


def intersect(solid: Solid, inverse: np.ndarray, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entry distance (N,) along `rays` (N, 3), inf where missed, and outward local normals (N, 3).

    `origin` is (3,) or (N, 3); distances are in units of the ray vectors. Rays that start inside report a miss.
    """
    o = (origin - solid.centre) @ inverse.T
    d = rays @ inverse.T
    if o.ndim == 1:
        o = np.broadcast_to(o, d.shape)
    if solid.shape == "sphere":
        return _sphere(o, d)
    if solid.shape == "box":
        return _box(o, d)
    if solid.shape == "prism":
        return _hull(o, d, _PRISM)
    return _frustum(o, d, solid.taper)


def _sphere(o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a = np.einsum("ij,ij->i", d, d)
    b = np.einsum("ij,ij->i", o, d)
    c = np.einsum("ij,ij->i", o, o) - 1
    root = b * b - a * c
    t = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, FAR)
    t = np.where(t > 1e-6, t, FAR)
    return t, o + np.where(np.isfinite(t), t, 0)[:, None] * d


def _box(o: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    step = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
    near = -o * step - np.abs(step)
    far = near + 2 * np.abs(step)
    axis = near.argmax(1)
    enter = near.max(1)
    t = np.where((enter < far.min(1)) & (enter > 1e-6), enter, FAR)
    rows = np.arange(len(o))
    normal = np.zeros_like(d)
    normal[rows, axis] = -np.sign(d[rows, axis])
    return t, normal


def _hull(o: np.ndarray, d: np.ndarray, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    speed = d @ planes.T
    speed = np.where(np.abs(speed) < _TINY, _TINY, speed)
    cross = (1 - o @ planes.T) / speed
    near = np.where(speed < 0, cross, -FAR)
    far = np.where(speed > 0, cross, FAR)
    enter = near.max(1)
    t = np.where((enter < far.min(1)) & (enter > 1e-6), enter, FAR)
    return t, planes[near.argmax(1)]


def _frustum(o: np.ndarray, d: np.ndarray, taper: float) -> tuple[np.ndarray, np.ndarray]:
    mid, slope = (1 + taper) / 2, (taper - 1) / 2
    dy = np.where(np.abs(d[:, 1]) < _TINY, _TINY, d[:, 1])
    cap_a, cap_b = (-1 - o[:, 1]) / dy, (1 - o[:, 1]) / dy
    low, high = np.minimum(cap_a, cap_b), np.maximum(cap_a, cap_b)
    r0 = mid + slope * o[:, 1]
    a = d[:, 0] ** 2 + d[:, 2] ** 2 - (slope * d[:, 1]) ** 2
    b = o[:, 0] * d[:, 0] + o[:, 2] * d[:, 2] - slope * d[:, 1] * r0
    c = o[:, 0] ** 2 + o[:, 2] ** 2 - r0**2
    a = np.where(np.abs(a) < _TINY, _TINY, a)
    disc = b * b - a * c
    root = np.sqrt(np.maximum(disc, 0))
    one, two = (-b - root) / a, (-b + root) / a
    first, second = np.minimum(one, two), np.maximum(one, two)
    # a > 0: inside between the roots. a < 0: inside before the first or after the second; the slab keeps one of them.
    before = a < 0
    enter = np.where(before, low, np.maximum(low, first))
    leave = np.where(before, np.minimum(high, np.where(disc > 0, first, high)), np.minimum(high, second))
    late = before & (disc > 0) & (second < high) & (first < low)
    enter = np.where(late, np.maximum(low, second), enter)
    leave = np.where(late, high, leave)
    miss = (disc <= 0) & ~before
    t = np.where((enter < leave) & (enter > 1e-6) & ~miss, enter, FAR)
    p = o + np.where(np.isfinite(t), t, 0)[:, None] * d
    side = np.stack([p[:, 0], -slope * (mid + slope * p[:, 1]), p[:, 2]], 1)
    cap = np.zeros_like(p)
    cap[:, 1] = -np.sign(dy)
    on_cap = np.abs(t - low) < 1e-9
    return t, np.where(on_cap[:, None], cap, side)
