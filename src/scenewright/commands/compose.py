"""`scenewright compose`: from a caption to maps to a picture."""

import json as json_module
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from scenewright.commands.progress import progress
from scenewright.commands.world import cache_folder
from scenewright.errors import UserError

app = App(name="compose", help="Draw maps of a caption, keep the best, draw its picture.")


@app.default
def compose(
    caption: str,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    maps: str = "segmentation",
    draws: int = 10,
    steps: int = 20,
    seed: int = 0,
    objects: str = "",
    early: Annotated[bool, Parameter(negative="")] = False,
    factors: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Draw the segmentation of CAPTION many times, keep the draw that shows most of its objects, then the other maps
    and the picture once.

    Args:
        caption: What to draw.
        out: The folder for draws.png, the chosen maps, picture.png and compose.json.
        maps: Maps to draw, joined by commas, segmentation first.
        draws: How many segmentations to draw.
        steps: Denoising steps of each map and of the picture.
        seed: Seed of the first draw.
        objects: What the map should show, joined by commas; by default what the caption names.
        early: Give up draws that are losing half-way.
        factors: Folder of trained factors; by default that of `scenewright train factor`.
        json: Print the outcome as JSON.
    """
    if not 1 <= draws <= 1000:
        raise UserError(f"{draws} draws are not possible; give 1 to 1000")
    if not 0 <= seed < 2**31:
        raise UserError(f"seed {seed} is outside 0 to {2**31 - 1}; give one inside")
    from scenewright.backends import load
    from scenewright.backends.unet import UNetModel
    from scenewright.compose import compose as composed
    from scenewright.compose import write
    from scenewright.search import Dropping

    model = load("embedded")
    assert isinstance(model, UNetModel)
    folder = factors or cache_folder() / "models" / "factors"
    listed = [name.strip() for name in maps.split(",") if name.strip()]
    wanted = [name.strip() for name in objects.split(",") if name.strip()]
    with progress("drawing", 1) as told:
        dropping = Dropping() if early else None
        seeds = range(seed, seed + draws)
        tell = lambda name, done, of: told(f"{name} step {done} of {of}", 0)  # noqa: E731
        outcome = composed(caption, model, folder, listed, seeds, steps, wanted, dropping, tell)
        write(outcome, out)
    facts = json_module.loads((out / "compose.json").read_text())
    said = f"best of {draws} draws: seed {outcome.seed} shows {facts['best']:.0%} of {', '.join(outcome.objects)}"
    print(json_module.dumps(facts) if json else f"{said}; in {out}")
    return 0
