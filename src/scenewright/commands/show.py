"""`scenewright show`: see a layout, a picture beside its layout, or where each phrase attends."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from scenewright.commands.progress import progress
from scenewright.errors import UserError
from scenewright.files import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

    from scenewright.record import Record

app = App(name="show", help="Draw a layout, or a picture with its layout, with a legend.")


@app.default
def show(
    file: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    attention: Annotated[bool, Parameter(negative="")] = False,
    layers: str = "all",
    model: str | None = None,
    guidance: str = "none",
    steps: int = 30,
    seed: int = 0,
) -> None:
    """Draw FILE for the eye: a scene as coloured regions with a legend, or a picture beside and under its layout.

    Args:
        file: A scene, a picture with a record inside (.png), or a record (.json).
        out: The picture to write (.png).
        attention: Draw the scene once more and show where each segment's phrase attends, early, midway and late.
        layers: Attention layers to read: all, encoder, decoder, res16, res8, …
        model: Model for --attention; default: the record's, or the embedded one.
        guidance: Guidance for --attention on a scene; a record has its own.
        steps: Steps for --attention on a scene.
        seed: Seed for --attention on a scene.
    """
    from scenewright.display import overlay, png_bytes, side_by_side
    from scenewright.record import read_picture
    from scenewright.scene_io import read_scene

    if out.suffix.lower() != ".png":
        raise UserError(f"{out.name} does not end in .png; choose a name that does")
    record = recorded(file)
    if attention:
        sheet = attention_of(record, file, model, layers, guidance, steps, seed)
    elif record is None:
        sheet = overlay(read_scene(file))
    elif file.suffix.lower() == ".png":
        sheet = side_by_side(read_picture(file), record.scene.scene())
    else:
        sheet = overlay(record.scene.scene())
    write_atomically(out, png_bytes(sheet))
    print(out)


def recorded(file: Path) -> "Record | None":
    """The record of a picture or record file; None for a scene (also one that is drawn as an indexed PNG)."""
    from scenewright.record import CHUNK, read_picture, read_record

    suffix = file.suffix.lower()
    if suffix == ".png":
        return read_record(file) if CHUNK in read_picture(file).info else None
    if suffix != ".json" or not file.is_file() or b'"scenewright-record-' not in file.read_bytes()[:200]:
        return None
    return read_record(file)


def attention_of(
    record: "Record | None", file: Path, model: str | None, layers: str, guidance: str, steps: int, seed: int
) -> "Image":
    """Draw once more and lay out where each phrase attended; one step of progress per denoising step."""
    from scenewright.api import Settings, attended, opened, plan
    from scenewright.display import attention_sheet
    from scenewright.scene_io import read_scene

    loaded, source = opened(model or (record.model.source if record else "") or "embedded")
    if record is None:
        record = plan(loaded, source, read_scene(file), Settings(guidance, steps, seed))[0][0]
    with progress("drawing", record.steps) as told:
        _, maps = attended(loaded, record, layers, lambda done, steps: told(f"step {done}"))
    return attention_sheet(record.scene.scene(), maps)
