"""Scenes in files."""

from scenewright.scene_io.document import SceneDocument, schema_text
from scenewright.scene_io.reading import Found, Source, find_scenes, read_scene, read_scenes
from scenewright.scene_io.writing import write_scene

__all__ = [
    "Found",
    "SceneDocument",
    "Source",
    "find_scenes",
    "read_scene",
    "read_scenes",
    "schema_text",
    "write_scene",
]
