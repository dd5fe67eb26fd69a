"""Finding and reading scenes: a file, a file of many, or a folder of files."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scenewright.datasets.coco_json import CocoInstances, captions_of
from scenewright.datasets.coco_panoptic import CocoPanoptic
from scenewright.datasets.coco_stuff import read_coco_stuff
from scenewright.datasets.folder import Skipped, candidates
from scenewright.datasets.pictures import file_bytes
from scenewright.errors import UserError
from scenewright.scene import Scene
from scenewright.scene_io.boxes import BoxLayout
from scenewright.scene_io.document import SceneDocument, sentence
from scenewright.scene_io.layout import LayoutDocument, layout_scene


@dataclass(frozen=True)
class Source:
    """Where one scene is: its file, a name that no other source of the same search has, and how to read it."""

    path: Path
    name: str
    read: Callable[[], Scene]


@dataclass(frozen=True)
class Found:
    """What a search found, and what it left out and why."""

    sources: tuple[Source, ...]
    skipped: tuple[Skipped, ...] = ()


class NotAScene(UserError):
    """A whole JSON file that holds no scene."""


def read_scene(path: Path | str) -> Scene:
    """The scene of a file: scene JSON, layout JSON or its indexed PNG, a record; COCO JSON or JSON lines with one.

    Raises UserError if it cannot be read, is no scene, or holds several.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name one file in it, or use read_scenes")
    sources = _sources(path)
    if len(sources) != 1:
        raise UserError(f"{path} holds {len(sources)} scenes, not one; use read_scenes")
    return sources[0].read()


def read_scenes(path: Path | str) -> Iterator[tuple[Path, Scene]]:
    """(file, scene) for every scene in a file or, recursively, a folder, each read when it is asked for.

    Raises UserError at a scene that cannot be read; `find_scenes` lets you go on, and says what was left out.
    """
    for source in find_scenes(path).sources:
        yield source.path, source.read()


def find_scenes(path: Path | str) -> Found:
    """Every scene in a file or, recursively, a folder, unread; what is no scene is listed with the reason.

    A broken file counts as a scene that raises UserError when read. Raises UserError if `path` is missing, or a single
    file that is no scene, or a folder without any scene.
    """
    path = Path(path)
    if not path.is_dir():
        return Found(_unique(_sources(path), path.parent))
    files, skipped = candidates(path)
    sources: list[Source] = []
    for file in files:
        try:
            sources += _sources(file, in_folder=True)
        except NotAScene as error:
            skipped.append(Skipped(file, str(error)))
        except UserError as error:
            sources.append(Source(file, file.stem, partial(_fail, error)))
    if not sources:
        raise UserError(f"{path} holds no scene ({len(files)} JSON files looked at); name a folder of scenes")
    return Found(_unique(sources, path), tuple(skipped))


def _fail(error: UserError) -> Scene:
    raise error


def _unique(sources: list[Source], folder: Path) -> tuple[Source, ...]:
    """The sources under names that differ, also where case does not count: a taken name gets its folders and file in
    front, then a number."""
    counts = Counter(source.name.casefold() for source in sources)
    taken: set[str] = set()
    renamed = []
    for source in sources:
        name = source.name
        if counts[name.casefold()] > 1:
            parts = source.path.relative_to(folder).with_suffix("").parts
            name = "-".join(parts if parts[-1] == name else (*parts, name))
        stem, number = name, 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        renamed.append(Source(source.path, name, source.read))
    return tuple(renamed)


def _sources(path: Path, in_folder: bool = False) -> list[Source]:
    """The scenes of one file, unread."""
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return _lines(path)
    if suffix == ".png":
        return _sources(_json_of(path))
    if suffix != ".json":
        raise UserError(f"{path} is no scene; give a .json, .jsonl, an indexed .png with its .json, or a folder")
    data = _json(path)
    kind = kind_of(data)
    if kind == "record" and in_folder:
        raise NotAScene(f"{path} is the record of a picture")
    if kind in ("panoptic", "instances"):
        return _coco(data, path, CocoPanoptic if kind == "panoptic" else CocoInstances)
    if not kind:
        raise NotAScene(f'{path} is no scene: it has no "segments"; see docs/scene.schema.json for what one looks like')
    return [Source(path, path.stem, partial(_read, data, path, path.stem))]


