"""What every map encoding has in common: pictures in [-1, 1], and 8-bit pictures."""

from typing import Any, Protocol

import numpy as np

from scenewright.errors import UserError


class Codec(Protocol):
    """A map as a picture and back."""

    def encode(self, values: Any) -> np.ndarray:
        """The map as a picture (H, W, 3), float32 in [-1, 1]; raises UserError if it is no such map."""
        ...

    def decode(self, picture: np.ndarray) -> Any:
        """The map that a picture (H, W, 3), float in [-1, 1] or uint8, shows best."""
        ...


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """[-1, 1] -> uint8, rounded; values outside are clipped."""
    return np.round((np.clip(picture, -1, 1) + 1) * 127.5).astype(np.uint8)


def from_bytes(picture: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]."""
    return picture.astype(np.float32) / 127.5 - 1


def as_floats(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3), uint8 or float, as float32 in [-1, 1]; raises UserError for anything else."""
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise UserError(f"a map's picture has the shape {picture.shape}; give (height, width, 3)")
    if picture.dtype == np.uint8:
        return from_bytes(picture)
    if picture.dtype.kind != "f" or not np.isfinite(picture).all():
        raise UserError(f"a map's picture holds {picture.dtype} or not finite values; give uint8, or floats in [-1, 1]")
    return np.clip(picture, -1, 1).astype(np.float32)


def checked(values: Any, name: str, kinds: str, channels: int = 0) -> np.ndarray:
    """The map as an array (H, W) or (H, W, channels) whose dtype is of one of `kinds`, numpy's letters."""
    values = np.asarray(values)
    shape = "(height, width)" + (f" with {channels} channels" if channels else "")
    if values.ndim != (3 if channels else 2) or values.size == 0 or (channels and values.shape[2] != channels):
        raise UserError(f"the {name} map has the shape {values.shape}; give {shape}")
    if values.dtype.kind not in kinds:
        wanted = {"b": "true and false", "f": "floats"}.get(kinds[0], "whole numbers")
        raise UserError(f"the {name} map holds {values.dtype}; give {wanted}")
    return values


def grey(values: np.ndarray) -> np.ndarray:
    """(H, W) -> (H, W, 3), float32."""
    return np.repeat(values.astype(np.float32)[..., None], 3, axis=2)
