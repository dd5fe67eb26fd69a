"""Picture quality from arrays: Fréchet and kernel distances of features, PSNR, CLIP score. Sums are float64."""

import numpy as np


class Gaussian:
    """Running mean and covariance of feature rows (N, D); two of them can be merged."""

    def __init__(self, dimension: int) -> None:
        self.count = 0
        self.mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension))

    @classmethod
    def of(cls, features: np.ndarray) -> "Gaussian":
        """The statistics of (N, D) features."""
        out = cls(features.shape[1])
        out.update(features)
        return out

    def update(self, features: np.ndarray) -> None:
        """Add rows (N, D), one or many."""
        rows = np.asarray(features, np.float64)
        if not len(rows):
            return
        mean = rows.mean(0)
        self._join(len(rows), mean, (rows - mean).T @ (rows - mean))

    def merged(self, other: "Gaussian") -> "Gaussian":
        """The statistics of both sets of rows together."""
        out = Gaussian(len(self.mean))
        for part in (self, other):
            out._join(part.count, part.mean, part._scatter)
        return out

    def _join(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        """Chan, Golub & LeVeque 1979: exact pairwise update, no cancellation of large sums."""
        total = self.count + count
        if not total:
            return
        shift = mean - self.mean
        self._scatter = self._scatter + scatter + np.outer(shift, shift) * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    @property
    def covariance(self) -> np.ndarray:
        """(D, D) unbiased covariance; ValueError with fewer than two rows."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least two rows, got {self.count}")
        return self._scatter / (self.count - 1)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Fréchet distance of two Gaussians (Heusel et al. 2017, arXiv 1706.08500, eq. 6).

    It is the FID when the rows are image features.

    tr sqrt(A B) is taken as the sum of root eigenvalues of sqrt(A) B sqrt(A), which is symmetric: exact for singular
    covariances too, where a general matrix square root is not.
    """
    shift = a.mean - b.mean
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ b.covariance @ root), 0, None)).sum()
    return float(max(0.0, shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross))


def fid(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance between two feature sets (N, D) and (M, D)."""
    return frechet_distance(Gaussian.of(a), Gaussian.of(b))


def kid(a: np.ndarray, b: np.ndarray) -> float:
    """Kernel distance (Binkowski et al. 2018, arXiv 1801.01401): unbiased squared MMD, so it can be below 0.

    The kernel is (x.y / D + 1)^3.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    n, m, dimension = len(a), len(b), a.shape[1]
    if min(n, m) < 2:
        raise ValueError(f"the kernel distance needs at least two rows a side, got {n} and {m}")

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / dimension + 1) ** 3

    own_a, own_b = kernel(a, a), kernel(b, b)
    within = (own_a.sum() - np.trace(own_a)) / (n * (n - 1)) + (own_b.sum() - np.trace(own_b)) / (m * (m - 1))
    return float(within - 2 * kernel(a, b).mean())


def psnr(truth: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """(N,) peak signal-to-noise ratios in dB of uint8 pictures (N, H, W, 3), peak 255; inf where they are equal."""
    if truth.shape != picture.shape:
        raise ValueError(f"shapes differ: {truth.shape} and {picture.shape}")
    error = ((truth.astype(np.float64) - picture.astype(np.float64)) ** 2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / error)


def clip_scores(image: np.ndarray, text: np.ndarray) -> np.ndarray:
    """(N,) 100 x cosine of image and text features (N, D), 0 where negative (Hessel et al. 2021, weight 1)."""
    image, text = np.asarray(image, np.float64), np.asarray(text, np.float64)
    norms = np.linalg.norm(image, axis=1) * np.linalg.norm(text, axis=1)
    return 100 * np.clip((image * text).sum(1) / np.maximum(norms, 1e-12), 0, None)
