"""A diffusion model that reads a label map (PITI) as a Model: the U-Net of a pipeline behind a semantic encoder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from scenewright.attention import Layer
from scenewright.backends.label_maps import class_map, label_facts, prompted
from scenewright.backends.unable import Unable
from scenewright.backends.unet import UNetModel
from scenewright.datasets.label_sets import LabelSet
from scenewright.denoiser import Condition, Prediction, Text
from scenewright.errors import UserError
from scenewright.files import weights_digest, write_atomically
from scenewright.scene import Scene
from scenewright.schedule import Level, VPSchedule
from scenewright.transfer.encoder import EncoderConfig, MapEncoder, folded_encoder
from scenewright.transfer.folder import CONFIG, read_config, read_weights, write_weights
from scenewright.transfer.oasis import one_hot

if TYPE_CHECKING:
    from scenewright.lint import ModelFacts


@dataclass(frozen=True, eq=False)
class SemanticModel(Unable):
    """`base` draws, `encoder` tells it what; `names` are the encoder's classes, the first "unlabelled".

    The unconditional half of classifier-free guidance reads a map that is unlabelled everywhere.
    """

    base: UNetModel
    encoder: MapEncoder
    names: tuple[str, ...]
    values: tuple[int, ...] = ()
    void: tuple[int, ...] = (0,)
    name: str = "semantic"
    folder: Path | None = None

    def __post_init__(self) -> None:
        self.base.pipeline.unet.class_embedding = nn.Identity()

    @classmethod
    def open(cls, folder: Path, name: str) -> "SemanticModel":
        """Load a folder; raises UserError if it holds no such model."""
        facts = read_config(folder, "semantic")
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["settings"].items()}
            encoder = MapEncoder(EncoderConfig(**fields)).eval()
            names, values, void = (tuple(facts[key]) for key in ("names", "values", "void"))
            base = base_model(str(facts["base"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{folder / CONFIG} is damaged; copy the model's folder again.") from error
        read_weights(encoder, folder / "encoder.safetensors")
        if (folder / "unet.safetensors").exists():
            read_weights(base.pipeline.unet, folder / "unet.safetensors")
        return cls(base, encoder.requires_grad_(False), names, values, void, name, folder)

    def save(self, folder: Path, base: str = "embedded", unet: bool = True) -> None:
        """Write encoder.safetensors, config.json, and unet.safetensors if the U-Net is no longer that of `base`."""
        write_weights(self.encoder, folder / "encoder.safetensors")
        if unet:
            write_weights(self.base.pipeline.unet, folder / "unet.safetensors")
        settings = {
            "kind": "semantic",
            "base": base,
            "names": list(self.names),
            "values": list(self.values or range(1, len(self.names))),
            "void": list(self.void),
            "settings": self.encoder.config.as_dict(),
        }
        write_atomically(folder / CONFIG, (json.dumps(settings, indent=1) + "\n").encode())

    def translated(self, matrix: np.ndarray, names: Sequence[str]) -> "SemanticModel":
        """The model for other classes, with an affinity (N_s, N_t) folded into its encoder; the U-Net is shared."""
        encoder = folded_encoder(self.encoder, torch.from_numpy(matrix))
        return SemanticModel(self.base, encoder, tuple(names), name=self.name)

    @property
    def schedule(self) -> VPSchedule:
        return self.base.schedule

    @property
    def layers(self) -> tuple[Layer, ...]:
        """None that words could be read from: the tokens are places, not phrases."""
        return ()

    @property
    def size(self) -> tuple[int, int]:
        """Native picture height and width in pixels."""
        return self.encoder.config.size

    @property
    def label_set(self) -> LabelSet:
        """Its classes as label pictures hold them."""
        names = dict(zip(self.values or range(1, len(self.names)), self.names[1:], strict=True))
        return LabelSet(self.name, names, frozenset(), frozenset(self.void))

    def encode(self, scene: Scene, negative: str = "", size: tuple[int, int] | None = None) -> Condition:
        """The class map of a scene; raises UserError for a segment that is no class, and another size than its own."""
        if size is not None and size != self.size:
            raise UserError(f"this model draws {self.size[1]}x{self.size[0]} only; leave the size out.")
        classes = class_map(scene, self.names, self.size)
        empty = torch.zeros(1, classes.size, 1)
        return prompted(self, classes, empty, [segment.text for segment in scene.segments])

    def prompts(self, texts: Sequence[str]) -> Text:
        """Words mean nothing to it: an unlabelled map each."""
        return Text(torch.zeros(len(texts), self.size[0] * self.size[1], 1))

    def words(self, words: Sequence[str]) -> list[Tensor]:
        """Words mean nothing to it."""
        return [torch.zeros(0, 1) for _ in words]

    def noise(self, seeds: Sequence[int | torch.Generator], size: tuple[int, int] | None = None) -> Tensor:
        return self.base.noise(seeds, self.size)

    def denoise(self, x: Tensor, level: Level, condition: Condition) -> Prediction:
        """One U-Net call; each distinct condition is encoded once a run."""
        tokens, whole = condition.once("map tokens", condition.text, lambda: self._read(condition.text))
        unet, dtype = self.base.pipeline.unet, self.base.pipeline.unet.dtype
        time = torch.tensor(level.timestep, device=x.device)
        told = {"encoder_hidden_states": tokens.to(x.device, dtype), "class_labels": whole.to(x.device, dtype)}
        out = unet(x.to(dtype), time, **told, return_dict=False)[0].to(x.dtype)
        return self.base.answer(out, x, level)

    @torch.no_grad()
    def _read(self, text: Tensor) -> tuple[Tensor, Tensor]:
        ids = text.view(len(text), *self.size).round().long()
        return self.encoder(one_hot(ids, self.encoder.config.classes))

    def decode(self, latents: Tensor) -> np.ndarray:
        return self.base.decode(latents)

    def encode_image(self, images: np.ndarray) -> Tensor:
        return self.base.encode_image(images)

    def facts(self) -> "ModelFacts":
        """What lint has to know."""
        return label_facts(1 / self.size[0])

    def identity(self) -> Mapping[str, str]:
        """Name, sha256 of the folder's safetensors, family, dtype."""
        return {"name": self.name, "sha256": self._sha256, "family": "semantic", "dtype": self.base.identity()["dtype"]}

    @cached_property
    def _sha256(self) -> str:
        return weights_digest(self.folder) if self.folder else self.base.identity()["sha256"]


def base_model(name: str) -> UNetModel:
    """The pipeline that an encoder was trained for: a preset or a folder; raises UserError if it is neither."""
    from scenewright.backends import load

    base = load(name)
    if not isinstance(base, UNetModel):
        raise UserError(f"the base '{name}' is no text-conditioned U-Net; name the pipeline that it was trained on.")
    return base
