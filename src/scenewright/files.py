"""Writing files so that nothing half-written is ever read."""

import contextlib
import hashlib
import os
from pathlib import Path

from scenewright.errors import UserError


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` under a temporary name beside `path`, then rename; folders are made.

    Raises UserError if the place cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({reason(error)}); choose a place you can write to") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def reason(error: OSError) -> str:
    """The system's words for an error, without number and path: "permission denied"."""
    return (error.strerror or str(error)).lower()


def weights_digest(folder: Path) -> str:
    """sha256 over the names and bytes of all safetensors files of a model's folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
