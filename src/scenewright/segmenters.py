"""Any Hugging Face segmentation network as a judge: Mask2Former, MaskFormer, OneFormer, Segformer and their like."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation, AutoProcessor
from transformers import AutoModelForUniversalSegmentation as AutoUniversal

from scenewright.errors import UserError
from scenewright.files import weights_digest

UNIVERSAL = ("mask2former", "maskformer", "oneformer")
BATCH = 4


@dataclass(frozen=True, eq=False)
class NamedSegmenter:
    """Names a class for every pixel: 1 + the network's own class id; 0 is never said.

    `names` holds the network's class names by its own ids, `identity` tells two networks apart.
    """

    network: Any
    processor: Any
    names: tuple[str, ...]
    identity: str

    @classmethod
    def load(cls, source: str) -> "NamedSegmenter":
        """From a folder or a hub id, safetensors only. Raises UserError if it is no segmentation network."""
        local = Path(source).is_dir()
        try:
            config = AutoConfig.from_pretrained(source, local_files_only=local)
            universal = config.model_type in UNIVERSAL
            kind = AutoUniversal if universal else AutoModelForSemanticSegmentation
            network = kind.from_pretrained(source, use_safetensors=True, local_files_only=local)
            reader = AutoProcessor if config.model_type == "oneformer" else AutoImageProcessor
            processor = reader.from_pretrained(source, local_files_only=local)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"{source} is no segmentation network that can be read ({type(error).__name__}); give a folder or hub "
                "id with config.json, preprocessor_config.json and safetensors."
            ) from error
        labels = {int(index): str(name) for index, name in (config.id2label or {}).items()}
        names = tuple(labels.get(index, "") for index in range(max(labels, default=-1) + 1))
        identity = weights_digest(Path(source))[:12] if local else source
        return cls(network.float().eval().requires_grad_(False), processor, names, identity)

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 pictures (N, H, W, 3) -> int32 class ids (N, H, W), at the pictures' size."""
        maps = [np.zeros((0, *images.shape[1:3]), np.int32)]
        for start in range(0, len(images), BATCH):
            pictures = [Image.fromarray(image) for image in images[start : start + BATCH]]
            task = {"task_inputs": ["semantic"] * len(pictures)} if self._spoken_to else {}
            seen = self.network(**self.processor(images=pictures, return_tensors="pt", **task))
            reader = getattr(self.processor, "image_processor", self.processor)
            found = reader.post_process_semantic_segmentation(seen, target_sizes=[images.shape[1:3]] * len(pictures))
            maps.append(np.stack([classes.numpy() for classes in found]).astype(np.int32) + 1)
        return np.concatenate(maps)

    @property
    def _spoken_to(self) -> bool:
        """OneFormer is told its task in words."""
        return self.network.config.model_type == "oneformer"
