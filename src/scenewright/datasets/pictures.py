"""Opening pictures that a user names: whole, of bounded size, of formats that run no code."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from scenewright.errors import UserError

PIXELS = 64_000_000  # most pixels of a picture; a small file can hold many more
LARGEST = 2**30  # bytes of a file
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")


def open_picture(source: Path | bytes, label: str = "") -> Image.Image:
    """A decoded picture in its own mode, from a file or from a file's bytes (`label` names those in errors).

    Raises UserError if it is missing, empty, cut short, no picture, or has more than `PIXELS` pixels.
    """
    label = label or str(source)
    data = source if isinstance(source, bytes) else file_bytes(source)
    if not data:
        raise UserError(f"{label} is an empty file; save the picture again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # our own bound is lower than the one Pillow warns about
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
            if picture.width * picture.height > PIXELS:
                raise Image.DecompressionBombError
            picture.load()
        except Image.DecompressionBombError as error:
            raise UserError(f"{label} has more than {PIXELS // 10**6} million pixels; make it smaller") from error
        except Exception as error:  # decoders of broken files raise nearly anything
            raise UserError(f"{label} is not a whole picture ({'/'.join(FORMATS)}); save it again") from error
    return picture


def file_bytes(path: Path) -> bytes:
    """The content of a regular file of at most 1 GiB; raises UserError if it is none or cannot be read."""
    try:
        if not path.exists():
            raise UserError(f"{path} does not exist; check the path")
        if not path.is_file():
            raise UserError(f"cannot read {path} (not a file); check the path")
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} is over {LARGEST >> 20} MiB; split it or make it smaller")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({(error.strerror or str(error)).lower()}); check the path") from error


def label_values(source: Path | bytes, label: str = "") -> np.ndarray:
    """(H, W) int64 raw pixel values of a palette, grey (8 or 16 bit) or black-and-white picture.

    Raises UserError for a colour picture: its values are no labels.
    """
    picture = open_picture(source, label)
    if picture.mode not in ("P", "L", "1") and not picture.mode.startswith("I"):
        raise UserError(
            f"{label or source} is a colour picture ({picture.mode}), not a label map; "
            "save it as a palette or grey PNG whose pixel values are the labels"
        )
    return np.asarray(picture).astype(np.int64)


def colours(source: Path) -> np.ndarray:
    """(H, W, 3) int64 RGB of a picture; transparent pixels show white behind."""
    picture = open_picture(source)
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB")).astype(np.int64)


def soft_mask(source: Path | bytes, label: str = "") -> np.ndarray:
    """(H, W) float32 in [0, 1]: alpha if the picture is anywhere transparent, else brightness."""
    picture = open_picture(source, label)
    if picture.mode.startswith("I"):
        return np.clip(np.asarray(picture, np.float32) / 65535, 0, 1)
    if "A" in picture.getbands() or "transparency" in picture.info:
        alpha = np.asarray(picture.convert("RGBA").getchannel("A"), np.float32)
        if alpha.min() < 255:
            return alpha / np.float32(255)
    return np.asarray(picture.convert("L"), np.float32) / np.float32(255)
