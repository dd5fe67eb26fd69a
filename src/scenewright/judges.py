"""The embedded judges: a segmenter on the world's classes and a small CLIP. They score pictures and never guide them.

Both see 128 x 128 pixels; pictures of other sizes are resized by area on the way down, bilinearly on the way up.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPModel, PreTrainedTokenizerFast, SegformerForSemanticSegmentation

from scenewright.errors import UserError

MODELS = Path(__file__).resolve().parent / "models"
SIZE = 128
BATCH = 32
_MEND = "install the whole package, or rebuild it with `scenewright train`"


@dataclass(frozen=True, eq=False)
class Segmenter:
    """Names a class for every pixel."""

    network: SegformerForSemanticSegmentation

    @classmethod
    def load(cls, folder: Path | None = None) -> "Segmenter":
        """The segmenter of a transformers folder (default: the embedded one); raises UserError if it cannot be read."""
        return cls(_opened(SegformerForSemanticSegmentation, folder or MODELS / "segmenter"))

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 pictures (N, H, W, 3) -> uint8 class ids (N, H, W); logits are upsampled before the choice."""
        size = images.shape[1:3]
        maps = [np.zeros((0, *size), np.uint8)]
        for start in range(0, len(images), BATCH):
            logits = self.network(pixel_values=_pixels(images[start : start + BATCH])).logits
            full = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
            maps.append(full.argmax(1).to(torch.uint8).numpy())
        return np.concatenate(maps)


@dataclass(frozen=True, eq=False)
class Clip:
    """Places pictures and texts in one space."""

    network: CLIPModel
    tokenizer: PreTrainedTokenizerFast

    @classmethod
    def load(cls, folder: Path | None = None) -> "Clip":
        """The CLIP and tokenizer of a folder (default: the embedded ones); raises UserError if they cannot be read."""
        folder = folder or MODELS / "clip"
        words = folder if (folder / "tokenizer.json").exists() else MODELS / "embedded" / "tokenizer"
        return cls(_opened(CLIPModel, folder), _tokenizer(words))

    @torch.no_grad()
    def images(self, images: np.ndarray) -> np.ndarray:
        """uint8 pictures (N, H, W, 3) -> float32 features (N, D), not normalised."""
        batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        return _stacked([_pooled(self.network.get_image_features(pixel_values=_pixels(batch))) for batch in batches])

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> float32 features (N, D), not normalised; words past the token limit are cut off."""
        rows = []
        for start in range(0, len(texts), BATCH):
            part = list(texts[start : start + BATCH])
            # Padding to full length keeps a text's features independent of its neighbours.
            tokens = self.tokenizer(part, padding="max_length", truncation=True, return_tensors="pt")
            ids, mask = tokens["input_ids"], tokens["attention_mask"]
            rows.append(_pooled(self.network.get_text_features(input_ids=ids, attention_mask=mask)))
        return _stacked(rows)


@cache
def segmenter() -> Segmenter:
    """The embedded segmenter, read once."""
    return Segmenter.load()


@cache
def clip() -> Clip:
    """The embedded CLIP, read once."""
    return Clip.load()


def segment(images: np.ndarray) -> np.ndarray:
    """Class maps (N, H, W) of pictures (N, H, W, 3) by the embedded segmenter."""
    return segmenter()(images)


def clip_image_features(images: np.ndarray) -> np.ndarray:
    """Features (N, D) of pictures (N, H, W, 3) by the embedded CLIP."""
    return clip().images(images)


def clip_text_features(texts: Sequence[str]) -> np.ndarray:
    """Features (N, D) of texts by the embedded CLIP."""
    return clip().texts(texts)


def identity() -> str:
    """Twelve hexadecimal digits that change whenever a judge's weights do."""
    digest = hashlib.sha256()
    for name in ("segmenter", "clip"):
        for path in sorted((MODELS / name).glob("*.safetensors")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _pixels(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, 128, 128) in [-1, 1]."""
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(f"expected uint8 pictures (N, H, W, 3), got {images.dtype} of shape {images.shape}")
    x = torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    if x.shape[-2:] == (SIZE, SIZE):
        return x
    if min(x.shape[-2:]) >= SIZE:
        return F.interpolate(x, size=(SIZE, SIZE), mode="area")
    return F.interpolate(x, size=(SIZE, SIZE), mode="bilinear", align_corners=False)


def _pooled(features: Any) -> Tensor:
    """The feature rows; transformers 5 wraps them in an output object, transformers 4 does not."""
    return features if isinstance(features, Tensor) else features.pooler_output


def _stacked(rows: list[Tensor]) -> np.ndarray:
    return torch.cat(rows).float().numpy() if rows else np.zeros((0, 1), np.float32)


def _opened(kind: Any, folder: Path) -> Any:
    """A transformers model in float32, from safetensors only and without a network connection."""
    if not (folder / "config.json").is_file():
        raise UserError(f"there is no judge in {folder}; {_MEND}.")
    try:
        network = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"the judge in {folder} cannot be read ({type(error).__name__}); {_MEND}.") from error
    return network.float().eval().requires_grad_(False)


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    if not (folder / "tokenizer.json").is_file():
        raise UserError(f"there is no tokenizer in {folder}; {_MEND}.")
    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
