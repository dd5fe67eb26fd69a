"""`scenewright models`: the models you can name, or one model's card."""

import json as json_module
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from scenewright.errors import UserError
from scenewright.families import FAMILIES
from scenewright.files import weights_digest

app = App(name="models", help="List the models you can name, or print one model's card.")
FOLDER = Path(__file__).resolve().parent.parent / "models"
CARD, FIGURES = "README.md", "scores.json"


@app.default
def models(name: str | None = None, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """List what `--model` takes by name and the judges; with NAME, print that model's card.

    A folder in diffusers form or a hub id may be given to `--model` as well; docs/backbones.md lists the families.

    Args:
        name: A model of the list, or a model's folder.
        json: Print JSON.
    """
    if name is None:
        rows = [described(folder) for folder in installed()]
        print(json_module.dumps({"models": rows}) if json else listing(rows))
        return
    folder = located(name)
    if json:
        print(json_module.dumps(described(folder)))
    elif (folder / CARD).is_file():
        print((folder / CARD).read_text(encoding="utf-8").rstrip())
    else:
        print(listing([described(folder)]))


def installed() -> list[Path]:
    """Folders of the embedded models that are there, by name."""
    return [folder for folder in sorted(FOLDER.glob("*")) if any(folder.rglob("*.safetensors"))]


def located(name: str) -> Path:
    """The folder of an embedded model, or `name` itself if it is a folder with weights."""
    known = {folder.name: folder for folder in installed()}
    folder = known.get(name, Path(name))
    if name not in known and not (folder.is_dir() and any(folder.rglob("*.safetensors"))):
        from difflib import get_close_matches

        near = get_close_matches(name, known, n=1)
        there = ", ".join(known) or "none is embedded"
        raise UserError(f"there is no model {name!r} ({there}){f'; did you mean {near[0]!r}?' if near else ''}")
    return folder


def described(folder: Path) -> dict[str, Any]:
    """Name, kind, size in bytes, hash of the weights, guidance it takes, and the figures of its card."""
    index = folder / "model_index.json"
    parts = index.read_text(encoding="utf-8") if index.is_file() else ""
    family = next((key for key, row in FAMILIES.items() if any(f'"{kind}"' in parts for kind in row.pipelines)), None)
    figures: dict[str, Any] = {}
    if (folder / FIGURES).is_file():
        figures = json_module.loads((folder / FIGURES).read_text(encoding="utf-8"))
    return {
        "name": folder.name,
        "kind": "text to image" if family else kind_of(folder),
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "sha256": weights_digest(folder),
        "guidance": methods(family) if family else [],
        "figures": figures,
    }


def kind_of(folder: Path) -> str:
    """What a model that is no pipeline is, by its config.json."""
    try:
        config = json_module.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "judge"
    if config.get("kind") in ("oasis", "semantic"):
        return "label map to image"
    if folder.name in ("classifier", "spatext"):
        return "guides"
    return "features" if config.get("model_type") == "resnet" else "judge"


def methods(family: str) -> list[str]:
    """The guidance that the models of a family take."""
    from scenewright.guidance import METHODS

    return [method for method in METHODS if method in FAMILIES[family].supports]


def listing(rows: list[dict[str, Any]]) -> str:
    """The models for people, a paragraph each."""
    if not rows:
        return "no model is embedded here; name a folder or a hub id, or train one: scenewright train --help"
    lines = []
    for row in rows:
        lines.append(f"{row['name']}: {row['kind']}, {row['bytes'] / 1e6:.1f} MB, sha256 {row['sha256'][:12]}")
        if row["guidance"]:
            lines.append(f"  guidance: {', '.join(row['guidance'])}")
        if row["figures"]:
            lines.append("  " + ", ".join(f"{name} {value}" for name, value in row["figures"].items()))
    lines.append("`scenewright models NAME` prints a card; --model also takes a folder or a hub id.")
    return "\n".join(lines)
