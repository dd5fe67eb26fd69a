"""Every estimate of affinity that can be made for a source model and a labelled set, and the vote of all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scenewright.datasets.pairs import LabelledPictures
from scenewright.errors import UserError
from scenewright.judges import MODELS
from scenewright.transfer import affinity, readers
from scenewright.transfer.affinity import Affinity
from scenewright.transfer.folder import Source
from scenewright.transfer.readers import DenseFeatures, TextEncoder
from scenewright.world.vocabulary import CLASSES

KINDS = ("vote", "text", "segmentation", "self-supervised")
SOURCE_PICTURES = 200  # of the world, that stand for its classes


@dataclass(frozen=True)
class Encoders:
    """Folders or hub ids: of a text encoder (default: the embedded CLIP), of a self-supervised vision network (the
    embedded one, if there is one), of a segmenter of the source's classes (the source's own discriminator).
    """

    text: str = ""
    features: str = ""
    segmenter: str = ""

    def dense(self) -> DenseFeatures | None:
        """The vision network, or None where none is named and none is embedded."""
        embedded = MODELS / "features"
        if not self.features and not (embedded / "config.json").exists():
            return None
        return DenseFeatures.load(self.features or embedded)


def estimates(
    source: Source,
    target: LabelledPictures,
    own: LabelledPictures | None,
    encoders: Encoders,
    kinds: Sequence[str] = KINDS[1:],
    told: Callable[[str], None] = lambda text: None,
) -> list[Affinity]:
    """The estimates of `kinds` that can be made; `own` are pictures of the source's classes.

    The one from features needs `own` and a vision network; what cannot be made is left out and told. Raises UserError
    if nothing is left.
    """
    found: list[Affinity] = []
    if "text" in kinds:
        found.append(readers.text_affinity(TextEncoder.load(encoders.text), source.names, target.names))
    if "segmentation" in kinds:
        found.append(_segmentation(source, target, own, encoders.segmenter))
    if "self-supervised" in kinds:
        dense = encoders.dense()
        if dense is None or own is None:
            missing = "vision network (--features)" if dense is None else "pictures of the source's classes"
            told(f"no affinity from self-supervised features: there are no {missing}")
        else:
            rows = (readers.prototypes(dense, p.images, p.labels, len(p.names)) for p in (own, target))
            found.append(readers.feature_affinity(source.names, target.names, *rows))
    if not found:
        raise UserError("no affinity can be estimated from what is there; name --features, or ask for text")
    return found


def chosen(found: Sequence[Affinity], kind: str, tie: str = "soft") -> Affinity:
    """The estimate of a kind, or the vote of all; raises UserError for one that was not made."""
    if kind == "vote":
        return affinity.vote(found, tie)
    match = next((one for one in found if one.kind == kind), None)
    if match is None:
        raise UserError(f"affinity '{kind}' was not estimated; choose from vote, {', '.join(e.kind for e in found)}")
    return match


def world_pictures(source: Source, count: int = SOURCE_PICTURES) -> LabelledPictures | None:
    """Renders of the world, if its classes are the source's; else None."""
    if source.names != CLASSES:
        return None
    from scenewright.world import render

    size = source.pair.config.size[0]
    samples = [render(seed, size) for seed in range(count)]
    images, labels = (np.stack([getattr(s, part) for s in samples]) for part in ("image", "classes"))
    stems = tuple(str(sample.seed) for sample in samples)
    return LabelledPictures(CLASSES, tuple(range(1, len(CLASSES))), (0,), stems, images, labels)


def _segmentation(source: Source, target: LabelledPictures, own: LabelledPictures | None, segmenter: str) -> Affinity:
    read = (
        readers.scores_of_segmenter(segmenter, source.names)
        if segmenter
        else readers.scores_of_critic(source.pair.discriminator)
    )
    counts = readers.confusion(read, target.images, target.labels, len(target.names))
    nulls = np.full(1, np.nan)
    if own is not None and not segmenter:  # a network that only names classes has no second choice
        nulls = readers.forbidden(read, own.images, own.labels, len(own.names))
    return affinity.from_counts(source.names, target.names, counts, nulls)
