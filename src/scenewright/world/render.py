"""Ray casting of a composition: one picture and every map of it, exact at pixel centres.

Rays have unit camera depth, so a hit distance *is* metric depth. Pixels on a discontinuity are averaged over four
sub-samples; maps are never averaged. Arithmetic is float64 throughout, so that a seed gives the same 8-bit picture on
every machine.
"""

from dataclasses import dataclass

import numpy as np

from .compose import FOCAL, Composition, Thing
from .materials import LIGHTS, Light, backdrop, ground_colour, paint
from .shapes import FAR, Solid, intersect
from .vocabulary import CLASS_ID

BACKDROP = 120.0  # metres to the hills; the sky lies behind every depth
WALL = 8.5  # metres to an indoor wall
_GROUND, _SKY = -1, -2


@dataclass
class Hits:
    """What each ray met. `solid` is an index into `Tracer.solids`, -1 ground, -2 backdrop."""

    depth: np.ndarray  # (N,) metres along the camera axis
    solid: np.ndarray  # (N,) int
    normal: np.ndarray  # (N, 3) unit, world frame; zero on the sky
    point: np.ndarray  # (N, 3)


class Tracer:
    """A composition prepared for ray casting at `size` pixels square."""

    def __init__(self, scene: Composition, size: int) -> None:
        self.scene, self.size = scene, size
        self.solids: list[Solid] = [s for thing in scene.things for s in thing.solids]
        self.owner = np.array([thing.instance for thing in scene.things for _ in thing.solids] + [0, 0])
        self.inverses = [np.linalg.inv(s.linear) for s in self.solids]
        self.origin = np.array([0.0, scene.height, 0.0])
        self.light: Light = LIGHTS[scene.sky or "indoor"]
        self.rects = [self._rect(solid) for solid in self.solids]

    def _rect(self, solid: Solid) -> np.ndarray:
        shadow = self.scene.project(solid.corners()) * self.size
        return np.concatenate([shadow[:, :2].min(0) - 1.5, shadow[:, :2].max(0) + 1.5])

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """(N, 3) world rays with unit camera depth through (N, 2) pixel positions (x, y)."""
        plane = (pixels / self.size - 0.5) / FOCAL
        return np.concatenate([plane, np.ones((len(plane), 1))], 1) @ self.scene.camera

    def trace(self, pixels: np.ndarray) -> Hits:
        rays = self.rays(pixels)
        depth, which, normal = self._background(rays)
        for index, solid in enumerate(self.solids):
            x0, y0, x1, y1 = self.rects[index]
            near = np.flatnonzero((pixels[:, 0] > x0) & (pixels[:, 0] < x1) & (pixels[:, 1] > y0) & (pixels[:, 1] < y1))
            if not len(near):
                continue
            t, local = intersect(solid, self.inverses[index], self.origin, rays[near])
            won = t < depth[near]
            hit = near[won]
            depth[hit], which[hit] = t[won], index
            normal[hit] = local[won] @ self.inverses[index]
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        normal /= np.where(length > 0, length, 1)
        finite = np.where(np.isfinite(depth), depth, BACKDROP)
        return Hits(depth, which, normal, self.origin + finite[:, None] * rays)

    def _background(self, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        down = rays[:, 1] < -1e-4
        depth = np.where(down, self.scene.height / np.where(down, -rays[:, 1], 1), FAR)
        far = np.full(len(rays), WALL if self.scene.wall else BACKDROP) / np.maximum(rays[:, 2], 1e-6)
        behind = depth > far
        hill = backdrop(self.scene, rays)[1]
        which = np.where(behind, _SKY, _GROUND)
        depth = np.where(behind, np.where(hill | bool(self.scene.wall), far, FAR), depth)
        normal = np.zeros_like(rays)
        normal[~behind] = (0.0, 1.0, 0.0)
        normal[behind & (hill | bool(self.scene.wall))] = (0.0, 0.0, -1.0)
        return depth, which, normal

    def shadowed(self, hits: Hits) -> np.ndarray:
        """(N,) share of sunlight blocked, 0 or 1."""
        dark = np.zeros(len(hits.depth), bool)
        start = hits.point + 2e-3 * hits.normal
        sun = self.scene.sun
        lit = np.flatnonzero((hits.solid != _SKY) & (hits.normal @ sun > 0))
        first = 0
        for thing in self.scene.things:
            rows = lit[_near_line(start[lit], sun, thing.centre, thing.radius)]
            for k, solid in enumerate(thing.solids):
                rows = rows[~dark[rows]]
                inside = rows[_near_line(start[rows], sun, solid.centre, solid.radius)]
                if len(inside):
                    rays = np.broadcast_to(sun, (len(inside), 3))
                    t, _ = intersect(solid, self.inverses[first + k], start[inside], rays)
                    dark[inside[np.isfinite(t)]] = True
            first += len(thing.solids)
        return dark

    def shade(self, pixels: np.ndarray, hits: Hits) -> np.ndarray:
        """(N, 3) display RGB in [0, 1]."""
        rgb, gloss, glow = self._surface(hits, self.rays(pixels))
        light, sun = self.light, self.scene.sun
        facing = np.clip(hits.normal @ sun, 0, 1) * ~self.shadowed(hits)
        up = 0.5 + 0.5 * hits.normal[:, 1:2]
        base = light.below * (1 - up) + light.above * up
        colour = rgb * (base * self._contact(hits)[:, None] + light.sun * facing[:, None])
        view = self.origin - hits.point
        view /= np.linalg.norm(view, axis=1, keepdims=True)
        half = view + sun
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        shine = np.clip(np.einsum("ij,ij->i", half, hits.normal), 0, 1) ** 40 * gloss * (facing > 0)
        colour = colour + shine[:, None] * light.sun * 0.9
        colour = colour * (1 - glow[:, None]) + rgb * glow[:, None]
        haze = np.clip((hits.depth - 10) / 90, 0, 1)[:, None] if not self.scene.wall else 0.0
        colour = colour * (1 - haze) + light.haze * haze
        sky = (hits.solid == _SKY)[:, None]
        return np.clip(np.where(sky, rgb, colour), 0, 1)

    def _surface(self, hits: Hits, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rgb = np.zeros_like(hits.normal)
        gloss, glow = np.zeros(len(rgb)), np.zeros(len(rgb))
        floor, far = hits.solid == _GROUND, hits.solid == _SKY
        rgb[floor] = ground_colour(self.scene, hits.point[floor], hits.depth[floor])
        if self.scene.ground == "water":
            gloss[floor] = 0.35
        rgb[far] = backdrop(self.scene, rays[far])[0]
        for index in np.unique(hits.solid[hits.solid >= 0]):
            rows, solid = hits.solid == index, self.solids[index]
            thing = self.scene.things[self.owner[index] - 1]
            local = (hits.point[rows] - thing.base) @ np.linalg.inv(thing.place).T
            rgb[rows] = paint(solid, local) if solid.pattern else solid.rgb
            gloss[rows], glow[rows] = solid.gloss, solid.glow
        return rgb, gloss, glow

    def _contact(self, hits: Hits) -> np.ndarray:
        """Ambient light kept near the foot of objects: a soft stain that makes things stand on the ground."""
        kept = np.ones(len(hits.depth))
        floor = hits.solid == _GROUND
        for thing in self.scene.things:
            flat = hits.point[floor][:, [0, 2]] - thing.centre[[0, 2]]
            reach = np.einsum("ij,ij->i", flat, flat) / (0.55 * thing.radius) ** 2
            kept[floor] *= 1 - 0.45 * np.exp(-reach)
        return kept

    def class_of(self, hits: Hits) -> np.ndarray:
        """(N,) uint8 class ids."""
        scene = self.scene
        kinds = np.array([0, *(CLASS_ID[thing.kind] for thing in scene.things)], np.uint8)
        classes = kinds[self.owner[hits.solid]]
        classes[hits.solid == _GROUND] = CLASS_ID[scene.ground]
        far = hits.solid == _SKY
        classes[far] = CLASS_ID["wall"] if scene.wall else CLASS_ID["sky"]
        if not scene.wall:
            classes[far & np.isfinite(hits.depth)] = CLASS_ID["mountain"]
        return classes


def _near_line(points: np.ndarray, direction: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    to = centre - points
    along = to @ direction
    return (along > -radius) & (np.einsum("ij,ij->i", to, to) - along**2 < radius**2)


def edges(instance: np.ndarray, depth: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(H, W) bool: where instance, depth (by over 8 %) or normal (by over 40 degrees) jumps to the right or below."""
    out = np.zeros(instance.shape, bool)
    near = np.minimum(depth, 2 * BACKDROP)
    for axis in (0, 1):
        a, b = [np.s_[:-1], np.s_[:, :-1]][axis], [np.s_[1:], np.s_[:, 1:]][axis]
        jump = np.abs(near[a] - near[b]) > 0.08 * np.minimum(near[a], near[b])
        bend = np.einsum("...i,...i", normal[a], normal[b]) < 0.76
        solid = np.isfinite(depth[a]) | np.isfinite(depth[b])
        out[a] |= (instance[a] != instance[b]) | ((jump | bend) & solid & ((instance[a] > 0) | (instance[b] > 0)))
    return out


def centres(size: int) -> np.ndarray:
    """(size * size, 2) pixel centres (x, y), row by row."""
    line = np.arange(size) + 0.5
    return np.stack([np.tile(line, size), np.repeat(line, size)], 1)


def picture(tracer: Tracer, hits: Hits, sharp: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8; `sharp` marks the pixels that are averaged over four sub-samples."""
    pixels = centres(tracer.size)
    rgb = tracer.shade(pixels, hits)
    rows = np.flatnonzero(sharp.ravel())
    if len(rows):
        offsets = np.array([[-0.375, -0.125], [0.125, -0.375], [0.375, 0.125], [-0.125, 0.375]])
        fine = (pixels[rows, None] + offsets).reshape(-1, 2)
        rgb[rows] = tracer.shade(fine, tracer.trace(fine)).reshape(-1, 4, 3).mean(1)
    return np.round(rgb * 255).astype(np.uint8).reshape(tracer.size, tracer.size, 3)


def keypoints(scene: Composition, thing: Thing, size: int) -> dict[str, tuple[float, float]]:
    """Pixel positions (x, y) of a person's joints; empty for other kinds."""
    if not thing.keypoints:
        return {}
    xy = scene.project(np.stack(list(thing.keypoints.values())))[:, :2] * size
    return {name: (float(x), float(y)) for name, (x, y) in zip(thing.keypoints, xy, strict=True)}
