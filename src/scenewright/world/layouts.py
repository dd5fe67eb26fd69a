"""From a rendered scene to a layout: the caption and the regions that a user might have drawn.

Settings follow ZestGuide's evaluation (its section 4): *all* gives every region, *filtered* every region over 5 % of
the picture, *few* one to three of the objects over 5 %, chosen by the scene's seed.
"""

from typing import Literal

import numpy as np

from ..scene import Scene, Segment
from .describe import Phrase
from .sample import Sample

Setting = Literal["few", "filtered", "all"]
LEAST = 0.05  # share of the picture


def layout(sample: Sample, setting: Setting = "all") -> Scene | None:
    """The scene a user would draw, or None when no region qualifies. Masks are exact, hence binary and disjoint."""
    chosen = list(sample.phrases)
    if setting != "all":
        chosen = [p for p in chosen if sample.mask(p).mean() > LEAST]
    if setting == "few":
        chosen = _few([p for p in chosen if p.instance], sample.seed)
    segments = tuple(_segment(sample, phrase) for phrase in chosen if sample.mask(phrase).any())
    if not segments:
        return None
    return Scene(sample.caption, segments, sample.image.shape[:2], name=f"world-{sample.seed}")  # type: ignore[arg-type]


def _few(objects: list[Phrase], seed: int) -> list[Phrase]:
    rng = np.random.default_rng([5, seed])
    count = int(rng.integers(1, min(3, len(objects)) + 1)) if objects else 0
    return [objects[i] for i in sorted(rng.permutation(len(objects))[:count])]


def _segment(sample: Sample, phrase: Phrase) -> Segment:
    name = f"{phrase.text} {phrase.instance}" if phrase.instance else phrase.text
    return Segment(sample.mask(phrase).astype(np.float32), phrase.text, name=name, stuff=not phrase.instance)
