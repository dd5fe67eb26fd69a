"""Gathered features: parts and wholes, and KID by subsets against torchmetrics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenewright.metrics.features import Features
from scenewright.metrics.manifold import precision_recall
from scenewright.metrics.quality import fid, kid


def rows(seed: int, count: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, 4))


def of(*parts: np.ndarray) -> Features:
    out = Features()
    for part in parts:
        out.update(part)
    return out


@given(st.integers(0, 20), st.integers(4, 12), st.integers(0, 12))
def test_parts_are_the_whole(seed: int, first: int, second: int) -> None:
    a, b, real = rows(seed, first), rows(seed + 1, second), of(rows(seed + 2, 15))
    merged, whole = of(a).merged(of(b)), of(np.concatenate([a, b]))
    assert len(merged) == len(whole) == first + second
    assert merged.fid(real) == whole.fid(real) == pytest.approx(fid(whole.rows, real.rows))
    assert merged.kid(real) == whole.kid(real) == (kid(whole.rows, real.rows), 0.0)
    assert merged.precision_recall(real) == precision_recall(real.rows, whole.rows)
    low, high = merged.fid_interval(real, draws=40)
    assert low <= high


def test_kid_by_subsets_is_that_of_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.image.kid")
    torch = pytest.importorskip("torch")
    a, b = rows(0, 60), rows(1, 50, shift=0.3)
    mean, deviation = of(a).kid(of(b), subsets=400, size=40)
    torch.manual_seed(0)
    values = []
    for _ in range(400):
        chosen = [torch.from_numpy(x)[torch.randperm(len(x))[:40]] for x in (a, b)]
        values.append(float(image.poly_mmd(*chosen)))
    assert mean == pytest.approx(float(np.mean(values)), abs=4 * float(np.std(values)) / 20)
    assert deviation == pytest.approx(float(np.std(values)), rel=0.2)
    assert of(a).kid(of(b), subsets=3) == of(a).kid(of(b), subsets=3)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="world-CLIP cannot be compared with those of Inception"):
        of(rows(0, 5)).fid(Features("Inception"))
    with pytest.raises(ValueError, match=r"expected rows \(N, 4\)"):
        of(rows(0, 5), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="not finite"):
        of(np.array([[np.nan]]))
    with pytest.raises(ValueError, match="no features"):
        _ = Features().rows
