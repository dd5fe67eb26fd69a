"""A rendered scene as a layout: some or all of its regions as segments, under its full caption."""

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from scenewright.errors import UserError
from scenewright.scene import Scene, Segment

if TYPE_CHECKING:
    from .sample import Sample

Setting = Literal["few", "filtered", "all", "few-1", "few-2", "few-3"]
SETTINGS: tuple[str, ...] = get_args(Setting)
SMALL = 0.05  # share of the picture up to which a segment is left out of "few" and "filtered"
MOST = 3


def scene_of(sample: "Sample", setting: str = "all") -> Scene:
    """The layout of a sample, with hard masks, ground and backdrop behind the objects.

    all: every region. filtered: those over 5 % of the picture. few: one to three objects among those, chosen by the
    seed, as in ZestGuide's Eval-few. few-1 to few-3: so many of these, none if there are fewer. Nothing may be left.
    Raises UserError for another setting.
    """
    if setting not in SETTINGS:
        raise UserError(f"setting '{setting}' is not known; choose from {', '.join(SETTINGS)}.")
    ordered = sorted(sample.phrases, key=lambda phrase: phrase.instance > 0)
    regions = [(phrase, sample.mask(phrase)) for phrase in ordered]
    smallest = 0.0 if setting == "all" else SMALL
    kept = [(phrase, mask) for phrase, mask in regions if mask.mean() > smallest]
    if setting.startswith("few"):
        kept = [(phrase, mask) for phrase, mask in kept if phrase.instance]
        rng = np.random.default_rng([13, sample.seed])
        count = int(rng.integers(1, min(MOST, len(kept)) + 1)) if kept else 0
        count = count if setting == "few" else int(setting[-1])
        kept = [kept[i] for i in sorted(rng.permutation(len(kept))[:count])] if count <= len(kept) else []
    segments = tuple(Segment(mask, phrase.text, stuff=not phrase.instance) for phrase, mask in kept)
    height, width = sample.classes.shape
    return Scene(sample.caption, segments, (height, width), name=f"world {sample.seed}")