def kind_of(data: Any) -> str:
    """What a JSON value is: "scene", "layout", "boxes", "label", "record", "panoptic", "instances", or "" for none."""
    if not isinstance(data, dict):
        return ""
    if str(data.get("format", "")).startswith("scenewright-record"):
        return "record"
    if isinstance(data.get("annotations"), list) and data["annotations"] and isinstance(data["annotations"][0], dict):
        first = data["annotations"][0]
        return "panoptic" if "segments_info" in first else "instances" if "segmentation" in first else ""
    if "boxes" in data and ("prompt" in data or "canvas" in data):
        return "boxes"
    if isinstance(data.get("segments"), dict):
        return "layout"
    if "segments" in data or str(data.get("format", "")).startswith("scenewright-scene"):
        return "scene"
    return "label" if isinstance(data.get("label"), str) else ""


def _read(data: Any, path: Path, name: str) -> Scene:
    """The scene of a JSON value; `path` is where it came from and where its pictures are looked up."""
    kind = kind_of(data)
    try:
        if kind == "layout":
            return layout_scene(LayoutDocument.model_validate(data), path)
        if kind == "boxes":
            return BoxLayout.model_validate(data).scene(name)
        if kind == "label":
            captions = data.get("captions") or [data.get("caption", "")]
            caption = captions[0] if isinstance(captions, list) else captions
            return read_coco_stuff(path.parent / data["label"], caption if isinstance(caption, str) else "")
        document = SceneDocument.model_validate(data["scene"] if kind == "record" else data)
        scene = document.scene(path.parent)
        return scene if scene.name else Scene(scene.caption, scene.segments, scene.size, scene.maps, name)
    except ValidationError as error:
        raise UserError(f"{path}: {sentence(error)}") from error
    except KeyError as error:
        raise UserError(f"{path} has no {error}; use the file as it was saved") from error
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path}: {error}") from error


def _lines(path: Path) -> list[Source]:
    sources = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        data = _parsed(line, f"{path} line {number}")
        if not kind_of(data):
            raise NotAScene(f"{path} line {number} is no scene; give one scene, box layout or label record a line")
        name = f"{path.stem}-{number:05d}"
        sources.append(Source(path, name, partial(_read, data, path, name)))
    return sources


def _coco(data: dict[str, Any], path: Path, reader: type[CocoPanoptic] | type[CocoInstances]) -> list[Source]:
    """One source per annotated image. Captions come from a file beside it called captions….json, if there is one."""
    captions: dict[int, str] = {}
    for beside in sorted(path.parent.glob("captions*.json")):
        captions |= captions_of(_json(beside))
    scenes = reader(data, path, captions)
    ids = scenes.notes if isinstance(scenes, CocoPanoptic) else [i for i in scenes.images if scenes.rows.get(i)]
    return [Source(path, f"{i:012d}", partial(scenes.scene, i)) for i in ids]


def _json_of(picture: Path) -> Path:
    """The JSON of an indexed PNG: beside it, or in the folder `layouts` beside its folder."""
    if not picture.is_file():
        raise UserError(f"{picture} does not exist; check the path")
    for place in (picture.with_suffix(".json"), picture.parent.parent / "layouts" / f"{picture.stem}.json"):
        if place.is_file():
            return place
    raise UserError(f"{picture} has no {picture.stem}.json beside it to give its regions words; write one")


def _text(path: Path) -> str:
    try:
        return file_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8") from error


def _json(path: Path) -> Any:
    return _parsed(_text(path), str(path))


def _parsed(text: str, label: str) -> Any:
    if not text.strip():
        raise UserError(f"{label} is empty; write the scene again")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise UserError(f"{label} is nested too deeply; a scene has few levels") from error
    except ValueError as error:
        raise UserError(f"{label} is not valid JSON ({error}); correct it there") from error
