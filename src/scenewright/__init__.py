"""Say what, draw where: controllable image synthesis with diffusion models.

    import scenewright as sw
    scene = sw.read_scene("scene.json")
    sw.generate(scene, guidance="zest", seed=0)[0].save("picture.png")

Names are imported on first use (PEP 562), so `import scenewright` costs milliseconds and imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scenewright.api import Picture, generate, replay
    from scenewright.backends import load
    from scenewright.errors import UserError
    from scenewright.record import Record, read_record
    from scenewright.sampling import sample
    from scenewright.scene import Scene, Segment
    from scenewright.scene_io import read_scene, read_scenes, write_scene

__version__ = "0.1.0"

_HOMES = {
    "Picture": "api",
    "Record": "record",
    "Scene": "scene",
    "Segment": "scene",
    "UserError": "errors",
    "generate": "api",
    "load": "backends",
    "read_record": "record",
    "read_scene": "scene_io",
    "read_scenes": "scene_io",
    "replay": "api",
    "sample": "sampling",
    "write_scene": "scene_io",
}

__all__ = [
    "Picture",
    "Record",
    "Scene",
    "Segment",
    "UserError",
    "__version__",
    "generate",
    "load",
    "read_record",
    "read_scene",
    "read_scenes",
    "replay",
    "sample",
    "write_scene",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'scenewright' has no attribute {name!r}")
    value = getattr(import_module(f"scenewright.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
