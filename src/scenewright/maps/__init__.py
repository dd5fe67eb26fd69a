"""Maps of a picture (segmentation, depth, normals, sketch, pose) as pictures of their own, and back.

A codec has `encode(map) -> (H, W, 3) float32 in [-1, 1]` and `decode(picture) -> map`; both raise UserError for an
array that cannot be one. Nothing here knows a model.
"""

from scenewright.maps.codec import Codec, from_bytes, to_bytes
from scenewright.maps.depth import Depth
from scenewright.maps.normals import Normals
from scenewright.maps.palette import palette, spacing
from scenewright.maps.pose import JOINTS, Pose
from scenewright.maps.segmentation import Segmentation, name_regions
from scenewright.maps.sketch import Sketch

__all__ = [
    "JOINTS",
    "Codec",
    "Depth",
    "Normals",
    "Pose",
    "Segmentation",
    "Sketch",
    "from_bytes",
    "name_regions",
    "palette",
    "spacing",
    "to_bytes",
]
