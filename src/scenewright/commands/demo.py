"""`scenewright demo`: the gallery that `make demo` leaves."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="demo", help="Draw a gallery of scenes by every method.")


@app.default
def demo(out: Annotated[Path, Parameter(name=["--out", "-o"])], scenes: int = 8, model: str = "embedded") -> int:
    """Draw held-out scenes by every method on one sheet, and print how well each method keeps to the layout.

    Parameters
    ----------
    out
        Folder for the sheet, gallery.png, and the single pictures.
    scenes
        How many scenes.
    model
        Preset or folder of the model.
    """
    from scenewright.commands.bench import gallery

    return gallery(out, scenes=scenes, model=model)
