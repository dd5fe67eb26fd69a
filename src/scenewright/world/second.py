"""A second label set over the same scenes: other names, classes merged, split and new, another camera and light.

It stands for somebody else's pictures: which of its classes is which of the world's is known exactly, so that a
guess of the correspondence can be judged.
"""

from dataclasses import dataclass, replace

import numpy as np

from .compose import Composition, Thing, compose
from .materials import LIGHTS, Light
from .render import Tracer, centres, edges, picture
from .sample import SMALLEST
from .sketch import Colour, Sketch, rotation
from .vocabulary import CLASS_ID, CLASSES

# What each class is in the world's words. Several: merged. Named twice: split (see `_of_thing`, `_of_sky`). None: new.
CORRESPONDENCE: dict[str, tuple[str, ...]] = {
    "man": ("person",), "pet": ("cat", "dog"), "cattle": ("cow", "horse", "sheep"),
    "wild animal": ("zebra", "giraffe", "elephant"), "duck": ("bird",), "bush": ("tree",), "autumn tree": ("tree",),
    "building": ("house",), "sedan": ("car",), "lorry": ("truck", "bus"), "locomotive": ("train",),
    "motorbike": ("motorcycle",), "ship": ("boat",), "seat": ("bench", "chair", "couch"), "desk": ("table",),
    "mattress": ("bed",), "parasol": ("umbrella",), "balloon": ("ball",), "luggage": ("bag",), "jar": ("bottle",),
    "snowman": (), "rocket": (), "windmill": (),
    "meadow": ("grass",), "beach": ("sand",), "ice": ("snow",), "sea": ("water",), "street": ("road",),
    "ground": ("dirt", "floor"), "hill": ("mountain",), "day sky": ("sky",), "evening sky": ("sky",),
    "partition": ("wall",),
}  # fmt: skip
NAMES: tuple[str, ...] = ("unlabelled", *CORRESPONDENCE)
NEW = tuple(name for name, sources in CORRESPONDENCE.items() if not sources)
# What a person would draw a new class with, if only the world's classes could be had.
STAND_INS = {"snowman": "person", "rocket": "bottle", "windmill": "umbrella"}
_ID = {name: index for index, name in enumerate(NAMES)}
_RENAMED = {source: name for name, sources in CORRESPONDENCE.items() for source in sources}
_REPLACED = {"kite": "rocket", "book": "snowman", "traffic light": "windmill"}  # kinds that this set does not have


@dataclass(frozen=True)
class Labelled:
    """A picture (H, W, 3) uint8 and its class ids (H, W) uint8 into NAMES."""

    seed: int
    image: np.ndarray
    classes: np.ndarray


def render_second(seed: int, size: int = 128) -> Labelled:
    """The scene of `seed` as the second set shows it; same seed, same bytes."""
    scene = restaged(compose(seed))
    while True:
        tracer = Tracer(scene, size)
        tracer.light = _relit(LIGHTS[scene.sky or "indoor"])
        hits = tracer.trace(centres(size))
        instances = tracer.owner[hits.solid].astype(np.uint8)
        areas = np.bincount(instances, minlength=len(scene.things) + 1)
        tiny = {thing.instance for thing in scene.things if areas[thing.instance] < SMALLEST * size * size}
        if not tiny:
            break
        scene = scene.without(tiny)
    grid = (size, size)
    sharp = edges(instances.reshape(grid), hits.depth.reshape(grid), hits.normal.reshape(*grid, 3))
    table = [0, *(_of_thing(thing) for thing in scene.things)]
    classes = np.array(table, np.uint8)[instances]
    classes[hits.solid == -1] = _ID[_RENAMED[scene.ground]]
    far = hits.solid == -2
    classes[far] = _ID["partition"] if scene.wall else _of_sky(scene)
    if not scene.wall:
        classes[far & np.isfinite(hits.depth)] = _ID["hill"]
    return Labelled(seed, graded(picture(tracer, hits, sharp)), classes.reshape(grid))


def oracle() -> np.ndarray:
    """(world's classes, this set's) true affinity: merged classes share a column evenly, new ones have a stand-in."""
    matrix = np.zeros((len(CLASSES), len(NAMES)))
    matrix[0, 0] = 1
    for name, sources in CORRESPONDENCE.items():
        for source in sources or (STAND_INS[name],):
            matrix[CLASS_ID[source], _ID[name]] = 1 / len(sources or (1,))
    return matrix


def restaged(scene: Composition) -> Composition:
    """Seen from higher up, lit from the other side, and with the new objects in the place of those it does not have."""
    sun = scene.sun * np.array([-1.0, 1.0, 1.0])
    things = tuple(_swapped(thing, scene.seed) for thing in scene.things)
    return replace(scene, height=scene.height + 0.7, pitch=scene.pitch + 0.18, sun=sun, things=things)


