"""The reference world: storybook scenes with exact maps, captions and phrases, from a seed."""

from .sample import Sample, render
from .vocabulary import CLASS_ID, CLASSES, COLOURS, GROUNDS, KINDS, STUFF, class_of, held_out

__all__ = ["CLASSES", "CLASS_ID", "COLOURS", "GROUNDS", "KINDS", "STUFF", "Sample", "class_of", "held_out", "render"]
