"""Readers of published data sets into scenes."""

from scenewright.datasets.coco_json import CocoInstances
from scenewright.datasets.coco_panoptic import CocoPanoptic
from scenewright.datasets.coco_stuff import read_coco_stuff
from scenewright.datasets.label_sets import LABEL_SETS, read_labels

__all__ = ["LABEL_SETS", "CocoInstances", "CocoPanoptic", "read_coco_stuff", "read_labels"]
