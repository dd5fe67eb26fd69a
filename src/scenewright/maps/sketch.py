"""Line drawings: white lines on black, as edge detectors give them."""

from dataclasses import dataclass

import numpy as np

from scenewright.errors import UserError
from scenewright.maps.codec import as_floats, checked, grey


@dataclass(frozen=True)
class Sketch:
    """Where a line is drawn. `threshold` is the grey value in [0, 1] from which a pixel counts as a line: under a half,
    because autoencoders spread thin lines."""

    threshold: float = 0.4

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UserError(f"threshold is {self.threshold}; give a value between 0 and 1")

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(H, W) bool -> (H, W, 3)."""
        return grey(np.where(checked(values, "sketch", "b"), 1.0, -1.0))

    def decode(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> (H, W) bool."""
        return (as_floats(picture).mean(2) + 1) / 2 >= self.threshold
