"""How well pictures keep to layouts: intersection over union (IoU) per class over a data set, then the mean.

Maps are integer arrays (..., H, W) of class ids; 0 means "unlabelled": in the truth, a pixel that no segment asked for.
"""

from collections.abc import Iterable

import numpy as np


class Confusion:
    """Counts of pixels by (true class, predicted class), added up over any number of pictures."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes), np.int64)

    def update(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Add pixels; both arrays have one shape and hold ids from 0 to classes - 1, else ValueError."""
        if truth.shape != predicted.shape:
            raise ValueError(f"truth has shape {truth.shape}, but the prediction {predicted.shape}")
        classes = len(self.counts)
        for ids in (truth, predicted):
            if ids.size and not 0 <= ids.min() <= ids.max() < classes:
                raise ValueError(f"class ids run from {ids.min()} to {ids.max()}; expected 0 to {classes - 1}")
        pairs = truth.astype(np.int64).ravel() * classes + predicted.astype(np.int64).ravel()
        self.counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def merged(self, other: "Confusion") -> "Confusion":
        """The counts of both, as if every picture had been seen by one."""
        out = Confusion(len(self.counts))
        out.counts = self.counts + other.counts
        return out

    def iou(self) -> np.ndarray:
        """(classes,) float64 IoU; NaN for classes that are nowhere in the truth."""
        return _iou(self.counts.sum(1), self.counts.sum(0), np.diag(self.counts))


def mean_iou(iou: np.ndarray, classes: Iterable[int], spurious_zero: bool = False) -> float:
    """Mean IoU over those of `classes` that were visited (not NaN); NaN if none was.

    `spurious_zero` divides by one class more, which always scores 0: ZestGuide's released evaluation does so by an
    index that wraps around, and reports n / (n + 1) of the mean.
    """
    visited = iou[list(classes)]
    visited = visited[~np.isnan(visited)]
    return float(visited.sum() / (len(visited) + spurious_zero)) if len(visited) else float("nan")


class Overlaps:
    """Per picture and class: pixels of the truth, of the prediction and of both; any of the pictures can be summed.

    Where `Confusion` says which class was taken for which, this says which picture it was in: bootstraps need that.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._rows: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    def update(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Add one picture; checks as `Confusion.update`."""
        counted = Confusion(self.classes)
        counted.update(truth, predicted)
        counts = counted.counts
        self._rows.append(np.stack([counts.sum(1), counts.sum(0), np.diag(counts)])[None])

    @classmethod
    def from_rows(cls, rows: np.ndarray) -> "Overlaps":
        """The pictures of `rows` of another one."""
        out = cls(rows.shape[2])
        out._rows = [rows]
        return out

    @property
    def rows(self) -> np.ndarray:
        """(pictures, 3, classes) int64 pixels of the truth, of the prediction, of both."""
        if len(self._rows) != 1:  # joined once, not at every resample of a bootstrap
            self._rows = [np.concatenate([np.zeros((0, 3, self.classes), np.int64), *self._rows])]
        return self._rows[0]

    def merged(self, other: "Overlaps") -> "Overlaps":
        """The pictures of both, this one's first."""
        out = Overlaps(self.classes)
        out._rows = self._rows + other._rows
        return out

    def iou(self, pictures: np.ndarray | None = None) -> np.ndarray:
        """(classes,) float64 IoU over the pictures at these positions (all by default; repeats count again); NaN for
        classes that are nowhere in their truth.
        """
        return _iou(*(self.rows if pictures is None else self.rows[pictures]).sum(0))


def _iou(truth: np.ndarray, predicted: np.ndarray, both: np.ndarray) -> np.ndarray:
    return np.where(truth > 0, both / np.maximum(truth + predicted - both, 1), np.nan)


class LayoutScore:
    """The three mean IoUs of one method.

    `miou` is over object classes and `miou_stuff` over ground, sky and wall, both over conditioned pixels only
    (ZestGuide, ICCV 2023: a prediction outside every segment costs nothing). `miou_full` is over object
    classes and the whole picture: an object that was asked for and shows up elsewhere too counts against the method.
    Classes a picture was not conditioned on are not judged outside its segments, since its caption may rightly call
    for them there.
    """

    def __init__(self, objects: Iterable[int], stuff: Iterable[int], spurious_zero: bool = False) -> None:
        self.objects, self.stuff = tuple(objects), tuple(stuff)
        self.spurious_zero = spurious_zero
        classes = max((*self.objects, *self.stuff)) + 1
        self.inside, self.whole = Overlaps(classes), Overlaps(classes)

    def update(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Add one picture: (H, W) conditioned classes, 0 where nothing was asked for, and (H, W) predicted classes."""
        asked = truth > 0
        self.inside.update(truth[asked], predicted[asked])
        judged = asked | np.isin(predicted, np.unique(truth[asked]))
        self.whole.update(truth, np.where(judged, predicted, 0))

    def merged(self, other: "LayoutScore") -> "LayoutScore":
        """The score over the pictures of both, this one's first."""
        out = LayoutScore(self.objects, self.stuff, self.spurious_zero)
        out.inside, out.whole = self.inside.merged(other.inside), self.whole.merged(other.whole)
        return out

    def over(self, pictures: np.ndarray | None = None) -> dict[str, float]:
        """miou, miou_full and miou_stuff over the pictures at these positions; all by default."""
        inside, whole = self.inside.iou(pictures), self.whole.iou(pictures)
        parts = {"miou": (inside, self.objects), "miou_full": (whole, self.objects), "miou_stuff": (inside, self.stuff)}
        return {name: mean_iou(iou, classes, self.spurious_zero) for name, (iou, classes) in parts.items()}

    @property
    def miou(self) -> float:
        return self.over()["miou"]

    @property
    def miou_stuff(self) -> float:
        return self.over()["miou_stuff"]

    @property
    def miou_full(self) -> float:
        return self.over()["miou_full"]
