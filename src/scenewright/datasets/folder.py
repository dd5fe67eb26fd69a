"""Which files of a folder may be scenes."""

import os
from pathlib import Path
from typing import NamedTuple

from scenewright.errors import UserError

SUFFIXES = (".json", ".jsonl")
# Folders of pictures about scenes: previews, untouched originals.
ASIDE = ("preview", "orig")


class Skipped(NamedTuple):
    """A file or folder that was left out, and why."""

    path: Path
    reason: str


def candidates(folder: Path) -> tuple[list[Path], list[Skipped]]:
    """Every JSON and JSON-lines file under a folder, sorted, and what was left out.

    Left out: hidden folders, and folders named preview… or orig…. Links to folders are not followed.
    Raises UserError if the folder cannot be listed.
    """
    files: list[Path] = []
    skipped: list[Skipped] = []

    def failed(error: OSError) -> None:
        raise UserError(f"cannot list {error.filename} ({(error.strerror or '').lower()}); check its rights") from error

    for root, folders, names in os.walk(folder, onerror=failed):
        here = Path(root)
        aside = [name for name in folders if name.lower().startswith(ASIDE)]
        skipped += [Skipped(here / name, "a folder of previews or originals") for name in sorted(aside)]
        folders[:] = sorted(name for name in folders if name not in aside and not name.startswith("."))
        found = [here / n for n in sorted(names) if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
        files += found
        if names and not found:
            skipped.append(Skipped(here, f"{len(names)} files, none of them .json or .jsonl"))
    return files, skipped
