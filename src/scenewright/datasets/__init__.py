"""Readers of published data sets into scenes."""

from scenewright.datasets.coco_json import CocoInstances
from scenewright.datasets.coco_panoptic import CocoPanoptic
from scenewright.datasets.coco_stuff import read_coco_stuff

__all__ = ["CocoInstances", "CocoPanoptic", "read_coco_stuff"]
