"""Segmentation networks that a picture can be guided by: differentiable in its pixels, opened by name or folder.

They are not the judges: a method that wants a classifier has its own, so that no method is scored by what guided it.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForSemanticSegmentation

from scenewright.datasets.label_sets import spoken
from scenewright.errors import UserError
from scenewright.world.vocabulary import class_of

CLASSIFIERS = {"embedded": Path(__file__).parent.parent / "models" / "classifier"}


@dataclass(frozen=True, eq=False)
class PixelClassifier:
    """A network with the names of its classes; `mean` and `deviation` (3,) bring pixels in [0, 1] to what it wants."""

    network: Any
    names: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) in [-1, 1] -> logits (N, classes, H, W), float32."""
        mean, deviation = (pixels.new_tensor(v).view(1, 3, 1, 1) for v in (self.mean, self.deviation))
        logits = self.network(pixel_values=((pixels / 2 + 0.5 - mean) / deviation).float()).logits
        return F.interpolate(logits, size=pixels.shape[-2:], mode="bilinear", align_corners=False)

    def class_id(self, text: str) -> int | None:
        """The class that a segment's text names: by the name itself, as it is said, or by the head noun."""
        wanted = text.strip().lower()
        for name in (wanted, class_of(text)):
            for said in (str.lower, spoken):
                found = [index for index, own in enumerate(self.names) if name and said(own) == name]
                if found:
                    return found[0]
        return None


@cache
def opened(source: str, device: torch.device) -> PixelClassifier:
    """The classifier called `source` (a name in CLASSIFIERS, a folder or a hub id), read once, safetensors only.

    Raises UserError if it is no semantic segmentation network.
    """
    place = CLASSIFIERS.get(source, Path(source))
    where, local = (str(place), True) if place.is_dir() or source in CLASSIFIERS else (source, False)
    try:
        config = AutoConfig.from_pretrained(where, local_files_only=local)
        network = AutoModelForSemanticSegmentation.from_pretrained(where, use_safetensors=True, local_files_only=local)
        mean, deviation = _normalisation(where, local)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"classifier '{source}' cannot be read ({type(error).__name__}); give a folder or hub id of a semantic "
            "segmentation network with config.json and safetensors."
        ) from error
    labels = {int(index): str(name) for index, name in (config.id2label or {}).items()}
    names = tuple(labels.get(index, "") for index in range(max(labels, default=-1) + 1))
    return PixelClassifier(network.to(device).float().eval().requires_grad_(False), names, mean, deviation)


def _normalisation(where: str, local: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What the network's image processor subtracts and divides by; [-1, 1] where it has none."""
    if local and not (Path(where) / "preprocessor_config.json").is_file():
        return (0.5,) * 3, (0.5,) * 3
    from transformers import AutoImageProcessor  # its import asks for torchvision, with warnings

    processor = AutoImageProcessor.from_pretrained(where, local_files_only=local)
    return tuple(processor.image_mean), tuple(processor.image_std)
