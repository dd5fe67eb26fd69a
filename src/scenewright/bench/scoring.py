"""From pictures and scenes to scores: what was asked for, what the judges see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from scenewright.datasets.coco_names import spoken
from scenewright.denoiser import Model
from scenewright.metrics.intervals import interval
from scenewright.metrics.layout import LayoutScore
from scenewright.metrics.objects import ids
from scenewright.metrics.quality import Gaussian, clip_scores, frechet_distance
from scenewright.scene import Scene
from scenewright.world import CLASS_ID, CLASSES, KINDS, STUFF, class_of

OBJECTS, GROUND_AND_SKY = ids(KINDS), ids(STUFF)


@dataclass(frozen=True)
class Labels:
    """The classes of a segmenter: `id_of` gives that of some words, 0 for none; mIoU is over `objects` and, apart from
    them, over `stuff`. `names` are those of the ids, 0 included.
    """

    id_of: Callable[[str], int]
    objects: tuple[int, ...]
    stuff: tuple[int, ...]
    names: tuple[str, ...] = CLASSES

    @classmethod
    def named(cls, names: Sequence[str]) -> "Labels":
        """Class i + 1 is the one of the i-th name; words mean the class that is said so ("sky-other" is "sky").

        All classes count as objects, as in ZestGuide's evaluation.
        """
        ids: dict[str, int] = {}
        for words in (list(names), [spoken(name) for name in names]):  # a name itself goes before what sounds like it
            for index, word in enumerate(words, start=1):
                ids.setdefault(word.strip().lower(), index)
        every = tuple(range(1, len(names) + 1))
        return cls(lambda words: ids.get(words.strip().lower(), 0), every, (), ("unlabelled", *names))


def _world_id(words: str) -> int:
    name = class_of(words)
    return CLASS_ID[name] if name else 0


WORLD_LABELS = Labels(_world_id, OBJECTS, GROUND_AND_SKY)


@dataclass(frozen=True)
class Judges:
    """The three functions that benches need of judges; tests bring their own."""

    segment: Callable[[np.ndarray], np.ndarray]
    image_features: Callable[[np.ndarray], np.ndarray]
    text_features: Callable[[Sequence[str]], np.ndarray]
    identity: str
    labels: Labels = WORLD_LABELS

    @classmethod
    def embedded(cls) -> "Judges":
        """The embedded segmenter and CLIP; raises UserError if they are missing."""
        from scenewright import judges

        judges.segmenter()
        judges.clip()  # both are read now, so that a missing one is said before any work
        return cls(judges.segment, judges.clip_image_features, judges.clip_text_features, judges.identity())

    @classmethod
    def with_segmenter(cls, source: str) -> "Judges":
        """The embedded CLIP beside the segmentation network of a folder or hub id; raises UserError if it is none."""
        from scenewright import judges
        from scenewright.segmenters import NamedSegmenter

        network, labels = NamedSegmenter.load(source), Labels.named
        own = f"{network.identity}+{judges.identity()}"
        return cls(network, judges.clip_image_features, judges.clip_text_features, own, labels(network.names))


def identities(model: Model, judges: Judges) -> dict[str, str]:
    """What drew and what judged a result: weights, precision, judges."""
    own = model.identity()
    return {"model": own["sha256"][:12], "dtype": own["dtype"], "judges": judges.identity}


def asked_for(scene: Scene, size: tuple[int, int], labels: Labels = WORLD_LABELS) -> np.ndarray:
    """(H, W) int32 class that the front segment at a pixel asks for; 0 for none, and for words that are no class."""
    lookup = np.array([0, *(labels.id_of(segment.text) for segment in scene.segments)], np.int32)
    classes = lookup[scene.label_map()]
    if classes.shape == size:
        return classes
    return np.asarray(Image.fromarray(classes).resize((size[1], size[0]), Image.Resampling.NEAREST))


def layout_score(
    scenes: Sequence[Scene], classes: np.ndarray, spurious_zero: bool = False, labels: Labels = WORLD_LABELS
) -> LayoutScore:
    """The mean IoUs of class maps (N, H, W) against what the scenes asked for."""
    score = LayoutScore(labels.objects, labels.stuff, spurious_zero)
    for scene, seen in zip(scenes, classes, strict=True):
        score.update(asked_for(scene, seen.shape, labels), seen)
    return score


@dataclass(frozen=True, eq=False)
class Judged:
    """What the judges see in N pictures: layouts, image features (N, D), CLIP scores (N,). Parts can be merged."""

    layout: LayoutScore
    features: np.ndarray
    clip: np.ndarray

    @classmethod
    def of(
        cls, judges: Judges, scenes: Sequence[Scene], images: np.ndarray, classes: np.ndarray | None = None
    ) -> "Judged":
        """Pictures (N, H, W, 3) against the scenes that they were drawn from; `classes` (N, H, W) if already judged."""
        features = judges.image_features(images)
        clip = clip_scores(features, judges.text_features([scene.caption for scene in scenes]))
        seen = judges.segment(images) if classes is None else classes
        return cls(layout_score(scenes, seen, labels=judges.labels), features, clip)

    def __len__(self) -> int:
        return len(self.clip)

    def merged(self, other: "Judged") -> "Judged":
        """Both, this one's pictures first."""
        features, clip = (np.concatenate(pair) for pair in ((self.features, other.features), (self.clip, other.clip)))
        return Judged(self.layout.merged(other.layout), features, clip)

    def figures(self, reference: Gaussian) -> dict[str, Any]:
        """miou, miou_full, miou_stuff, fid against the features of `reference`, clip, and `intervals` of the main ones.

        The intervals [low, high] say how much the choice of scenes and noise matters, not how much the reference does.
        """
        count = len(self)

        def distance(pictures: np.ndarray) -> float:
            if len(pictures) < 2:
                return float("nan")
            return frechet_distance(reference, Gaussian.of(self.features[pictures]))

        return {
            **self.layout.over(),
            "fid": distance(np.arange(count)),
            "clip": float(self.clip.mean()),
            "intervals": {
                "miou": interval(lambda pictures: self.layout.over(pictures)["miou"], count),
                "fid": interval(distance, count, draws=100, centred=True),
                "clip": interval(lambda pictures: float(self.clip[pictures].mean()), count),
            },
        }


def scores(judges: Judges, scenes: Sequence[Scene], images: np.ndarray, reference: Gaussian) -> dict[str, Any]:
    """The figures of one method's pictures; FID is of world-CLIP features against `reference`."""
    return Judged.of(judges, scenes, images).figures(reference)
