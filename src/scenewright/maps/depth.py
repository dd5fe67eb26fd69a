"""Depth as a grey picture: white is near, dark grey far, black infinitely far."""

from dataclasses import dataclass

import numpy as np

from scenewright.errors import UserError
from scenewright.maps.codec import as_floats, checked, grey

_GAP = 0.1  # grey of the farthest finite depth, so that an autoencoder's blur does not turn the horizon into sky


@dataclass(frozen=True)
class Depth:
    """Depth in metres (or any unit); the grey value rises with `near` / depth, so that nearness is what is seen best.

    Nearer than `near` is as near; infinity is a depth too (the sky). MiDaS, whose inverse depths have no scale, is
    read with `Depth(near=1)` after they have been divided by the largest and inverted.
    """

    near: float = 1.6

    def __post_init__(self) -> None:
        if not 0 < self.near < np.inf:
            raise UserError(f"near is {self.near}; give a finite distance above 0")

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(H, W) numbers above 0, infinity included -> (H, W, 3); raises UserError for others."""
        values = checked(values, "depth", "fiu")
        if not (values > 0).all():  # also false for NaN
            raise UserError("the depth map holds values that are 0, negative or no number; depths lie above 0")
        nearness = self.near / np.maximum(values, self.near)
        return grey(2 * np.where(np.isinf(values), 0, _GAP + (1 - _GAP) * nearness) - 1)

    def decode(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> (H, W) float32, `near` at the least."""
        nearness = ((as_floats(picture).mean(2) + 1) / 2 - _GAP) / (1 - _GAP)
        far = 0.5 / 255  # what 8 bits can still tell from nothing
        depth = self.near / np.clip(nearness, far, 1)
        return np.where(nearness < -_GAP / 2, np.inf, depth).astype(np.float32)
