"""Feature rows of pictures, gathered in parts and compared as distributions."""

import numpy as np

from scenewright.metrics.intervals import interval
from scenewright.metrics.manifold import precision_recall
from scenewright.metrics.quality import Gaussian, frechet_distance, kid


class Features:
    """Rows (N, D) of any extractor, named by `extractor`; parts gathered elsewhere can be merged.

    Rows are kept, because kernel distance, precision and recall need them; `quality.Gaussian` alone is enough for FID.
    """

    def __init__(self, extractor: str = "world-CLIP") -> None:
        self.extractor = extractor
        self._parts: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def update(self, rows: np.ndarray) -> None:
        """Add rows; raises ValueError unless they are (N, D) with the D of those before, and finite."""
        rows = np.asarray(rows)
        if rows.ndim != 2 or (self._parts and rows.shape[1] != self._parts[0].shape[1]):
            raise ValueError(f"expected rows (N, {self._parts[0].shape[1] if self._parts else 'D'}), got {rows.shape}")
        if not np.isfinite(rows).all():
            raise ValueError("features hold numbers that are not finite")
        if len(rows):
            self._parts.append(rows)

    def merged(self, other: "Features") -> "Features":
        """The rows of both, this one's first. Raises ValueError if two extractors made them."""
        self._check(other)
        out = Features(self.extractor)
        out._parts = self._parts + other._parts
        return out

    @property
    def rows(self) -> np.ndarray:
        """(N, D) float64; ValueError if there are none."""
        if not self._parts:
            raise ValueError("no features have been gathered")
        return np.concatenate(self._parts).astype(np.float64)

    def fid(self, real: "Features") -> float:
        """Frechet distance to the rows of `real`."""
        self._check(real)
        return frechet_distance(Gaussian.of(self.rows), Gaussian.of(real.rows))

    def kid(self, real: "Features", subsets: int = 0, size: int = 1000) -> tuple[float, float]:
        """Kernel distance to `real` and its standard deviation over subsets.

        With `subsets` 0 all rows are used at once and the deviation is 0; else the mean over so many random pairs of
        subsets of `size` rows, as the paper reports it (Binkowski et al. 2018, 100 of 1000), the same every time.
        """
        self._check(real)
        a, b = self.rows, real.rows
        if not subsets:
            return kid(a, b), 0.0
        size = min(size, len(a), len(b))
        rng = np.random.default_rng(0)
        chosen = [[rows[rng.permutation(len(rows))[:size]] for rows in (a, b)] for _ in range(subsets)]
        values = [kid(*pair) for pair in chosen]
        return float(np.mean(values)), float(np.std(values))

    def precision_recall(self, real: "Features", k: int = 3) -> tuple[float, float]:
        """Improved precision and recall against the rows of `real`."""
        self._check(real)
        return precision_recall(real.rows, self.rows, k)

    def fid_interval(self, real: "Features", draws: int = 100) -> tuple[float, float]:
        """The 95 % interval of `fid` over resamples of this one's rows."""
        self._check(real)
        rows, theirs = self.rows, Gaussian.of(real.rows)
        return interval(lambda i: frechet_distance(theirs, Gaussian.of(rows[i])), len(rows), draws, centred=True)

    def _check(self, other: "Features") -> None:
        if self.extractor != other.extractor:
            raise ValueError(f"features of {self.extractor} cannot be compared with those of {other.extractor}")
