"""The record of a picture: all that is needed to draw it again.

It travels in the picture (PNG text chunk "scenewright") and beside it as JSON. Its scene is the one that was drawn: a
scene is put through its document before sampling, so what is recorded and what was drawn cannot differ.
"""

import hashlib
import io
import json
import warnings
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any, Literal

from PIL import Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenewright.errors import UserError
from scenewright.files import reason, write_atomically
from scenewright.scene_io import SceneDocument

CHUNK = "scenewright"
PACKAGES = ("scenewright", "torch", "diffusers", "transformers", "numpy")
# What came of drawing, and the company it was drawn in; records that differ only here ask for the same picture.
OUTCOME = {"versions", "threads", "pixels", "adherence", "seconds", "notes", "batch"}


class ModelIdentity(BaseModel):
    """Which weights drew: `source` is what `load` was given, "" for a pipeline object; `sha256` is over the weights."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str
    sha256: str
    family: str = ""
    dtype: str = ""
    source: str = ""


class Adherence(BaseModel):
    """How well one segment came out: IoU in [0, 1] against the judge's class map; None where it lacks the word."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    segment: str
    iou: float | None = Field(default=None, ge=0.0, le=1.0)


class Record(BaseModel):
    """Everything that decides a picture, then what came of it (`OUTCOME`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal["scenewright-record-1"] = "scenewright-record-1"
    model: ModelIdentity
    scene: SceneDocument
    guidance: str
    parameters: dict[str, Any] = {}
    negative: str = ""
    solver: str = "ddim"
    eta: float = Field(default=0.0, ge=0.0)
    steps: int = Field(ge=1)
    seed: int = Field(ge=0)
    batch: tuple[
        int, ...
    ]  # seeds drawn together: equal pictures up to rounding, but bit for bit only in the same company
    versions: dict[str, str] = {}
    threads: int = 0
    pixels: str = ""
    adherence: tuple[Adherence, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def key(self) -> str:
        """Hash of what decides the picture (up to rounding); equal keys ask for equal pictures."""
        decides = self.model_dump(mode="json", exclude=OUTCOME)
        decides["model"].pop("source")  # the same weights in another place draw the same picture
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def json_text(self) -> str:
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=True)


def versions() -> dict[str, str]:
    """Installed versions of what can change a pixel, without importing any of it."""
    found = {"python": python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


def digest(image: Image.Image) -> str:
    """sha256 over size and RGB bytes: two pictures have equal digests if and only if all pixels are equal."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode() + rgb.tobytes()).hexdigest()


def save_picture(image: Image.Image, record: Record, path: Path) -> Path:
    """Write the picture with its record inside, and the record beside it as .json; the picture comes last, whole.

    Raises UserError if `path` is not a .png or cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"{path.name} does not end in .png, the only format here that carries a record; rename it")
    text = record.json_text()
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text(CHUNK, text)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", pnginfo=chunk)
    write_atomically(path.with_suffix(".json"), text.encode())
    write_atomically(path, buffer.getvalue())
    return path


def read_picture(path: Path | str) -> Image.Image:
    """A picture, decoded whole, as RGB with its text chunks in `.info`.

    Raises UserError if it is missing, empty, cut short, too large or no picture.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                opened.load()
                picture = opened.convert("RGB")
                picture.info.update(opened.info)
                return picture
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(f"{path} has too many pixels to open safely; make it smaller first") from error
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; check the path") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} is not a whole picture; write it again or choose another file") from error


def read_record(path: Path | str) -> Record:
    """The record of a picture (.png) or a record file (.json).

    Raises UserError if the file cannot be read or holds no valid record.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = reason(error) if isinstance(error, OSError) else "it is not text"
            raise UserError(f"cannot read {path} ({why}); check the path") from error
    else:
        text = read_picture(path).info.get(CHUNK, "")
        if not text:
            raise UserError(f"{path} carries no record; only pictures saved by scenewright do")
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(
            f"{path} holds no valid record ({where}: {first['msg'].lower()}); use the file as saved"
        ) from error


def is_finished(path: Path, key: str) -> bool:
    """Whether `path` is a whole picture whose record has this key and whose pixels are those recorded."""
    if not path.exists():
        return False
    try:
        picture = read_picture(path)
        record = Record.model_validate_json(picture.info.get(CHUNK, ""))
    except (UserError, ValidationError):
        return False
    return record.key() == key and record.pixels == digest(picture)
