"""Surface normals as a picture, in the usual colours: red to the right, green up, blue towards the viewer."""

from dataclasses import dataclass

import numpy as np

from scenewright.errors import UserError
from scenewright.maps.codec import as_floats, checked

_FLIP = np.array([1, -1, -1], np.float32)  # camera frame (x right, y down, z forward) to colours


@dataclass(frozen=True)
class Normals:
    """Unit vectors in the camera frame (x right, y down, z forward); zero where there is no surface (the sky, grey).

    A colour of less than `least` from grey means no surface.
    """

    least: float = 0.5

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(H, W, 3) unit or zero vectors -> (H, W, 3); raises UserError for vectors of another length."""
        values = checked(values, "normals", "f", 3).astype(np.float32)
        length = np.linalg.norm(values, axis=2)
        if not (np.isclose(length, 1, atol=1e-2) | np.isclose(length, 0, atol=1e-2)).all():
            raise UserError("the normals map holds vectors that are neither of length 1 nor 0; normalise them")
        return values * _FLIP

    def decode(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> (H, W, 3) float32 unit or zero vectors."""
        vectors = as_floats(picture) * _FLIP
        length = np.linalg.norm(vectors, axis=2, keepdims=True)
        return np.where(length < self.least, 0, vectors / np.maximum(length, 1e-6)).astype(np.float32)
