"""COCO-Stuff label pictures (Caesar et al., 2018): a pixel is the COCO class id minus 1, 255 is void."""

from pathlib import Path

from scenewright.datasets.label_sets import LABEL_SETS, read_labels
from scenewright.scene import Scene


def read_coco_stuff(label: Path, caption: str = "", instances: Path | None = None) -> Scene:
    """The scene of a COCO-Stuff label picture, as `read_labels`."""
    return read_labels(label, LABEL_SETS["coco-stuff"], caption, instances)
