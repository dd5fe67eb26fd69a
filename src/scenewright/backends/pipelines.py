"""What every diffusers text-to-image pipeline shares, whatever its network is: text, pictures, noise, identity."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scenewright.attention import Layer, select
from scenewright.backends import phrases, pixels
from scenewright.backends.seeded import drawn
from scenewright.backends.text import TEXT, Reader, widest
from scenewright.denoiser import Condition, Prediction, Text
from scenewright.errors import UserError
from scenewright.families import FAMILIES
from scenewright.scene import Scene, Segment
from scenewright.schedule import Level, Schedule

if TYPE_CHECKING:
    from scenewright.backends.classifier import PixelClassifier
    from scenewright.lint import ModelFacts

_WIDE = ("sdxl", "auraflow")  # whose pipelines decode in float32 when float16 would overflow


@dataclass(frozen=True, eq=False)
class PipelineModel(ABC):
    """A pipeline of one family seen through the one contract. The loop's latents are float32 (float64 for a float64
    pipeline) whatever the weights are.

    `release` gives the pipeline back as it was found.
    """

    pipeline: Any
    name: str = "pipeline"
    folder: Path | None = None
    family: str = "unet"
    release: Callable[[], None] = lambda: None

    @property
    @abstractmethod
    def network(self) -> Any:
        """The denoising network."""

    @property
    @abstractmethod
    def schedule(self) -> Schedule:
        """Levels of the pipeline's scheduler config."""

    @property
    @abstractmethod
    def layers(self) -> tuple[Layer, ...]:
        """Layers in which image reads text, in the order they run."""

    @property
    @abstractmethod
    def latent(self) -> tuple[int, int, int]:
        """Channels of a latent, its native side, and the side of the cells that must stay whole."""

    @abstractmethod
    def denoise(self, x: Tensor, level: Level, condition: Condition) -> Prediction:
        """One call of the network."""

    def controlled(self, picture: np.ndarray, scale: float = 1.0) -> "PipelineModel":
        """The same model whose ControlNet is shown `picture`; raises UserError where that is not supported."""
        raise UserError("a ControlNet is supported on Stable Diffusion 1.x, 2.x and XL; take one of these.")

    def shown(self, picture: Any) -> "PipelineModel":
        """The same model whose IP-Adapter sees `picture`; raises UserError where that is not supported."""
        raise UserError("an IP-Adapter is supported on Stable Diffusion 1.x, 2.x and XL; take one of these.")

    @property
    def size(self) -> tuple[int, int]:
        """Native picture height and width in pixels."""
        side = self.latent[1] * self.pipeline.vae_scale_factor
        return side, side

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the loop's latents."""
        return torch.promote_types(torch.float32, self.network.dtype)

    @property
    def device(self) -> torch.device:
        """Where the network runs (its weights may be offloaded elsewhere)."""
        return self.pipeline._execution_device

    @torch.no_grad()
    def encode(self, scene: Scene, negative: str = "", size: tuple[int, int] | None = None) -> Condition:
        """Encode a scene: phrases are found in the caption by tokenizer offsets, missing ones appended; masks are
        brought to the picture's size.

        A segment with an empty text or mask, or of words the model does not know, is not `present`. Raises UserError
        when a phrase lies past the token limit.
        """
        prompt = phrases.compose(scene.caption, [segment.text for segment in scene.segments])
        text = widest(self.readers).cut(prompt.text)
        own, empty = self.prompts([text]), self._empty(negative)
        count = len(scene.segments)
        masks = [torch.from_numpy(np.array(segment.mask, np.float32)) for segment in scene.segments]
        picture = self._checked(size)
        resized = [F.adaptive_avg_pool2d(mask[None], picture) for mask in masks]
        strengths = torch.tensor([segment.strength for segment in scene.segments])
        return Condition(
            model=self,
            text=own.states,
            empty=empty.states,
            pooled=own.pooled,
            pooled_empty=empty.pooled,
            groups=self._groups(prompt, text, own.states.shape[1])[None].to(self.device),
            masks=(torch.cat(resized) if resized else torch.zeros(0, *picture))[None].to(self.device),
            strengths=strengths.reshape(1, count).to(self.device),
            present=torch.tensor([self._drawable(segment) for segment in scene.segments], device=self.device)
            .reshape(1, count)
            .bool(),
            texts=(tuple(segment.text for segment in scene.segments),),
            prompts=(text,),
            appended=(prompt.appended,),
        )

    def _drawable(self, segment: Segment) -> bool:
        known = any(phrases.says_something(reader.tokenizer, segment.text) for reader in self.readers)
        return bool(segment.mask.any()) and known

    def _groups(self, prompt: phrases.Prompt, text: str, length: int) -> Tensor:
        """Token membership (K, T) of each segment's phrase, among the tokens of every reader."""
        groups = torch.zeros(len(prompt.spans), length)
        for reader in self.readers:
            places = phrases.offsets(reader.tokenizer, text, reader.limit)
            for k, spans in enumerate(prompt.spans):
                groups[k, [reader.start + i for i in phrases.tokens(places, spans)]] = 1
        for k, spans in enumerate(prompt.spans):
            if spans and not groups[k].any():
                phrase, limit = prompt.text[slice(*spans[0])], widest(self.readers).limit
                raise UserError(
                    f"segment {k + 1} ('{phrase}') lies past this model's limit of {limit} tokens; "
                    "shorten the caption or use fewer segments."
                )
        return groups

    @torch.no_grad()
    def prompts(self, texts: Sequence[str]) -> Text:
        """Whole prompts, cut at the token limit, one row each."""
        kept = [widest(self.readers).cut(text) for text in texts]
        encoded = TEXT[self.family].encode(self.pipeline, self.readers, kept or [""], self.device)
        return encoded.each(lambda part: part[: len(kept)])

    def _empty(self, negative: str) -> Text:
        encoded = self.prompts([negative])
        if negative or not TEXT[self.family].zeros(self.pipeline):
            return encoded
        return encoded.each(torch.zeros_like)

    def words(self, words: Sequence[str]) -> list[Tensor]:
        """For each word or phrase encoded alone, the states (tokens, D) of its own tokens."""
        found = []
        for word, states in zip(words, self.prompts(words).states, strict=True):
            own = [
                reader.start + i
                for reader in self.readers
                for i, (a, b) in enumerate(phrases.offsets(reader.tokenizer, word, reader.limit))
                if b > a
            ]
            found.append(states[own])
        return found

    def noise(self, seeds: Sequence[int | torch.Generator], size: tuple[int, int] | None = None) -> Tensor:
        """Standard normal latents (N, C, h, w), each row drawn on the CPU from its own seed or generator, as
        diffusers draws them.
        """
        height, width = self._checked(size)
        factor = self.pipeline.vae_scale_factor
        return drawn(seeds, (self.latent[0], height // factor, width // factor)).to(self.device, self.dtype)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Latents (N, C, h, w) -> pictures uint8 (N, H, W, 3), rounded as diffusers rounds."""
        return pixels.decoded(self.pipeline.vae, latents, self.family in _WIDE)

    def pixels(self, latents: Tensor) -> Tensor:
        """Latents (N, C, h, w) -> pictures (N, 3, H, W), about [-1, 1], of the loop's precision; gradients pass."""
        return pixels.unrounded(self.pipeline.vae, latents, self.family in _WIDE).to(self.dtype)

    def classifier(self, source: str) -> "PixelClassifier":
        """The segmentation network called `source`, on the model's device; raises UserError if it is none."""
        from scenewright.backends import classifier  # imports transformers' registry of every model

        return classifier.opened(source, self.device)

    def spatial(self, weights: str, x: Tensor, level: Level, condition: Condition) -> Prediction:
        """There is no SpaText for this family: raises UserError."""
        raise UserError("SpaText grows out of U-Nets, and this model has none; use another method.")

    @torch.no_grad()
    def encode_image(self, images: np.ndarray) -> Tensor:
        """Pictures uint8 (N, H, W, 3) -> latents (N, C, h, w), the mode of the encoder's distribution."""
        return pixels.encoded(self.pipeline.vae, images, self.device, self.dtype, self.family in _WIDE)

    def facts(self) -> "ModelFacts":
        """What lint has to know."""
        from scenewright.lint import ModelFacts

        reader, side = widest(self.readers), max((layer.side for layer in select(self.layers, "published")), default=1)
        return ModelFacts(
            cell_fraction=1 / side,
            token_limit=reader.limit,
            count_tokens=reader.count,
            unknown_words=self._unknown,
            guidance=FAMILIES[self.family].supports,
            refused=FAMILIES[self.family].refused,
        )

    def _unknown(self, text: str) -> list[str]:
        """Words that no reader knows."""
        first, *others = [phrases.unknown_words(reader.tokenizer, text) for reader in self.readers]
        return [word for word in first if all(word in other for other in others)]

    def identity(self) -> Mapping[str, str]:
        """Name, sha256 over the folder's safetensors files (or over the tensors of a pipeline with no folder),
        family, dtype.
        """
        dtype = str(self.network.dtype).removeprefix("torch.")
        return {"name": self.name, "sha256": self._sha256, "family": self.family, "dtype": dtype}

    @cached_property
    def _sha256(self) -> str:
        digest = hashlib.sha256()
        if self.folder is not None:
            for path in sorted(self.folder.rglob("*.safetensors")):
                digest.update(path.relative_to(self.folder).as_posix().encode() + path.read_bytes())
            return digest.hexdigest()
        for part in _weighty(self.pipeline):
            for key, tensor in sorted(part.state_dict().items()):
                digest.update(key.encode() + tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def readers(self) -> tuple[Reader, ...]:
        """The tokenizers whose tokens the network sees."""
        return TEXT[self.family].readers(self.pipeline)

    def _refuse_strength(self, condition: Condition) -> None:
        if condition.distilled is not None:
            raise UserError("this model was not distilled with its guidance; leave cfg.distilled out, set cfg.scale.")

    def _checked(self, size: tuple[int, int] | None) -> tuple[int, int]:
        factor = self.pipeline.vae_scale_factor * self.latent[2]
        height, width = size or self.size
        if height < factor or width < factor or height % factor or width % factor:
            raise UserError(f"a picture of {width}x{height} is not possible; choose multiples of {factor} pixels.")
        return height, width


def _weighty(pipeline: Any) -> list[torch.nn.Module]:
    """The network, the autoencoder, the text encoders and a ControlNet."""
    names = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3", "controlnet")
    return [part for name in names if (part := getattr(pipeline, name, None)) is not None]


def attached(network: Any, processor: Callable[[str, Any], Any]) -> Callable[[], None]:
    """Set `processor(key, stock)` in place of every stock attention processor of the network and stop asking for weight
    gradients; the function that is returned undoes both.
    """
    stock = dict(network.attn_processors)
    training, wanted = network.training, {name: p.requires_grad for name, p in network.named_parameters()}
    network.requires_grad_(False).eval()
    network.set_attn_processor({key: processor(key, own) for key, own in stock.items()})

    def undo() -> None:
        network.set_attn_processor(dict(stock))
        network.train(training)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(wanted.get(name, True))

    return undo
