"""Writing scenes: one JSON that holds everything, or an indexed PNG with its JSON."""

import io
import json
from pathlib import Path

from scenewright.errors import UserError
from scenewright.files import write_atomically
from scenewright.scene import Scene
from scenewright.scene_io.document import SceneDocument
from scenewright.scene_io.layout import layout_files


def write_scene(scene: Scene, path: Path | str) -> Path:
    """Write a scene to `path`, whole or not at all; returns the path.

    .json keeps everything (soft masks to 1/255). .png is an indexed picture with a .json beside it: regions
    become hard, what is hidden is lost, segments without words are not read back.
    Raises UserError for another suffix, or if the place cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        document = SceneDocument.from_scene(scene).model_dump(mode="json", exclude_defaults=True)
        _write_json({"format": "scenewright-scene-1"} | document, path)
    elif path.suffix.lower() == ".png":
        picture, document = layout_files(scene, path)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        write_atomically(path, buffer.getvalue())
        _write_json(document, path.with_suffix(".json"))
    else:
        raise UserError(f"{path.name} ends in neither .json nor .png, the two forms of a scene; rename it")
    return path


def _write_json(document: object, path: Path) -> None:
    write_atomically(path, (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode())
