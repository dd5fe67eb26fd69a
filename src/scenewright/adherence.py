"""How well a picture of the reference world keeps to its scene, segment by segment, by the embedded segmenter."""

import numpy as np
from PIL import Image

from scenewright.record import Adherence
from scenewright.scene import Scene
from scenewright.world.vocabulary import CLASS_ID, class_of


def adherence(image: Image.Image, scene: Scene) -> tuple[Adherence, ...]:
    """IoU of each segment's visible part with the judge's pixels of its class; None where there is no such class.

    Pixels of the class that other segments of the same class ask for are left out: twins do not count against each
    other.
    """
    from scenewright.judges import segment

    predicted = segment(np.asarray(image.convert("RGB"))[None])[0]
    height, width = predicted.shape
    labels = Image.fromarray(scene.label_map().astype(np.int32)).resize((width, height), Image.Resampling.NEAREST)
    asked = np.asarray(labels)
    names = [class_of(segment.text) for segment in scene.segments]
    found = []
    for i, (part, name) in enumerate(zip(scene.segments, names, strict=True)):
        iou = None
        if name is not None:
            twins = [j + 1 for j, other in enumerate(names) if other == name and j != i]
            seen = (predicted == CLASS_ID[name]) & ~np.isin(asked, twins)
            iou = overlap(asked == i + 1, seen)
        found.append(Adherence(segment=part.text, iou=iou))
    return tuple(found)


def overlap(asked: np.ndarray, seen: np.ndarray) -> float | None:
    """Intersection over union of two bool arrays; None if nothing was asked for."""
    if not asked.any():
        return None
    return round(float((asked & seen).sum() / (asked | seen).sum()), 4)
