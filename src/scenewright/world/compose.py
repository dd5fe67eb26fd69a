"""From a seed to a composition: where the camera, the light and the objects are. No pixels yet.

Lengths are metres, angles radians. The camera sits at (0, height, 0), looks along +z and is pitched down by `pitch`;
its focal length is `FOCAL` picture heights. Every choice is drawn from one PCG64 stream, so a seed is a scene.
"""

from dataclasses import dataclass, replace

import numpy as np

from .objects import build
from .shapes import Solid
from .sketch import Sketch, rotation
from .vocabulary import GROUNDS, KIND_COLOURS, KINDS, SKIES, held_out

RECIPE = 3  # raise when any picture changes: caches and models say which recipe they saw
FOCAL = 1.05
TRAIN, VALIDATION, TEST = range(0, 10_000_000), range(10_000_000, 20_000_000), range(20_000_000, 30_000_000)
WALLS = ("white", "gray", "yellow", "blue", "green", "pink", "red", "purple")
_HEIGHT_SHARE = {1: (0.48, 0.86), 2: (0.42, 0.70), 3: (0.36, 0.58), 4: (0.32, 0.50), 5: (0.28, 0.44)}
_ATTEMPTS = 24  # places tried for an object, smaller each time, before the scene does without it
_PROFILE = (
    "cat",
    "dog",
    "horse",
    "cow",
    "sheep",
    "zebra",
    "giraffe",
    "elephant",
    "bird",
    "bus",
    "truck",
    "train",
    "motorcycle",
    "boat",
    "car",
)


@dataclass(frozen=True)
class Thing:
    """One placed object. `instance` counts from 1; `colour` is None for kinds with one look."""

    instance: int
    kind: str
    colour: str | None
    solids: tuple[Solid, ...]
    place: np.ndarray  # (3, 3): local to world, rotation times scale
    base: np.ndarray  # (3,)
    centre: np.ndarray  # (3,) of a sphere that holds it
    radius: float
    keypoints: dict[str, np.ndarray]


