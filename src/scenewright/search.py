"""Prompt compliance (FG-DM, arXiv 2410.21638, section 4): draw many maps, keep the one that says most of the caption.

The picture is drawn once, under the best map. Beyond the paper: draws that are clearly losing are dropped early, by the
map they are heading for half-way.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from scenewright.denoiser import Prediction
from scenewright.errors import UserError
from scenewright.graph.factor import Factor
from scenewright.graph.sampling import Variable, begin, decoded
from scenewright.maps import Segmentation
from scenewright.metrics.objects import SMALLEST_FOUND
from scenewright.scene import Scene
from scenewright.world import GROUNDS, KINDS, class_of

Score = Callable[[Any], float]

_SPLIT = re.compile(
    r"[,.;:!?]|\b(?:and|or|with|of|on|in|at|near|from|wearing|under|over|above|below|next|to|by|beside|behind|front|"
    r"that|which|who|for|as|is|are|standing|sitting|lying|there|between|along|through|while)\b",
    re.IGNORECASE,
)
_ARTICLES = re.compile(r"^(?:(?:a|an|the|some|two|three|four|five|many|several|his|her|its|their)\s+)+", re.IGNORECASE)
_PICTURES = ("picture", "photo", "photograph", "painting", "drawing", "image")


def noun_chunks(caption: str) -> tuple[str, ...]:
    """The things a caption names, in order, by rule: what stands between prepositions, verbs and commas, articles off.

    "a picture of a red car and two dogs under a clear sky" -> ("red car", "dogs", "clear sky"). Words of other kinds
    than the rules know stay in a chunk, so check the result against a vocabulary, as `objects_of` does.
    """
    parts = (_ARTICLES.sub("", part.strip() + " ").strip() for part in _SPLIT.split(caption))
    return tuple(" ".join(part.split()) for part in parts if part and part.lower() not in _PICTURES)


def objects_of(said: str | Scene | Iterable[str], everything: bool = False) -> tuple[str, ...]:
    """The classes of the world that a caption, a scene's segments or a list of phrases names, each once.

    Objects only, unless `everything` (ground, sky and wall) is wanted too. A scene without segments is read by its
    caption. Raises UserError when none is known: nothing could be looked for.
    """
    if isinstance(said, Scene):
        said = [segment.text for segment in said.segments] or said.caption
    phrases = noun_chunks(said) if isinstance(said, str) else tuple(said)
    found = dict.fromkeys(name for phrase in phrases if (name := class_of(phrase)))
    kept = tuple(name for name in found if everything or name in KINDS)
    if not kept:
        raise UserError(f"no known object in {', '.join(phrases) or 'the caption'!r}; name some, such as 'a dog'.")
    return kept


@dataclass(frozen=True)
class Recall:
    """The share of `wanted` labels that a label map shows, each on at least `least` of its pixels."""

    codec: Segmentation
    wanted: tuple[str, ...]
    least: float = SMALLEST_FOUND

    def __post_init__(self) -> None:
        if not self.wanted:
            raise UserError("nothing to look for: name at least one object.")
        _ = [self.codec.index(name) for name in self.wanted]

    def __call__(self, labels: np.ndarray) -> float:
        """Recall in [0, 1] of a label map (H, W)."""
        return len(self.shown(labels)) / len(self.wanted)

    def shown(self, labels: np.ndarray) -> tuple[str, ...]:
        """The wanted labels that are there."""
        areas = np.bincount(np.asarray(labels).ravel(), minlength=len(self.codec.labels)) / np.size(labels)
        return tuple(name for name in self.wanted if areas[self.codec.index(name)] >= self.least)


def attribute_recall(codec: Segmentation, said: str | Scene | Iterable[str]) -> Recall:
    """Recall of what a label map can show of a scene beside its objects: ground, sky, wall, mountain."""
    names = objects_of(said, everything=True)
    stuff = tuple(name for name in names if name not in KINDS)
    if not stuff:
        raise UserError(f"the caption names no surroundings; say, for example, 'on {GROUNDS[0]}'.")
    return Recall(codec, stuff)


@dataclass(frozen=True)
class Best:
    """The row of the best draw, and the score of every row. `seeds` are the scores in the order of the seeds, NaN for
    those that were dropped on the way.
    """

    row: int
    scores: tuple[float, ...]
    seeds: tuple[float, ...] = ()

    @property
    def score(self) -> float:
        """The best draw's score."""
        return self.scores[self.row]


def best_of(draws: Sequence[Any], score: Score) -> Best:
    """The draw with the highest score, the first of equals. Raises UserError when there is none."""
    if not len(draws):
        raise UserError("there are no draws to choose from; draw at least one.")
    scores = tuple(float(score(draw)) for draw in draws)
    return Best(int(np.argmax(scores)), scores)


@dataclass(frozen=True)
class Dropping:
    """Which draws to give up: after `after` of the steps, all but the best `keep` (shares in (0, 1])."""

    after: float = 0.5
    keep: float = 0.4

    def __post_init__(self) -> None:
        if not (0 < self.after <= 1 and 0 < self.keep <= 1):
            raise UserError(
                f"cannot keep {self.keep} of the draws after {self.after} of the steps; give shares up to 1."
            )

    def survivors(self, scores: Sequence[float]) -> list[int]:
        """Rows to go on with, in order. Equals go by row, and a row with the best score is always among them."""
        count = max(1, round(self.keep * len(scores)))
        return sorted(np.argsort(-np.asarray(scores), kind="stable")[:count].tolist())


@torch.no_grad()
def search(
    factor: Factor, caption: str | Scene, seeds: Sequence[int], score: Score, dropping: Dropping | None = None
) -> tuple[Best, Variable]:
    """Draw a map of the caption with every seed and score it; the best, and the draws that were finished.

    `factor` must have a codec and no parent but the caption. With `dropping`, the maps that the draws are heading for
    (the x0 of the last prediction) are scored on the way and the losers are given up; `Best.row` is then a row of the
    finished draws.
    """
    if factor.codec is None or factor.maps:
        raise UserError(f"'{factor.variable}' cannot be searched; it needs a codec and no parent but the caption.")
    if not seeds:
        raise UserError("nothing to draw: give at least one seed.")
    chain, alive, prediction = begin(factor, [caption] * len(seeds), seeds), list(range(len(seeds))), None
    while not chain.done:
        if dropping and prediction and len(alive) > 1 and chain.level.progress >= dropping.after:
            kept = dropping.survivors([score(values) for values in decoded(factor, prediction.x0).maps or ()])
            chain.keep(kept)
            alive, dropping = [alive[i] for i in kept], None
        prediction: Prediction | None = chain.advance()
    drawn = decoded(factor, chain.checked())
    best = best_of(drawn.maps or (), score)
    found = dict(zip(alive, best.scores, strict=True))
    return Best(best.row, best.scores, tuple(found.get(i, float("nan")) for i in range(len(seeds)))), drawn
