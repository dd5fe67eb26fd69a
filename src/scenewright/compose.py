"""From words to maps to picture: many draws of the first map, the best one, the other maps, then the picture once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scenewright.backends.unet import UNetModel
from scenewright.display import png_bytes
from scenewright.errors import UserError
from scenewright.files import write_atomically
from scenewright.fitting import fitted
from scenewright.graph.factor import CAPTION
from scenewright.graph.library import open_graph
from scenewright.graph.sampling import Progress, Variable, draw
from scenewright.graph.variables import PICTURE, codec_of
from scenewright.guidance import build, parameters
from scenewright.maps import Segmentation, to_bytes
from scenewright.metrics.objects import SMALLEST_FOUND
from scenewright.sampling import sample
from scenewright.scene import Scene, Segment
from scenewright.search import Best, Dropping, Recall, noun_chunks, objects_of, search
from scenewright.world import class_of
from scenewright.world.sheet import grid
from scenewright.world.vocabulary import KINDS


@dataclass(frozen=True, eq=False)
class Composed:
    """What came of a caption: the objects looked for, every draw of the first map with its recall, the best one, all
    variables drawn under it (the first map included), and the picture, uint8 (H, W, 3).
    """

    caption: str
    objects: tuple[str, ...]
    best: Best
    draws: Variable
    maps: dict[str, Any]
    picture: np.ndarray
    seed: int


def compose(
    caption: str,
    model: UNetModel,
    factors: Path,
    maps: Sequence[str] = ("segmentation",),
    seeds: Sequence[int] = range(10),
    steps: int = 20,
    objects: Sequence[str] = (),
    dropping: Dropping | None = None,
    progress: Progress | None = None,
) -> Composed:
    """Draw maps and a picture of a caption with the trained factors in a folder; the first map must be a segmentation.

    `objects` are what the map should show; by default those that the caption names. Without a trained factor for the
    picture the map's regions become segments and ZestGuide places them. Raises UserError for maps or factors that are
    not there, and for a caption with no known object.
    """
    if tuple(maps[:1]) != ("segmentation",):
        raise UserError("the first map is the one that is searched; put segmentation first.")
    wanted = objects_of(objects or caption)
    graph = open_graph(factors, maps, model, steps=steps)
    first = graph["segmentation"]
    assert isinstance(first.codec, Segmentation)
    best, draws = search(first, caption, seeds, Recall(first.codec, wanted), dropping)
    finished = [seed for seed, score in zip(seeds, best.seeds, strict=True) if score == score]
    assert draws.maps is not None
    chosen, seed = {"segmentation": draws.maps[best.row]}, finished[best.row]
    others = [name for name in graph.variables if name != "segmentation"]
    drawn = draw(graph, {CAPTION: caption, **chosen}, [seed], wanted=others, progress=progress) if others else {}
    if PICTURE in drawn:
        picture = drawn.pop(PICTURE).pictures[0]
    else:
        picture = placed(scene_of(caption, first.codec, chosen["segmentation"]), model, seed, steps)
    chosen |= {name: variable.maps[0] for name, variable in drawn.items() if variable.maps is not None}
    return Composed(caption, wanted, best, draws, chosen, picture, seed)


def placed(scene: Scene, model: UNetModel, seed: int, steps: int) -> np.ndarray:
    """The picture by the frozen model itself, guided by ZestGuide to the map's regions."""
    guidance = build("zest", **parameters("zest", model.name))
    return sample(model, fitted(scene, model.facts())[0], guidance, steps, [seed]).images[0]


def scene_of(caption: str, codec: Segmentation, labels: np.ndarray) -> Scene:
    """A label map as a scene: one segment per label, called as the caption calls it where it does; specks left out."""
    said = {name: chunk for chunk in reversed(noun_chunks(caption)) if (name := class_of(chunk))}
    areas = np.bincount(labels.ravel()) / labels.size
    names = {label: codec.labels[label] for label in np.flatnonzero(areas >= SMALLEST_FOUND).tolist() if label}
    segments = [
        Segment(labels == label, said.get(name) or name, stuff=name not in KINDS) for label, name in names.items()
    ]
    segments.sort(key=lambda segment: (not segment.stuff, -segment.area))
    return Scene(caption, tuple(segments), labels.shape)


def write(composed: Composed, folder: Path) -> None:
    """draws.png (every finished draw), one PNG per chosen map, picture.png, and compose.json, written last."""
    pictures = list(composed.draws.pictures)
    write_atomically(folder / "draws.png", png_bytes(Image.fromarray(grid(pictures, min(5, len(pictures))))))
    write_atomically(folder / "picture.png", png_bytes(Image.fromarray(composed.picture)))
    for name, values in composed.maps.items():
        write_atomically(folder / f"{name}.png", png_bytes(Image.fromarray(_shown(name, values, composed.picture))))
    facts = {
        "caption": composed.caption,
        "objects": composed.objects,
        "recall": [None if score != score else round(score, 4) for score in composed.best.seeds],
        "best": round(composed.best.score, 4),
        "seed": composed.seed,
    }
    write_atomically(folder / "compose.json", json.dumps(facts, indent=1).encode())


def _shown(name: str, values: Any, picture: np.ndarray) -> np.ndarray:
    codec = codec_of(name, picture.shape[:2])
    assert codec is not None
    return to_bytes(codec.encode(values))