@dataclass(frozen=True)
class Composition:
    """Everything the renderer needs, and everything a caption may say."""

    seed: int
    ground: str
    sky: str  # one of SKIES, or "" indoors
    wall: str  # a colour, or "" outdoors
    mountain: bool
    height: float
    pitch: float
    sun: np.ndarray
    phase: np.ndarray
    things: tuple[Thing, ...]

    @property
    def camera(self) -> np.ndarray:
        """(3, 3) rows: camera right, down and forward axes in the world."""
        c, s = np.cos(self.pitch), np.sin(self.pitch)
        return np.array([[1.0, 0, 0], [0, -c, -s], [0, -s, c]])

    def project(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) world points to (N, 3): x and y as fractions of the picture, and depth in metres."""
        view = (points - np.array([0, self.height, 0])) @ self.camera.T
        depth = np.maximum(view[:, 2], 1e-3)
        return np.stack([0.5 + FOCAL * view[:, 0] / depth, 0.5 + FOCAL * view[:, 1] / depth, view[:, 2]], 1)

    def without(self, instances: set[int]) -> "Composition":
        """The same scene with some objects taken away; the others keep their place and are numbered anew."""
        kept = [thing for thing in self.things if thing.instance not in instances]
        return replace(self, things=tuple(replace(thing, instance=i + 1) for i, thing in enumerate(kept)))


def compose(seed: int, count: int | None = None, unseen: bool = False) -> Composition:
    """The composition of a seed; `count` fixes how many objects are tried.

    Training seeds never hold a held-out colour-object pair. `unseen` makes the first object one of those pairs.
    """
    rng = np.random.default_rng([RECIPE, seed])
    indoor = rng.random() < 0.22
    ground = "floor" if indoor and rng.random() < 0.8 else GROUNDS[int(rng.integers(len(GROUNDS)))]
    if not indoor and ground == "floor":
        ground = "grass"
    sun_turn, sun_lift = rng.uniform(-2.6, 2.6), rng.uniform(0.65, 1.15)
    sun = np.array([np.cos(sun_lift) * np.sin(sun_turn), np.sin(sun_lift), -np.cos(sun_lift) * np.cos(sun_turn)])
    scene = Composition(
        seed,
        ground,
        "" if indoor else SKIES[int(rng.integers(len(SKIES)))],
        WALLS[int(rng.integers(len(WALLS)))] if indoor else "",
        bool(not indoor and rng.random() < 0.22),
        rng.uniform(0.9, 1.5),
        rng.uniform(0.08, 0.22),
        sun,
        rng.uniform(0, 6.28, 8),
        (),
    )
    wanted = int(count or rng.choice(5, p=[0.30, 0.27, 0.21, 0.12, 0.10]) + 1)
    return replace(scene, things=tuple(_place_all(scene, wanted, rng, seed in TRAIN, unseen)))


def _place_all(scene: Composition, wanted: int, rng: np.random.Generator, train: bool, unseen: bool) -> list[Thing]:
    things: list[Thing] = []
    boxes: list[np.ndarray] = []
    while len(things) < wanted:
        kind, colour = _identity(rng, train, unseen and not things)
        for attempt in range(_ATTEMPTS):
            shrink = 1 - 0.5 * attempt / _ATTEMPTS
            thing = _place(scene, kind, colour, len(things) + 1, _HEIGHT_SHARE[min(wanted, 5)], shrink, rng)
            box = _screen_box(scene, thing)
            if _fits(box, boxes):
                things.append(thing)
                boxes.append(box)
                break
        else:
            wanted -= 1
    return things


def _identity(rng: np.random.Generator, train: bool, unseen: bool) -> tuple[str, str | None]:
    while True:
        kind = KINDS[int(rng.integers(len(KINDS)))]
        colours = KIND_COLOURS[kind]
        if unseen:
            colours = tuple(c for c in colours if held_out(kind, c))
        elif train:
            colours = tuple(c for c in colours if not held_out(kind, c))
        if colours:
            return kind, colours[int(rng.integers(len(colours)))]
        if not unseen:
            return kind, None


def _place(
    scene: Composition,
    kind: str,
    colour: str | None,
    instance: int,
    share: tuple[float, float],
    shrink: float,
    rng: np.random.Generator,
) -> Thing:
    sketch = build(kind, colour, rng)
    corners = np.concatenate([solid.corners() for solid in sketch.solids])
    size = rng.uniform(1.25, 1.75) / np.ptp(corners, 0).max()
    depth = FOCAL * size * np.ptp(corners, 0).max() / (rng.uniform(*share) * shrink)
    side = (0.0, np.pi)[int(rng.integers(2))]
    turn = (
        side + rng.uniform(-0.6, 0.6)
        if kind in _PROFILE
        else rng.uniform(-0.7, 0.7) - (np.pi / 2 if kind == "person" else 0) + _facing(kind)
    )
    place = rotation(1, turn) * size
    lift = -corners[:, 1].min() * size
    spread = depth * 0.44 / FOCAL
    base = np.array([rng.uniform(-spread, spread), lift, depth])
    solids = tuple(replace(s, linear=place @ s.linear, centre=place @ s.centre + base) for s in sketch.solids)
    centre, radius = _sphere(solids)
    return Thing(instance, kind, colour, solids, place, base, centre, radius, _world(sketch, place, base))


def _facing(kind: str) -> float:
    # Thin or fronted things look at the camera, which stands at negative z of every object.
    return np.pi if kind in ("book", "bag", "bench", "couch", "chair") else 0.0


def _world(sketch: Sketch, place: np.ndarray, base: np.ndarray) -> dict[str, np.ndarray]:
    return {name: place @ point + base for name, point in sketch.keypoints.items()}


def _sphere(solids: tuple[Solid, ...]) -> tuple[np.ndarray, float]:
    low = np.min([s.centre - s.radius for s in solids], 0)
    high = np.max([s.centre + s.radius for s in solids], 0)
    centre = (low + high) / 2
    return centre, max(float(np.linalg.norm(s.centre - centre) + s.radius) for s in solids)


def _screen_box(scene: Composition, thing: Thing) -> np.ndarray:
    points = scene.project(np.concatenate([s.corners() for s in thing.solids]))
    return np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])


def _fits(box: np.ndarray, others: list[np.ndarray]) -> bool:
    width, height = box[2:] - box[:2]
    inside = np.clip(box[2:], 0, 1) - np.clip(box[:2], 0, 1)
    if inside.min() <= 0 or inside.prod() < 0.88 * width * height:
        return False
    for other in others:
        shared = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
        smaller = min(width * height, (other[2:] - other[:2]).prod())
        if shared.min() > 0 and shared.prod() > 0.22 * smaller:
            return False
    return True