def graded(image: np.ndarray) -> np.ndarray:
    """The look of an old slide: paler colours, lifted blacks, a warm cast and darker corners."""
    x = image.astype(np.float64) / 255
    grey = x @ np.array([0.3, 0.59, 0.11])
    x = 0.72 * x + 0.28 * grey[..., None]
    x = 0.06 + 0.9 * x * np.array([1.04, 0.99, 0.88])
    line = np.linspace(-1, 1, len(x))
    corner = np.clip(line[:, None] ** 2 + line**2 - 0.7, 0, None)
    return np.round(255 * np.clip(x * (1 - 0.16 * corner[..., None]), 0, 1)).astype(np.uint8)


def _relit(light: Light) -> Light:
    """A lower, redder sun under a bluer sky."""
    red, blue = np.array([1.15, 0.95, 0.75]), np.array([0.86, 0.93, 1.08])
    return Light(light.sun * red, light.above * blue, light.below * blue, light.haze * blue)


def _of_thing(thing: Thing) -> int:
    if thing.kind == "tree":
        return _ID["bush" if thing.colour == "green" else "autumn tree"]
    return _ID[_RENAMED.get(thing.kind, thing.kind)]


def _of_sky(scene: Composition) -> int:
    return _ID["day sky" if scene.sky in ("clear", "cloudy") else "evening sky"]


def _swapped(thing: Thing, seed: int) -> Thing:
    kind = _REPLACED.get(thing.kind)
    if kind is None:
        return thing
    sketch = Sketch((0.8, 0.8, 0.8), np.random.default_rng([17, seed, thing.instance]))
    _BUILDERS[kind](sketch)
    old, new = (np.concatenate([s.corners() for s in solids]) for solids in (thing.solids, sketch.solids))
    place = rotation(1, sketch.rng.uniform(-0.5, 0.5)) * (np.ptp(old, 0).max() / np.ptp(new, 0).max())
    base = np.array([thing.base[0], 0.0, thing.base[2]])
    solids = tuple(replace(s, linear=place @ s.linear, centre=place @ s.centre + base) for s in sketch.solids)
    centre = np.array([base[0], np.ptp(old, 0).max() / 2, base[2]])
    radius = max(float(np.linalg.norm(s.centre - centre) + s.radius) for s in solids)
    return replace(thing, kind=kind, colour=None, solids=solids, place=place, base=base, centre=centre, radius=radius)


def _snowman(s: Sketch) -> None:
    white: Colour = (0.96, 0.97, 1.0)
    for y, r in ((0.24, 0.26), (0.6, 0.19), (0.88, 0.13)):
        s.ball((0, y, 0), r, white)
    s.limb((0, 0.88, 0.12), (0, 0.88, 0.3), 0.035, (0.95, 0.45, 0.1), 0.0)
    s.limb((0, 0.98, 0), (0, 1.14, 0), 0.11, (0.1, 0.1, 0.12))
    for side in (-1, 1):
        s.limb((side * 0.15, 0.62, 0), (side * 0.42, 0.78, 0), 0.02, (0.3, 0.2, 0.1))


def _rocket(s: Sketch) -> None:
    s.limb((0, 0.2, 0), (0, 0.8, 0), 0.14, (0.92, 0.92, 0.95), gloss=0.4)
    s.limb((0, 0.8, 0), (0, 1.1, 0), 0.14, (0.85, 0.15, 0.12), 0.0)
    s.ball((0, 0.62, 0.13), 0.06, (0.2, 0.5, 0.9), gloss=0.5)
    for turn in range(4):
        x, z = np.cos(turn * np.pi / 2), np.sin(turn * np.pi / 2)
        s.limb((0.12 * x, 0.35, 0.12 * z), (0.32 * x, 0.0, 0.32 * z), 0.06, (0.85, 0.15, 0.12), 0.03)


def _windmill(s: Sketch) -> None:
    s.limb((0, 0, 0), (0, 0.75, 0), 0.2, (0.82, 0.70, 0.55), 0.11)
    s.limb((0, 0.75, 0), (0, 0.92, 0), 0.14, (0.45, 0.2, 0.16), 0.0)
    for turn in range(4):
        angle = np.pi / 4 + turn * np.pi / 2
        s.box((0.26 * np.cos(angle), 0.78 + 0.26 * np.sin(angle), -0.16), (0.26, 0.06, 0.01), (0.95, 0.93, 0.85), angle)


_BUILDERS = {"snowman": _snowman, "rocket": _rocket, "windmill": _windmill}
