"""Improved precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991): how much of what is drawn looks real, and
how much of what is real gets drawn.
"""

from collections.abc import Iterator

import numpy as np
from scipy.spatial.distance import cdist

NEIGHBOUR = 3  # the paper's k
_BLOCK = 1024


def precision_recall(real: np.ndarray, drawn: np.ndarray, k: int = NEIGHBOUR) -> tuple[float, float]:
    """Precision and recall in [0, 1] of features `drawn` (M, D) against features `real` (N, D), eq. 1 to 3.

    A manifold is the union of balls around its rows, each reaching to the row's `k`-th nearest neighbour in its own
    set; precision is the share of drawn rows inside the manifold of real ones, recall the share of real rows inside
    that of drawn ones. Both depend on N and M: compare only figures of equal numbers. Raises ValueError when a set has
    no more than `k` rows.
    """
    real, drawn = np.asarray(real, np.float64), np.asarray(drawn, np.float64)
    if min(len(real), len(drawn)) <= k:
        raise ValueError(f"the {k}-th neighbour needs more than {k} rows a side, got {len(real)} and {len(drawn)}")
    return _inside(drawn, real, k), _inside(real, drawn, k)


def _inside(rows: np.ndarray, manifold: np.ndarray, k: int) -> float:
    """The share of `rows` that some ball of `manifold` holds."""
    radii = np.concatenate([np.partition(far, k, axis=1)[:, k] for far in _distances(manifold, manifold)])
    return float(np.mean(np.concatenate([(far <= radii).any(1) for far in _distances(rows, manifold)])))


def _distances(rows: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """Euclidean distances in blocks of rows, so that memory grows with one set only."""
    for start in range(0, len(rows), _BLOCK):
        yield cdist(rows[start : start + _BLOCK], others)
