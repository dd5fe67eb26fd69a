"""What an evaluation draws: segments chosen once by a protocol, so that every method sees the same inputs."""

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from scenewright.bench.drawing import SPLITS, Told, renders, silent
from scenewright.bench.layout import held_out_scenes
from scenewright.datasets.label_sets import LABEL_SETS, label_pictures, read_labels, scene_captions
from scenewright.datasets.prompts import read_prompts
from scenewright.errors import UserError
from scenewright.files import write_atomically
from scenewright.runs import entries
from scenewright.scene import Scene
from scenewright.scene_io import Source, read_scene, write_scene
from scenewright.world import CLASSES
from scenewright.world.layouts import MOST, SETTINGS, SMALL

CAPTIONS = "captions"
PROTOCOLS = (*SETTINGS, CAPTIONS)
WORLD = "world"
PROMPTS = "prompts:"
SIZE = (128, 128)  # of scenes that have no segments; pictures are drawn at the model's own size


@dataclass(frozen=True, eq=False)
class Case:
    """One scene to draw, and the words of all that its picture should show, asked for by a segment or not."""

    scene: Scene
    named: tuple[str, ...]


def chosen(scene: Scene, protocol: str, seed: int) -> Scene:
    """The scene with the segments that a protocol conditions on (ZestGuide's release, `generate_dataset.py`).

    Its unit is the class, so segments of the same words are one. all: every one. filtered: those over 5 % of the
    picture. few: of these, one to three at random; number and choice come from `seed`. few-1 to few-3: so many of
    these, none if there are fewer. captions: none at all. None may be left. Raises
    UserError for another protocol.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"protocol '{protocol}' is not known; choose from {', '.join(PROTOCOLS)}.")
    if protocol == CAPTIONS:
        return replace(scene, segments=())
    kept = [segment for segment in by_words(scene).segments if protocol == "all" or segment.area > SMALL]
    if protocol.startswith("few") and kept:
        rng = np.random.default_rng([17, seed])
        count = int(rng.integers(1, min(MOST, len(kept)) + 1))
        count = count if protocol == "few" else int(protocol[-1])
        kept = [kept[i] for i in sorted(rng.permutation(len(kept))[:count])] if count <= len(kept) else []
    return replace(scene, segments=tuple(kept))


def by_words(scene: Scene) -> Scene:
    """The scene with one segment for all visible regions of the same words; those without words are dropped."""
    labels = scene.label_map()
    texts = dict.fromkeys(segment.text for segment in scene.segments if segment.text.strip())
    merged = []
    for text in texts:
        own = [i for i, segment in enumerate(scene.segments, start=1) if segment.text == text]
        mask = np.isin(labels, own)
        if mask.any():
            merged.append(replace(scene.segments[own[0] - 1], mask=mask.astype(np.float32)))
    return replace(scene, segments=tuple(merged))


def cases(data: str, protocol: str, count: int, split: str = "test", told: Told = silent) -> list[Case]:
    """The first `count` cases of `data` that a protocol leaves a segment of: "world", a folder of scenes, or
    "ade20k:FOLDER" and the like for label pictures (see `datasets.label_sets`), or "prompts:FILE" (see
    `datasets.prompts`), which "captions" alone can draw. That protocol needs no segment.

    A folder may hold fewer. Raises UserError if it holds none, or a scene that cannot be read.
    """
    if data.startswith(PROMPTS):
        return _of_prompts(Path(data.removeprefix(PROMPTS)), protocol, count)
    if data == WORLD:
        if protocol == CAPTIONS:
            samples = renders(range(SPLITS[split], SPLITS[split] + count), told=told)
            scenes = [Scene(s.caption, (), s.classes.shape, name=f"world {s.seed}") for s in samples]
        else:
            samples, scenes = held_out_scenes(protocol, count, split, told)
        named = [tuple(CLASSES[p.class_id] for p in sample.phrases if p.instance) for sample in samples]
        return [Case(scene, words) for scene, words in zip(scenes, named, strict=True)]
    found = list(_of_sources(_sources(data), protocol, count, told))
    if not found:
        raise UserError(f"{data} has no scene with a segment for protocol '{protocol}'; name another folder.")
    return found


def _of_prompts(path: Path, protocol: str, count: int) -> list[Case]:
    if protocol != CAPTIONS:
        raise UserError(f"prompts have no segments for protocol '{protocol}'; use --protocol {CAPTIONS}.")
    return [
        Case(Scene(prompt.text, (), SIZE, name=f"prompt {number}"), prompt.named or _words(prompt.text))
        for number, prompt in enumerate(read_prompts(path)[:count], start=1)
    ]


def _words(text: str) -> tuple[str, ...]:
    """Every word of a prompt and every two in a row: what a judge knows among them is what should be seen."""
    words = re.findall(r"[\w-]+", text.lower())
    return tuple(dict.fromkeys([*words, *map(" ".join, pairwise(words))]))


def _sources(data: str) -> Sequence[Source]:
    kind, _, place = data.partition(":")
    if kind not in LABEL_SETS or not place:
        return entries([Path(data)]).sources
    of, folder = LABEL_SETS[kind], Path(place)
    captions = scene_captions(folder)
    return [
        Source(path, path.stem, partial(read_labels, path, of, captions.get(path.stem, "")))
        for path in label_pictures(folder, of)
    ]


def _of_sources(sources: Sequence[Source], protocol: str, count: int, told: Told) -> Iterator[Case]:
    done = 0
    for source in sources:
        if done == count:
            return
        scene = source.read()
        picked = chosen(replace(scene, name=source.name), protocol, zlib.crc32(source.name.encode()))
        if picked.segments or protocol == CAPTIONS:
            done += 1
            told("reading")
            yield Case(picked, tuple(dict.fromkeys(s.text for s in scene.segments if s.text.strip())))


def save_cases(found: Sequence[Case], folder: Path) -> None:
    """Write the scenes as numbered files, and cases.json last: with it, the folder is whole."""
    for number, case in enumerate(found):
        write_scene(case.scene, folder / f"{number:06d}.json")
    listed = [{"scene": f"{number:06d}.json", "named": case.named} for number, case in enumerate(found)]
    write_atomically(folder / "cases.json", (json.dumps(listed, ensure_ascii=False, indent=1) + "\n").encode())


def saved_cases(folder: Path) -> list[Case] | None:
    """The cases of a folder, or None if it has none."""
    try:
        listed = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return [Case(read_scene(folder / row["scene"]), tuple(row["named"])) for row in listed]
