"""Which classes are objects, and how much more they weigh: ground and sky are learned early, objects are not."""

import torch

from ..world.vocabulary import CLASSES, KINDS

OBJECT_WEIGHT = 3.0
IS_OBJECT = torch.tensor([name in KINDS for name in CLASSES])
CLASS_WEIGHTS = torch.where(IS_OBJECT, OBJECT_WEIGHT, 1.0)
