"""Models that read a label map in place of words, behind the one contract.

A scene's segments are read as classes by their texts; the map of class ids is the prompt: `Condition.text` is
(N, H * W, 1), the id of each pixel. A generative adversarial network is a denoiser of one step: from pure noise
(alpha 0) straight to the picture (alpha 1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scenewright.attention import Layer
from scenewright.backends.seeded import drawn
from scenewright.backends.unable import Unable
from scenewright.datasets.coco_names import spoken
from scenewright.datasets.label_sets import LabelSet
from scenewright.denoiser import Condition, Model, Prediction, Text
from scenewright.errors import UserError
from scenewright.files import weights_digest
from scenewright.scene import Scene
from scenewright.schedule import Level
from scenewright.transfer.folder import Source, load_source
from scenewright.transfer.oasis import one_hot

if TYPE_CHECKING:
    from scenewright.lint import ModelFacts


def class_map(scene: Scene, names: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """(H, W) int32 class ids of what is in front; 0 where no segment is.

    Raises UserError for a segment whose text is no class.
    """
    ids = {word: i for i, name in reversed(list(enumerate(names))) for word in (name.lower(), spoken(name).lower())}
    lookup = [0]
    for segment in scene.segments:
        if segment.text.strip().lower() not in ids:
            raise UserError(f"'{segment.text}' is no class of this model; it draws {_listed(names[1:])}")
        lookup.append(ids[segment.text.strip().lower()])
    classes = np.array(lookup, np.int32)[scene.label_map()]
    if classes.shape == size:
        return classes
    return np.asarray(Image.fromarray(classes).resize((size[1], size[0]), Image.Resampling.NEAREST))


def prompted(model: Model, classes: np.ndarray, empty: Tensor | None, texts: Sequence[str]) -> Condition:
    """A condition whose prompt is a class map (H, W); `empty` is the unconditional prompt, the same one by default."""
    text = torch.from_numpy(classes.astype(np.float32)).reshape(1, -1, 1)
    height, width = classes.shape
    return Condition(
        model=model,
        text=text,
        empty=text if empty is None else empty,
        groups=torch.zeros(1, 0, text.shape[1]),
        masks=torch.zeros(1, 0, height, width),
        strengths=torch.zeros(1, 0),
        present=torch.zeros(1, 0, dtype=torch.bool),
        texts=((),),
        prompts=(", ".join(dict.fromkeys(texts)),),
        appended=((),),
    )


@dataclass(frozen=True)
class OneStep:
    """Pure noise, then the picture, however many steps are asked for."""

    def levels(self, steps: int, solver: str = "ddim", latent: tuple[int, int] | None = None) -> list[Level]:
        return [Level(0.0, 1.0, 999.0, 0, steps), Level(1.0, 0.0, 0.0, steps, steps)]


@dataclass(frozen=True, eq=False)
class OasisModel(Unable):
    """An OASIS generator as a Model; `size` may be any multiple of what it halves."""

    source: Source
    folder: Path | None = None
    name: str = "oasis"

    @classmethod
    def open(cls, folder: Path, name: str) -> "OasisModel":
        """Load a folder; raises UserError if it holds no such model."""
        return cls(load_source(folder), folder, name)

    @property
    def schedule(self) -> OneStep:
        return OneStep()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """None: there is no cross-attention."""
        return ()

    @property
    def size(self) -> tuple[int, int]:
        """Native picture height and width in pixels."""
        return self.source.pair.config.size

    def encode(self, scene: Scene, negative: str = "", size: tuple[int, int] | None = None) -> Condition:
        """The class map of a scene. Both halves of classifier-free guidance are the same, so it changes nothing.

        Raises UserError for a segment that is no class, and a size that cannot be halved often enough.
        """
        halved = 2 ** (len(self.source.pair.config.widths) - 2)
        height, width = size or self.size
        if height % halved or width % halved or min(height, width) < halved:
            raise UserError(f"a picture of {width}x{height} is not possible; choose multiples of {halved} pixels.")
        classes = class_map(scene, self.source.names, (height, width))
        return prompted(self, classes, None, [segment.text for segment in scene.segments])

    @property
    def label_set(self) -> LabelSet:
        """Its classes as label pictures hold them."""
        source = self.source
        names = dict(zip(source.values or range(1, len(source.names)), source.names[1:], strict=True))
        return LabelSet(self.name, names, frozenset(), frozenset(source.void))

    def prompts(self, texts: Sequence[str]) -> Text:
        """Words mean nothing to it: an unlabelled map each."""
        height, width = self.size
        return Text(torch.zeros(len(texts), height * width, 1))

    def words(self, words: Sequence[str]) -> list[Tensor]:
        """Words mean nothing to it."""
        return [torch.zeros(0, 1) for _ in words]

    def noise(self, seeds: Sequence[int | torch.Generator], size: tuple[int, int] | None = None) -> Tensor:
        """(N, noise, 1, 1): one style vector a picture."""
        return drawn(seeds, (self.source.pair.config.noise, 1, 1))

    @torch.no_grad()
    def denoise(self, x: Tensor, level: Level, condition: Condition) -> Prediction:
        """The picture in [-1, 1] as x0 (N, 3, H, W); eps is zero, since no noise is left."""
        ids = condition.text.view(len(x), *condition.masks.shape[-2:]).round().long()
        maps = one_hot(ids, self.source.pair.config.classes)
        pictures = torch.cat(
            [self.source.pair.generator(maps[i : i + 1], x[i : i + 1, :, 0, 0]) for i in range(len(x))]
        )
        return Prediction(pictures, torch.zeros_like(pictures))

    def decode(self, latents: Tensor) -> np.ndarray:
        """Pictures (N, 3, H, W) in [-1, 1] to uint8 (N, H, W, 3)."""
        return ((latents.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()

    def encode_image(self, images: np.ndarray) -> Tensor:
        """uint8 (N, H, W, 3) to (N, 3, H, W) in [-1, 1]."""
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1

    def facts(self) -> "ModelFacts":
        """What lint has to know."""
        return label_facts(1 / self.size[0])

    def identity(self) -> Mapping[str, str]:
        """Name, sha256 of the folder's safetensors, family, dtype."""
        return {"name": self.name, "sha256": self._sha256, "family": "oasis", "dtype": "float32"}

    @cached_property
    def _sha256(self) -> str:
        return weights_digest(self.folder) if self.folder else ""


def label_facts(cell: float) -> "ModelFacts":
    """What lint has to know; `cell` is the share of the picture of the coarsest cell. Texts that are no class are
    refused when a scene is encoded.
    """
    from scenewright.lint import ModelFacts

    return ModelFacts(cell, 2**31, lambda text: len(text.split()), lambda text: [], frozenset({"none"}))


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
