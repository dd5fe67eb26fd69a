"""Trained factors on disk, and the graph that those for some maps make up."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scenewright.backends.controls import controlled, read
from scenewright.backends.unet import UNetModel
from scenewright.errors import UserError
from scenewright.graph.factor import CAPTION, Factor, FactorGraph
from scenewright.graph.variables import MAPS, PICTURE, codec_of
from scenewright.guidance import ClassifierFree

DESCRIPTION = "factor.json"
SCALE = 3.0  # of classifier-free guidance on maps


def described(folder: Path) -> dict[str, Any]:
    """What a factor's folder says of it; raises UserError when it is none."""
    try:
        facts = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if facts["variable"] not in (*MAPS, PICTURE) or not isinstance(facts["parents"], list):
            raise ValueError
        return facts
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"'{folder}' is no factor; give a folder made by `scenewright train factor`.") from None


def open_factor(folder: Path | str, model: UNetModel, **settings: Any) -> Factor:
    """A trained factor beside the model that it was trained beside; `settings` are fields of `Factor`.

    Raises UserError when the folder is no factor, or the model is another one: adapters fit one set of weights only.
    """
    folder = Path(folder)
    facts = described(folder)
    trained, mine = facts.get("backbone", {}).get("sha256", ""), model.identity()["sha256"]
    if trained != mine:
        raise UserError(
            f"'{folder}' was trained beside other weights ({trained[:12]}, not {mine[:12]}); train it anew."
        )
    variable, parents = facts["variable"], tuple(facts["parents"])
    own = None if variable == PICTURE else read(folder / "own")
    nets = {name: folder / name for name in parents if name != CAPTION}
    settings = {"guidance": (ClassifierFree(SCALE),)} | settings
    return Factor(variable, parents, controlled(model, nets, own), codec_of(variable, model.size), **settings)


def choices(folder: Path, maps: Sequence[str]) -> Mapping[str, Path]:
    """For each of the maps and the picture, the trained factor that heeds most of the maps listed before it.

    Variables without one are left out.
    """
    found: dict[str, Path] = {}
    known = [(described(path.parent), path.parent) for path in sorted(folder.glob(f"*/{DESCRIPTION}"))]
    for i, variable in enumerate((*maps, PICTURE)):
        own = [(set(facts["parents"]), path) for facts, path in known if facts["variable"] == variable]
        fitting = [(len(parents), path) for parents, path in own if parents <= {CAPTION, *maps[:i]}]
        if fitting:
            found[variable] = max(fitting, key=lambda pair: pair[0])[1]
    return found


def open_graph(folder: Path, maps: Sequence[str], model: UNetModel, **settings: Any) -> FactorGraph:
    """The graph of some maps, in the order in which they may depend on each other, and of the picture if there is a
    factor for it.

    Raises UserError for unknown maps and for those that nobody has trained.
    """
    for name in maps:
        if name not in MAPS:
            raise UserError(f"there is no map '{name}'; choose from {', '.join(MAPS)}.")
    if not maps or len(set(maps)) < len(maps):
        raise UserError(f"the maps are {', '.join(maps) or 'none'}; name at least one, each once.")
    found = choices(folder, maps)
    for name in maps:
        if name not in found:
            raise UserError(f"there is no factor of '{name}' in {folder}; run `scenewright train factor {name}` first.")
    return FactorGraph(tuple(open_factor(path, model, **settings) for path in found.values()))
