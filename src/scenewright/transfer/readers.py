"""What affinity is read from: texts, class scores of a segmenter, dense self-supervised features.

Pictures are uint8 (N, H, W, 3), class ids (N, H, W).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from scenewright.errors import UserError
from scenewright.transfer import affinity
from scenewright.transfer.affinity import Affinity
from scenewright.transfer.oasis import one_hot

Reader = Callable[[np.ndarray], Tensor]  # pictures to maps (N, classes or features, h, w)
TEMPLATES = ("a {}",)  # of five sets, the one with most of the second label set right
BATCH = 16


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """Places words in a space: the text half of a CLIP, or a sentence encoder (mean of its last states)."""

    network: Any
    tokenizer: Any

    @classmethod
    def load(cls, source: str = "") -> "TextEncoder":
        """From a folder or hub id, safetensors only; the embedded CLIP if empty. Raises UserError if it is none."""
        if not source:
            from scenewright.judges import clip

            return cls(clip().network, clip().tokenizer)
        network = _opened(source, "text encoder")
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=Path(source).is_dir())
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{source} holds no tokenizer that can be read; name another text encoder") from error
        return cls(network, tokenizer)

    @torch.no_grad()
    def __call__(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(N, D) features of names, each said as in `TEMPLATES`, and (N,) bool: does it know any of the words."""
        unknown = self.tokenizer.unk_token_id
        ids = [self.tokenizer(name, add_special_tokens=False)["input_ids"] for name in names]
        known = np.array([any(token != unknown for token in row) for row in ids])
        rows = [self._features([template.format(name) for template in TEMPLATES]).mean(0) for name in names]
        return torch.stack(rows).numpy(), known

    def _features(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        read = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        if hasattr(self.network, "get_text_features"):
            found = self.network.get_text_features(**read)
            features = found if isinstance(found, Tensor) else found.pooler_output
        else:
            states, mask = self.network(**read).last_hidden_state, read["attention_mask"][..., None]
            features = (states * mask).sum(1) / mask.sum(1)
        return F.normalize(features.float(), dim=-1)


@dataclass(frozen=True, eq=False)
class DenseFeatures:
    """Features of a vision network where they are in the picture: DINO and other ViTs (their patch tokens), or a
    network whose last state is a map, as that of `training.features`.
    """

    network: Any
    side: int = 0  # pixels that pictures are resized to; 0 leaves them as they are
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    deviation: tuple[float, ...] = (0.5, 0.5, 0.5)

    @classmethod
    def load(cls, source: str | Path) -> "DenseFeatures":
        """From a folder or hub id, safetensors only. Raises UserError if it is no vision network."""
        network = _opened(str(source), "vision network")
        if not hasattr(network.config, "num_channels"):
            raise UserError(f"{source} reads no pictures; name a vision network such as a DINO")
        side = getattr(network.config, "image_size", 0) or 0
        side = side if isinstance(side, int) else side[0]
        from transformers import AutoImageProcessor  # its import asks for torchvision, with warnings

        try:
            processor = AutoImageProcessor.from_pretrained(str(source), local_files_only=Path(source).is_dir())
        except (OSError, ValueError, KeyError, ImportError):
            return cls(network, side)  # says nothing of its pixels: -1 to 1, as the networks of `training` take them
        return cls(network, side, tuple(processor.image_mean), tuple(processor.image_std))

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> Tensor:
        mean, deviation = (torch.tensor(row).view(1, 3, 1, 1) for row in (self.mean, self.deviation))
        x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / deviation
        if self.side:
            x = F.interpolate(x, size=(self.side, self.side), mode="bilinear", antialias=True)
        states = self.network(pixel_values=x).last_hidden_state
        if states.ndim == 4:
            return states
        cells = int((states.shape[1]) ** 0.5)  # class and register tokens stand before the patches
        return states[:, -cells * cells :].transpose(1, 2).unflatten(2, (cells, cells))


def scores_of_critic(discriminator: torch.nn.Module) -> Reader:
    """An OASIS discriminator as a segmenter of its own classes: what does it take a picture for, if it is real?"""

    @torch.no_grad()
    def read(images: np.ndarray) -> Tensor:
        pictures = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        return discriminator(pictures)[:, 1:]

    return read


def scores_of_segmenter(source: str, names: Sequence[str]) -> Reader:
    """A Hugging Face segmentation network by folder or hub id as 0 and 1 per source class, matched by name.

    Raises UserError if it knows none of the classes.
    """
    from scenewright.segmenters import NamedSegmenter

    network = NamedSegmenter.load(source)
    places = {name.strip().lower(): index for index, name in enumerate(names)}
    table = torch.tensor([0, *(places.get(name.strip().lower(), 0) for name in network.names)])
    if not table.any():
        raise UserError(f"{source} knows none of the source model's classes; name a segmenter of the same label set")
    return lambda images: one_hot(table[torch.from_numpy(network(images)).long()], len(names))


def confusion(read: Reader, images: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(source classes, `classes`) pixels of each class that `read` calls by each source class; "unlabelled" is never
    said.
    """
    counts = np.zeros((0, classes), np.int64)
    for scores, truth in _batches(read, images, labels):
        said = scores[:, 1:].argmax(1) + 1
        counts = _counted(counts, said, truth, scores.shape[1], classes)
    return counts


def forbidden(read: Reader, images: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes - 1,) the largest share of each source class's pixels that one other class gets when its own may not be
    said; NaN for classes that are nowhere.
    """
    counts = np.zeros((0, classes), np.int64)
    for scores, truth in _batches(read, images, labels):
        scores = scores.masked_fill(one_hot(truth, scores.shape[1]) > 0, -torch.inf)
        counts = _counted(counts, scores[:, 1:].argmax(1) + 1, truth, scores.shape[1], classes)
    total = counts.sum(0)[1:]
    return np.where(total > 0, counts[1:, 1:].max(0) / np.maximum(total, 1), np.nan)


def prototypes(read: Reader, images: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes, D) mean feature of the cells that each class fills by more than half (or touches, if it fills none),
    less the mean over classes, so that what all pictures share does not count; NaN for classes that are nowhere.
    """
    sums: list[Tensor] = []
    for start in range(0, len(images), BATCH):
        features = read(images[start : start + BATCH])
        grid = (features.shape[-2], features.shape[-1])
        shares = F.adaptive_avg_pool2d(one_hot(torch.from_numpy(labels[start : start + BATCH]), classes), grid)
        weights = torch.stack([shares * (shares > 0.5), shares])
        sums.append(
            torch.cat([torch.einsum("knchw,ndhw->kcd", weights, features), weights.sum((1, 3, 4))[..., None]], 2)
        )
    filled, touched = torch.stack(sums).sum(0).double().numpy()
    rows = np.where(filled[:, -1:] > 0, filled, touched)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(rows[:, -1:] > 0, rows[:, :-1] / rows[:, -1:], np.nan)
    return means - np.nanmean(means[1:], 0)


def text_affinity(encoder: TextEncoder, source: Sequence[str], target: Sequence[str]) -> Affinity:
    """By the cosine of class names, less the mean of the source's names: all words of a space share some direction."""
    own, understood = encoder(source)
    theirs, known = encoder(target)
    middle = own[1:][understood[1:]].mean(0) if understood[1:].any() else 0
    own = np.where(understood[:, None], own - middle, np.nan)
    return affinity.from_cosines("text", source, target, own, theirs - middle, known)


def feature_affinity(source: Sequence[str], target: Sequence[str], own: np.ndarray, theirs: np.ndarray) -> Affinity:
    """By the cosine of class prototypes, (N_s, D) and (N_t, D)."""
    return affinity.from_cosines("self-supervised", source, target, own, theirs, np.asarray(np.isfinite(theirs).all(1)))


def _batches(read: Reader, images: np.ndarray, labels: np.ndarray):
    """Class scores of a batch of pictures and the class ids at their resolution."""
    for start in range(0, len(images), BATCH):
        scores = read(images[start : start + BATCH])
        truth = torch.from_numpy(labels[start : start + BATCH].astype(np.int64))[:, None].float()
        yield scores, F.interpolate(truth, size=scores.shape[-2:], mode="nearest")[:, 0].long()


def _counted(counts: np.ndarray, said: Tensor, truth: Tensor, sources: int, targets: int) -> np.ndarray:
    pairs = torch.bincount((said * targets + truth).flatten(), minlength=sources * targets)
    return pairs.view(sources, targets).numpy() + (counts if len(counts) else 0)


def _opened(source: str, what: str) -> Any:
    try:
        network = AutoModel.from_pretrained(source, use_safetensors=True, local_files_only=Path(source).is_dir())
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{source} is no {what} that can be read ({type(error).__name__}); give a folder or hub id with "
            "config.json and safetensors"
        ) from error
    return network.float().eval().requires_grad_(False)
