"""Model cards: what a model is, what it saw, how it learned, how it scores. One README.md per model folder.

`training.json` may hold `notes`, written by hand, about what befell one set of weights.
"""

import json
from dataclasses import asdict
from pathlib import Path

from ..files import write_atomically
from ..world.cache import recipe as world_recipe
from ..world.compose import TRAIN
from .fit import Progress, Recipe

_WHAT = {
    "embedded": "Text to a 128x128 picture of the reference world; a diffusers `StableDiffusionPipeline` folder. Two "
    "things in its training make it unlike a model that saw captions only. The cross-attention of a phrase is asked to "
    "lie in its segment (TokenCompose; rows of the curve with a `grounding` term), so it knows better where its words "
    "are. And what it predicts must be recognisable to a small network that reads classes and colours from latents "
    "(rows with `recognition` and `colour` terms), so its objects are found more often than their shapes deserve.",
    "segmenter": "Judge: picture to the 40 classes of the reference world; a transformers Segformer.",
    "classifier": "Guides and never judges: picture to the 40 classes of the reference world, the network of external-"
    "classifier guidance; a transformers Segformer.",
    "spatext": "What SpaText adds to the embedded model: the text tower of a CLIP of segments, the prior from text to "
    "image embedding, and the first layer and encoder of the U-Net, trained to see a map of segment embeddings.",
    "oasis": "Class map to a 128x128 picture of the reference world: an OASIS generator and its segmenting "
    "discriminator, the source of class-affinity transfer.",
    "semantic": "Class map to a 128x128 picture of the reference world by diffusion: an encoder of maps in the place "
    "of the embedded model's text encoder, after PITI. Its base is the embedded model.",
    "features": "Dense features of pictures, learned without labels (VICReg on cells of overlapping crops); a "
    "transformers ResNet of stride 8 that takes pixels in [-1, 1].",
    "second-judge": "Judge: picture to the classes of the world's second label set (whose scenes it learned from, in "
    "place of those below); a transformers Segformer.",
    "clip": "Judge: pictures and captions of the reference world in one space; a transformers CLIP.",
}


def write_card(
    folder: Path, name: str, parts: dict[str, tuple[Recipe, Progress]], parameters: dict[str, int], scenes: int
) -> None:
    """Write `training.json` (exact) and README.md (readable) beside the weights, keeping scores that are there."""
    facts = {
        "name": name,
        "what": _WHAT[name],
        "world_recipe": world_recipe(),
        "seeds": [TRAIN.start, TRAIN.start + scenes],
        "parameters": parameters,
        "parts": {part: {"recipe": asdict(r), "progress": asdict(p)} for part, (r, p) in parts.items()},
    }
    write_atomically(folder / "training.json", json.dumps(facts, indent=1).encode())
    refresh(folder)


def refresh(folder: Path, scores: dict[str, float] | None = None) -> None:
    """Rewrite README.md from training.json and scores.json; `scores` replaces the latter."""
    facts = json.loads((folder / "training.json").read_text())
    path = folder / "scores.json"
    if scores is not None:
        write_atomically(path, json.dumps(scores, indent=1).encode())
    known = json.loads(path.read_text()) if path.exists() else {}
    write_atomically(folder / "README.md", _text(facts, known).encode())


def _text(facts: dict, scores: dict[str, float]) -> str:
    lines = [
        "---",
        "license: apache-2.0",
        "library_name: diffusers",
        "---",
        "",
        f"# {facts['name']}",
        "",
        facts["what"],
        "",
    ]
    first, last = facts["seeds"]
    lines += [
        f"Data: scenes {first} to {last - 1} of the reference world (recipe `{facts['world_recipe']}`), mirrored too.",
        "",
    ]
    lines += ["Parameters: " + ", ".join(f"{part} {count:,}" for part, count in facts["parameters"].items()) + ".", ""]
    lines += [f"Rebuild: `scenewright train {facts['name']}`.", ""]
    lines += [line for note in facts.get("notes", ()) for line in (note, "")]
    for part, run in facts["parts"].items():
        recipe, progress = run["recipe"], run["progress"]
        lines += [f"## Training: {part}", ""]
        hours = progress["seconds"] / 3600
        lines += [f"{progress['step']:,} steps of {recipe['batch']} in {hours:.2f} hours, seed {recipe['seed']},"]
        lines += [f"peak rate {recipe['rate']:g}.", ""]
        lines += _curve(progress["curve"])
    if scores:
        lines += [
            "## Scores",
            "",
            "Measured by `scenewright bench embedded`.",
            "",
            "| figure | value |",
            "| --- | --- |",
        ]
        lines += [
            f"| {key} | {value:.4g} |" if isinstance(value, float) else f"| {key} | {value} |"
            for key, value in scores.items()
        ]
        lines.append("")
    return "\n".join(lines)


def _curve(curve: list[dict[str, float]], points: int = 12) -> list[str]:
    if not curve:
        return []
    every = max(1, len(curve) // points)
    rows = curve[every - 1 :: every]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = ["| " + " | ".join(keys) + " |", "| " + " | ".join("---" for _ in keys) + " |"]
    return [
        *table,
        *("| " + " | ".join(f"{row[key]:g}" if key in row else "-" for key in keys) + " |" for row in rows),
        "",
    ]
