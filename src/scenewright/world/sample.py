"""One rendered scene of the reference world: the picture, its maps, and its words."""

from dataclasses import dataclass

import numpy as np

from .compose import Composition, compose
from .describe import Phrase, caption, phrases
from .render import Tracer, centres, edges, keypoints, picture

SMALLEST = 0.008  # share of the picture under which an object is taken out of the scene: it could not be seen
PHRASINGS = 3


@dataclass(frozen=True)
class Sample:
    """Arrays are (H, W) or (H, W, 3), exact at pixel centres.

    image uint8 RGB; classes uint8 ids into CLASSES; instances uint8, 0 for ground, sky, wall and mountain; depth
    float32 metres (inf on the sky); normals float32 unit, camera frame (x right, y down, z forward); sketch bool.
    """

    seed: int
    image: np.ndarray
    classes: np.ndarray
    instances: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    sketch: np.ndarray
    poses: dict[int, dict[str, tuple[float, float]]]
    phrases: tuple[Phrase, ...]
    captions: tuple[str, ...]
    composition: Composition

    @property
    def caption(self) -> str:
        return self.captions[0]

    def mask(self, phrase: Phrase) -> np.ndarray:
        """(H, W) bool of the region that a phrase names."""
        return (
            self.instances == phrase.instance
            if phrase.instance
            else (self.classes == phrase.class_id) & (self.instances == 0)
        )


def render(seed: int, size: int = 128, count: int | None = None, unseen: bool = False, shaded: bool = True) -> Sample:
    """The scene of `seed` at `size` pixels square; same seed, same bytes.

    `count` fixes the number of objects tried (1 to 5), `unseen` makes the first a held-out colour-object pair. Without
    `shaded` the picture stays black, which is quicker where the maps alone are wanted.
    """
    scene = compose(seed, count, unseen)
    while True:
        tracer = Tracer(scene, size)
        hits = tracer.trace(centres(size))
        instances = tracer.owner[hits.solid].astype(np.uint8)
        areas = np.bincount(instances, minlength=len(scene.things) + 1)
        tiny = {thing.instance for thing in scene.things if areas[thing.instance] < SMALLEST * size * size}
        if not tiny:
            break
        scene = scene.without(tiny)
    grid = (size, size)
    instances = instances.reshape(grid)
    depth, normals = hits.depth.reshape(grid), hits.normal.reshape(*grid, 3)
    sharp = edges(instances, depth, normals)
    said = tuple(phrases(scene))
    return Sample(
        seed,
        picture(tracer, hits, sharp) if shaded else np.zeros((*grid, 3), np.uint8),
        tracer.class_of(hits).reshape(grid),
        instances,
        depth.astype(np.float32),
        (normals @ scene.camera.T).astype(np.float32),
        sharp,
        {t.instance: keypoints(scene, t, size) for t in scene.things if t.keypoints},
        said,
        tuple(caption(scene, list(said), k) for k in range(PHRASINGS)),
        scene,
    )
