"""FID, KID, PSNR and CLIP score: closed forms, reference implementations, laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from scenewright.metrics.quality import Gaussian, clip_scores, fid, frechet_distance, kid, psnr


def rows(seed: int, count: int = 60, dimension: int = 5, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, (count, dimension)) @ rng.normal(0, 1, (dimension, dimension))


def test_gaussian_matches_numpy() -> None:
    features = rows(0)
    gaussian = Gaussian.of(features)
    assert np.allclose(gaussian.mean, features.mean(0))
    assert np.allclose(gaussian.covariance, np.cov(features.T))


@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(0, 100))
def test_streaming_and_merging_are_seeing_all(sizes: list[int], seed: int) -> None:
    features = rows(seed, sum(sizes) + 2) + 1e4  # far from 0, where naive sums of squares lose their digits
    parts = np.split(features, np.cumsum(sizes))
    streamed = Gaussian(5)
    merged = Gaussian(5)
    for part in parts:
        streamed.update(part)
        merged = merged.merged(Gaussian.of(part))
    whole = Gaussian.of(features)
    for other in (streamed, merged):
        assert other.count == whole.count
        assert np.allclose(other.mean, whole.mean, rtol=1e-12)
        assert np.allclose(other.covariance, whole.covariance, atol=1e-7)


def test_covariance_needs_two_rows() -> None:
    with pytest.raises(ValueError, match="two rows"):
        _ = Gaussian.of(np.zeros((1, 3))).covariance


def test_frechet_distance_of_known_gaussians() -> None:
    """Diagonal covariances: |shift|^2 + sum (deviation - deviation)^2."""
    a, b = Gaussian(3), Gaussian(3)
    corners = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    a.update(corners * [1, 2, 3])
    b.update(corners * [2, 2, 5] + [1, 0, 2])
    unit = 2 / 5  # variance of a coordinate of `corners`
    assert frechet_distance(a, b) == pytest.approx(5 + unit * (1 + 0 + 4))


def test_frechet_distance_matches_sqrtm() -> None:
    a, b = Gaussian.of(rows(1)), Gaussian.of(rows(2, shift=0.5))
    root = sqrtm(a.covariance @ b.covariance)
    expected = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance - 2 * np.real(root))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_fid_matches_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.image.fid")
    torch = pytest.importorskip("torch")
    a, b = rows(3), rows(4, 80, shift=0.2)
    gaussians = [Gaussian.of(a), Gaussian.of(b)]
    tensors = [torch.from_numpy(x) for g in gaussians for x in (g.mean, g.covariance)]
    assert fid(a, b) == pytest.approx(float(image._compute_fid(*tensors)), rel=1e-8)


@given(st.integers(0, 1000), st.integers(2, 12))
def test_fid_laws(seed: int, count: int) -> None:
    a, b = rows(seed, count), rows(seed + 1, 20)  # fewer rows than dimensions: singular covariances
    assert fid(a, a) == pytest.approx(0, abs=1e-5)
    assert fid(a, b) == pytest.approx(fid(b, a), rel=1e-6, abs=1e-5)
    assert fid(a, b) >= 0
    assert fid(a + 3, b + 3) == pytest.approx(fid(a, b), rel=1e-6, abs=1e-5)


def test_kid_matches_the_double_sum_and_vanishes_for_one_distribution() -> None:
    a, b = rows(5, 4), rows(6, 3)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 5 + 1) ** 3)

    within_a = np.mean([kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
    within_b = np.mean([kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
    across = np.mean([kernel(x, y) for x in a for y in b])
    assert kid(a, b) == pytest.approx(within_a + within_b - 2 * across)
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(2, 500, 4))
    assert abs(kid(near, far)) < 0.05 < kid(near, far + 1)
    with pytest.raises(ValueError, match="two rows"):
        kid(a[:1], b)


def test_psnr_by_hand() -> None:
    black = np.zeros((2, 4, 4, 3), np.uint8)
    gray = black.copy()
    gray[1] = 51
    assert psnr(black, gray).tolist() == [np.inf, pytest.approx(20 * np.log10(5))]
    with pytest.raises(ValueError, match="shapes differ"):
        psnr(black, gray[:1])


def test_clip_score_is_the_cosine() -> None:
    image = np.array([[2.0, 0], [0, 3], [1, 1], [0, 0]])
    text = np.array([[5.0, 0], [1, 0], [-1, -1], [1, 0]])
    assert clip_scores(image, text).tolist() == [pytest.approx(100), 0, 0, 0]
