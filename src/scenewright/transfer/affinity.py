"""Which source class each target class resembles (CAT, arXiv 2304.02321): from names, from what a segmenter of the
source sees in the target's pictures, from self-supervised features, and by majority vote.

Class 0 is "unlabelled" on both sides and resembles itself. An estimate may abstain on a class: no picture shows it, or
the text encoder knows none of its words.

"Resembles nothing" is calibrated on the source: each source class is compared with the *other* source classes, which is
what a class finds whose own is missing. A target class whose best score does not beat the `LEVEL` quantile of these is
alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scenewright.errors import UserError

TEMPERATURE = 0.07  # of the softmax that turns cosines into shares; that of CLIP at the start of its training
LEVEL = 0.75
TIES = ("soft", "first")


@dataclass(frozen=True, eq=False)
class Affinity:
    """`soft` (N_s, N_t) has columns that sum to 1 (all zero where abstaining), `choice` (N_t,) is each class's likest
    source, -1 where abstaining; `score` (N_t,) is how alike, `floor` what unrelated classes reach by chance, and
    `alone` (N_t,) bool where that is not beaten.
    """

    kind: str
    source: tuple[str, ...]
    target: tuple[str, ...]
    soft: np.ndarray
    choice: np.ndarray
    score: np.ndarray
    floor: float
    alone: np.ndarray

    def hard(self) -> np.ndarray:
        """(N_s, N_t) of one 1 a column; a class that resembles nothing known is drawn as "unlabelled"."""
        matrix = np.zeros(self.soft.shape)
        matrix[np.maximum(self.choice, 0), np.arange(len(self.target))] = 1
        return matrix

    def mixed(self) -> np.ndarray:
        """(N_s, N_t) `soft`, with "unlabelled" for classes on which the estimate abstains."""
        matrix = self.soft.copy()
        matrix[0, self.choice < 0] = 1
        return matrix

    def top(self, index: int, count: int = 3) -> list[tuple[str, float]]:
        """The likest source classes of a target class and their shares, best first."""
        order = np.argsort(-self.soft[:, index], kind="stable")[:count]
        return [(self.source[s], float(self.soft[s, index])) for s in order if self.soft[s, index] > 0]


def from_cosines(
    kind: str, source: Sequence[str], target: Sequence[str], own: np.ndarray, theirs: np.ndarray, known: np.ndarray
) -> Affinity:
    """From rows of features, (N_s, D) and (N_t, D), of which row 0 is not looked at; `known` (N_t,) bool says which
    target rows mean anything. Source rows that are not finite (a class that no picture shows) are never chosen.
    """
    a, b = _unit(own[1:]), _unit(theirs[1:])
    with np.errstate(invalid="ignore"):  # rows that mean nothing are NaN, and stay so
        cosines, among = a @ b.T, a @ a.T
    np.fill_diagonal(among, -np.inf)
    nulls = np.where(np.isfinite(among), among, -np.inf).max(1)
    return _affinity(kind, source, target, cosines, known[1:], _floor(nulls), TEMPERATURE)


def from_counts(source: Sequence[str], target: Sequence[str], counts: np.ndarray, nulls: np.ndarray) -> Affinity:
    """From pixels (N_s, N_t) of each target class that a source segmenter calls by each source class. `nulls` are
    the largest shares that source classes reach once their own is forbidden (see `readers.confusion`).
    """
    counts = counts[1:, 1:].astype(np.float64)
    total = counts.sum(0)
    shares = counts / np.maximum(total, 1)
    return _affinity("segmentation", source, target, shares, total > 0, _floor(nulls), None)


def vote(estimates: Sequence[Affinity], tie: str = "soft") -> Affinity:
    """The majority of the estimates' choices. The paper says no more; two rules are ours.

    Estimates that abstain do not vote, and those that found nothing better than chance (`alone`) only where all did.
    Where no choice has more votes than every other, "soft" takes the tied one with the largest mean share over all
    estimates, "first" the one whose estimate comes first. `soft` is that mean; a class is alone if at least half of the
    estimates that speak of it say so, or none speaks. Raises UserError for another tie rule.
    """
    if tie not in TIES:
        raise UserError(f"tie rule '{tie}' is not known; choose from {', '.join(TIES)}")
    first = estimates[0]
    heard = np.stack([e.choice >= 0 for e in estimates])
    mean = sum(e.soft for e in estimates) / np.maximum(heard.sum(0), 1)
    choice = np.full(len(first.target), -1)
    for t in range(len(first.target)):
        speakers = [e for e in estimates if e.choice[t] >= 0]
        said = [int(e.choice[t]) for e in [e for e in speakers if not e.alone[t]] or speakers]
        most = [s for s in dict.fromkeys(said) if said.count(s) == max(map(said.count, said))]
        if most:
            choice[t] = most[0] if tie == "first" else max(most, key=lambda s: mean[s, t])  # noqa: B023
    alone = np.stack([e.alone & (e.choice >= 0) for e in estimates]).sum(0) * 2 >= heard.sum(0)
    alone[0] = False
    shares = np.where(choice >= 0, mean[choice, np.arange(len(choice))], 0.0)
    return Affinity("vote", first.source, first.target, mean, choice, shares, float("nan"), alone)


def given(kind: str, source: Sequence[str], target: Sequence[str], matrix: np.ndarray) -> Affinity:
    """An affinity that is not estimated: the truth, or chance."""
    nobody = np.zeros(len(target), bool)
    choice = matrix.argmax(0)
    return Affinity(kind, tuple(source), tuple(target), matrix, choice, matrix.max(0), 0.0, nobody)


def at_random(source: Sequence[str], target: Sequence[str], seed: int = 0) -> Affinity:
    """Each target class gets a source class by lot."""
    matrix = np.zeros((len(source), len(target)))
    matrix[0, 0] = 1
    matrix[np.random.default_rng(seed).integers(1, len(source), len(target) - 1), np.arange(1, len(target))] = 1
    return given("random", source, target, matrix)


def warnings(affinity: Affinity) -> list[str]:
    """A sentence for each class that resembles nothing, and one before them if that is half of the classes or more."""
    lonely = [t for t in range(1, len(affinity.target)) if affinity.alone[t]]
    said = []
    if lonely and 2 * len(lonely) >= len(affinity.target) - 1:
        said.append(
            f"{len(lonely)} of {len(affinity.target) - 1} classes resemble nothing that the source model knows; "
            "transfer will not help here, use another source model or many more pictures"
        )
    for t in lonely:
        best = affinity.top(t, 1)
        likest = f"the likest is '{best[0][0]}'" if best else "nothing is known of it"
        said.append(f"'{affinity.target[t]}' resembles no class of the source model ({likest})")
    return said


def _affinity(
    kind: str,
    source: Sequence[str],
    target: Sequence[str],
    scores: np.ndarray,
    known: np.ndarray,
    floor: float,
    temperature: float | None,
) -> Affinity:
    """From scores (N_s - 1, N_t - 1) without the unlabelled class; NaN rows are never chosen."""
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    known = known & np.isfinite(scores).any(0)
    shares = np.zeros(scores.shape)
    if temperature is None:
        shares[:, known] = scores[:, known]
    elif known.any():
        raised = np.exp((scores[:, known] - scores[:, known].max(0)) / temperature)
        shares[:, known] = raised / raised.sum(0)
    soft = np.zeros((len(source), len(target)))
    soft[0, 0], soft[1:, 1:] = 1, shares
    best = np.where(known, scores.max(0), -np.inf)
    choice = np.where(known, scores.argmax(0) + 1, -1)
    return Affinity(
        kind,
        tuple(source),
        tuple(target),
        soft,
        np.concatenate([[0], choice]),
        np.concatenate([[1.0], best]),
        floor,
        np.concatenate([[False], ~known | (best <= floor)]),
    )


def _floor(nulls: np.ndarray) -> float:
    nulls = nulls[np.isfinite(nulls)]
    return float(np.quantile(nulls, LEVEL)) if len(nulls) else -np.inf


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
