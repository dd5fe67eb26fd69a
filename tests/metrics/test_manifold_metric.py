"""Improved precision and recall: against scikit-learn's neighbours, by hand, and laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenewright.metrics import manifold
from scenewright.metrics.manifold import precision_recall


def rows(seed: int, count: int, spread: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, (count, 6))


def by_sklearn(real: np.ndarray, drawn: np.ndarray, k: int) -> tuple[float, float]:
    neighbours = pytest.importorskip("sklearn.neighbors").NearestNeighbors

    def share(queries: np.ndarray, base: np.ndarray) -> float:
        radii = neighbours(n_neighbors=k + 1).fit(base).kneighbors(base)[0][:, -1]  # the nearest is the row itself
        reach = [neighbours(radius=radius).fit(row[None]) for row, radius in zip(base, radii, strict=True)]
        hits = [[len(ball.radius_neighbors(q[None])[1][0]) for ball in reach] for q in queries]
        return float(np.any(hits, axis=1).mean())

    return share(drawn, real), share(real, drawn)


@pytest.mark.parametrize(("spread", "k"), [(0.5, 3), (1.0, 3), (2.0, 3), (1.0, 1)])
def test_it_is_what_scikit_learn_counts(spread: float, k: int) -> None:
    real, drawn = rows(0, 30), rows(1, 24, spread)
    assert precision_recall(real, drawn, k) == pytest.approx(by_sklearn(real, drawn, k), abs=1e-12)


def test_by_hand() -> None:
    real, drawn = np.array([[0.0], [1], [3]]), np.array([[0.5], [10], [12]])
    # Balls of the real rows reach 1, 1 and 2; those of the drawn ones 9.5, 2 and 2.
    assert precision_recall(real, drawn, k=1) == (pytest.approx(1 / 3), 1)


@given(st.integers(0, 50), st.integers(5, 20))
def test_laws(seed: int, count: int) -> None:
    real, drawn = rows(seed, count), rows(seed + 1, 12)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, drawn) == precision_recall(drawn, real)[::-1]
    assert precision_recall(real, drawn + 1e6) == (0, 0)
    assert precision_recall(real * 2, drawn * 2) == precision_recall(real, drawn)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, drawn = rows(2, 40), rows(3, 33)
    whole = precision_recall(real, drawn)
    monkeypatch.setattr(manifold, "_BLOCK", 7)
    assert precision_recall(real, drawn) == whole


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 3 rows"):
        precision_recall(rows(0, 3), rows(1, 9))
