"""Label maps as coloured pictures, for any label set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scenewright.errors import UserError
from scenewright.maps.codec import as_floats, checked, from_bytes
from scenewright.maps.palette import nearest, palette, spacing, vote


@dataclass(frozen=True)
class Segmentation:
    """Labels 0 to len(labels) - 1, whose names are `labels`; label 0 is "unlabelled" by custom and black.

    Decoding takes the nearest colour. A pixel farther than an eighth of the palette's spacing from it is doubted and
    settled by a vote of its neighbourhood (`reach` pixels each way; 0 for none), in which near colours weigh most and
    those over half a spacing away nothing; with nobody to vote it becomes 0. So label maps come back exactly, also
    through uint8, and so do pictures of them that are off by less than an eighth of the spacing.
    """

    labels: tuple[str, ...]
    reach: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        palette(len(self.labels))

    @classmethod
    def of_phrases(cls, phrases: Sequence[str]) -> "Segmentation":
        """Open vocabulary: label i + 1 and its colour stand for the i-th different phrase of a caption."""
        return cls(("", *dict.fromkeys(" ".join(phrase.split()) for phrase in phrases)))

    @property
    def colours(self) -> np.ndarray:
        """(L, 3) uint8 colour of each label."""
        return palette(len(self.labels))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(H, W) whole numbers -> (H, W, 3); raises UserError for a number that is no label."""
        values = checked(values, "segmentation", "iu")
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= len(self.labels):
            wrong = low if low < 0 else high
            raise UserError(f"the segmentation map holds label {wrong}; this label set has 0 to {len(self.labels) - 1}")
        return from_bytes(self.colours[values])

    def decode(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> labels (H, W), int64."""
        step = spacing(len(self.labels))
        found, worst = nearest((as_floats(picture) + 1) * 127.5, self.colours)
        weights = np.clip(1 - 2 * worst / step, 0, 1) ** 2
        doubted = worst > step / 8
        labels = np.where(doubted & (weights == 0), 0, found)
        if self.reach and doubted.any():
            voted = vote(found, weights, self.reach)
            heard = ndimage.uniform_filter(weights, 2 * self.reach + 1, mode="constant") > 1e-6
            labels[doubted & heard] = voted[doubted & heard]
        return labels.astype(np.int64)

    def index(self, name: str) -> int:
        """The label called `name`; raises UserError when there is none."""
        if name not in self.labels:
            raise UserError(f"there is no label {name!r}; this label set has {', '.join(filter(None, self.labels))}")
        return self.labels.index(name)


def name_regions(values: np.ndarray, attention: np.ndarray, phrases: Sequence[str]) -> dict[int, str]:
    """Which phrase each label of a map means: the one that attends most to its pixels, compared with the whole map.

    For colours that no label set explains. `values` (H, W) labels; `attention` (K, h, w) share of attention of each of
    the K `phrases`, on any grid that divides the map. Label 0 is not named. Raises UserError if the sizes do not fit.
    """
    values, count = checked(values, "segmentation", "iu"), len(phrases)
    rows, columns = attention.shape[1:]
    if len(attention) != count or values.shape[0] % rows or values.shape[1] % columns:
        raise UserError(f"attention of shape {attention.shape} does not fit {count} phrases and {values.shape} pixels")
    fine = np.kron(attention, np.ones((1, values.shape[0] // rows, values.shape[1] // columns)))
    usual = fine.mean((1, 2)) + 1e-9
    regions = {int(label): values == label for label in np.unique(values) if label}
    return {label: phrases[int((fine[:, where].mean(1) / usual).argmax())] for label, where in regions.items()}
