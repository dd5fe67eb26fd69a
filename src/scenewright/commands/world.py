"""`scenewright world`: render the reference world, and look at it."""

import json as json_module
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from scenewright.commands.progress import progress
from scenewright.errors import UserError
from scenewright.files import reason

app = App(name="world", help="Render the reference world.")
MOST = 1_000_000  # scenes in one call
Kind = Literal["folder", "sheet", "cache"]


def cache_folder() -> Path:
    """Where rendered scenes are kept: $SCENEWRIGHT_CACHE, or the user's cache folder."""
    return Path(os.environ.get("SCENEWRIGHT_CACHE", Path.home() / ".cache" / "scenewright"))


@app.command
def render(
    count: int = 16,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    seed: int = 0,
    size: int = 128,
    maps: Annotated[bool, Parameter(negative="")] = False,
    workers: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Render COUNT scenes from SEED on: a picture, its layout (a scene any command reads) and, with --maps, every map.

    Scenes already in the folder are skipped, so the same command resumes.
    """
    import time

    from scenewright.world.export import export

    _check(count, seed, size, workers)
    started = time.monotonic()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {out} ({reason(error)}); choose a folder you can write to") from error
    with progress("rendering", count) as advance:
        drawn = export(
            range(seed, seed + count), out, size, maps, workers or None, lambda done: advance("scenes", done)
        )
    took = time.monotonic() - started
    said = {"scenes": count, "rendered": drawn, "folder": str(out), "seconds": round(took, 2)}
    print(json_module.dumps(said) if json else f"{count} scenes in {out} ({drawn} rendered now, {took:.1f} s)")
    return 0


@app.command
def sheet(
    count: int = 30,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    seed: int = 0,
    size: int = 128,
    columns: int = 6,
) -> int:
    """A contact sheet: COUNT pictures, then all maps of the two richest scenes."""
    from PIL import Image

    from scenewright.display import png_bytes
    from scenewright.files import write_atomically
    from scenewright.world import render as render_scene
    from scenewright.world.sheet import contact_sheet

    _check(count, seed, size, 0)
    if not 1 <= columns <= 100:
        raise UserError(f"{columns} columns do not make a sheet; give --columns 1 to 100")
    samples = []
    with progress("rendering", count) as advance:
        for index in range(count):
            samples.append(render_scene(seed + index, size))
            advance("scenes")
    write_atomically(out, png_bytes(Image.fromarray(contact_sheet(samples, columns))))
    print(out)
    return 0


@app.command
def cache(count: int = 10_000, *, seed: int = 0, size: int = 128, workers: int = 0) -> int:
    """Fill the cache of rendered scenes that training reads; it is rebuilt when the recipe changes."""
    from scenewright.world.cache import build

    _check(count, seed, size, workers)
    with progress("rendering", count) as advance:
        shards = build(
            range(seed, seed + count),
            cache_folder() / "world",
            size,
            workers or None,
            lambda done: advance("scenes", done),
        )
    print(f"{count} scenes in {shards[0].parent}", file=sys.stderr)
    return 0


def _check(count: int, seed: int, size: int, workers: int) -> None:
    if not 1 <= count <= MOST:
        raise UserError(f"{count} scenes cannot be rendered in one call; give 1 to {MOST}")
    if not 0 <= seed < 2**31:
        raise UserError(f"seed {seed} is outside 0 to {2**31 - 1}; give one inside")
    if size % 16 or not 16 <= size <= 1024:
        raise UserError(f"size {size} does not suit the world; give a multiple of 16 from 16 to 1024")
    if not 0 <= workers <= 256:
        raise UserError(f"{workers} workers cannot be started; give 1 to 256, or 0 for one per core")
