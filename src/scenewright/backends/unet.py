"""Any diffusers `StableDiffusionPipeline` (SD 1.x, 2.x, the embedded model) as a Model."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scenewright.attention import AttendProcessor, Layer, select
from scenewright.backends import phrases
from scenewright.backends.seeded import drawn
from scenewright.denoiser import Condition, Prediction
from scenewright.errors import UserError
from scenewright.scene import Scene, Segment
from scenewright.schedule import Level, VPSchedule

if TYPE_CHECKING:
    from scenewright.backends.adapters import Control
    from scenewright.lint import ModelFacts

_PARTS = {"down_blocks": "encoder", "mid_block": "mid", "up_blocks": "decoder"}
_PREDICTIONS = ("epsilon", "v_prediction", "sample")
_CHUNK = 8  # pictures decoded at once: the decoder's memory is the largest of all


@dataclass(frozen=True, eq=False)
class UNetModel:
    """A pipeline seen through the one contract. The loop's latents are float32 (float64 for a float64 pipeline)
    whatever the weights are. `control` makes it a factor: P(variable | caption, maps).
    """

    pipeline: Any
    name: str = "pipeline"
    folder: Path | None = None
    control: "Control | None" = None

    @classmethod
    def wrap(
        cls, pipeline: Any, dtype: Any = None, device: Any = None, name: str = "", folder: Path | None = None
    ) -> "UNetModel":
        """Take a built pipeline: set our processors once, stop asking for weight gradients; raises UserError for
        other things.
        """
        needed = ("unet", "vae", "tokenizer", "text_encoder", "scheduler", "encode_prompt")
        if not all(hasattr(pipeline, part) for part in needed) or hasattr(pipeline, "tokenizer_2"):
            kind = type(pipeline).__name__
            raise UserError(f"{kind} is not supported; give a StableDiffusionPipeline (SD 1.x or 2.x) or its folder.")
        if dtype is not None or device is not None:
            pipeline.to(device=device, dtype=dtype)
        kind = pipeline.scheduler.config.get("prediction_type", "epsilon")
        if kind not in _PREDICTIONS:
            raise UserError(
                f"prediction type '{kind}' is not supported; use a model of type {', '.join(_PREDICTIONS)}."
            )
        pipeline.unet.requires_grad_(False).eval()
        processors = pipeline.unet.attn_processors
        wrapped = {key: _processor(key, stock) for key, stock in processors.items()}
        pipeline.unet.set_attn_processor(wrapped)
        label = name or str(getattr(pipeline, "name_or_path", "") or "pipeline")
        return cls(pipeline, label, folder)

    @property
    def schedule(self) -> VPSchedule:
        """Levels of the pipeline's scheduler config."""
        return VPSchedule.from_scheduler_config(self.pipeline.scheduler.config)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Cross-attention layers in the order they run."""
        return self._layers

    @cached_property
    def _layers(self) -> tuple[Layer, ...]:
        unet, layers = self.pipeline.unet, []
        native, depth = self._native, 0
        for i, block in enumerate(unet.down_blocks):
            layers += _layers_in(block, f"down_blocks.{i}", depth, native)
            depth += bool(getattr(block, "downsamplers", None))
        if unet.mid_block is not None:
            layers += _layers_in(unet.mid_block, "mid_block", depth, native)
        for i, block in enumerate(unet.up_blocks):
            layers += _layers_in(block, f"up_blocks.{i}", depth, native)
            depth -= bool(getattr(block, "upsamplers", None))
        return tuple(layers)

    @property
    def size(self) -> tuple[int, int]:
        """Native picture height and width in pixels."""
        side = self._native * self.pipeline.vae_scale_factor
        return side, side

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the loop's latents."""
        return torch.promote_types(torch.float32, self.pipeline.unet.dtype)

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
        text = phrases.cut(self.pipeline.tokenizer, prompt.text, self._limit)
        negative = phrases.cut(self.pipeline.tokenizer, negative, self._limit)
        states, empty = self.pipeline.encode_prompt(text, self.device, 1, True, negative)
        count = len(scene.segments)
        masks = [torch.from_numpy(np.array(segment.mask, np.float32)) for segment in scene.segments]
        picture = self._checked(size)
        resized = [F.adaptive_avg_pool2d(mask[None], picture) for mask in masks]
        strengths = torch.tensor([segment.strength for segment in scene.segments])
        return Condition(
            model=self,
            text=states,
            empty=empty,
            groups=self._groups(prompt, text, states.shape[1])[None].to(self.device),
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
        return bool(segment.mask.any()) and phrases.says_something(self.pipeline.tokenizer, segment.text)

    def _groups(self, prompt: phrases.Prompt, text: str, length: int) -> Tensor:
        """Token membership (K, T) of each segment's phrase."""
        places = phrases.offsets(self.pipeline.tokenizer, text, self._limit)
        groups = torch.zeros(len(prompt.spans), length)
        for k, spans in enumerate(prompt.spans):
            own = phrases.tokens(places, spans)
            if spans and not own:
                phrase = prompt.text[slice(*spans[0])]
                raise UserError(
                    f"segment {k + 1} ('{phrase}') lies past this model's limit of {self._limit} tokens; "
                    "shorten the caption or use fewer segments."
                )
            groups[k, list(own)] = 1
        return groups

    @torch.no_grad()
    def prompts(self, texts: Sequence[str]) -> Tensor:
        """States (len(texts), T, D) of whole prompts, cut at the token limit."""
        if not texts:
            return torch.zeros(0, self._limit, self.pipeline.unet.config.cross_attention_dim, device=self.device)
        kept = [phrases.cut(self.pipeline.tokenizer, text, self._limit) for text in texts]
        return self.pipeline.encode_prompt(kept, self.device, 1, False)[0]

    def words(self, words: Sequence[str]) -> list[Tensor]:
        """For each word or phrase encoded alone, the states (tokens, D) of its own tokens."""
        states = self.prompts(words)
        places = [phrases.offsets(self.pipeline.tokenizer, word, self._limit) for word in words]
        return [state[[i for i, (a, b) in enumerate(own) if b > a]] for state, own in zip(states, places, strict=True)]

    def noise(self, seeds: Sequence[int | torch.Generator], size: tuple[int, int] | None = None) -> Tensor:
        """Standard normal latents (N, C, h, w), each row drawn on the CPU from its own seed or generator, as
        diffusers draws them.
        """
        height, width = self._checked(size)
        factor = self.pipeline.vae_scale_factor
        shape = (self.pipeline.unet.config.in_channels, height // factor, width // factor)
        return drawn(seeds, shape).to(self.device, self.dtype)

    def denoise(self, x: Tensor, level: Level, condition: Condition) -> Prediction:
        """One U-Net call; the output is read as eps, v or x0 as the scheduler config says."""
        unet = self.pipeline.unet
        out = unet(
            x.to(unet.dtype),
            torch.tensor(level.timestep, device=x.device),
            encoder_hidden_states=condition.text,
            cross_attention_kwargs={"taps": condition.taps} if condition.taps else None,
            return_dict=False,
            **(self.control(unet, x, level, condition) if self.control else {}),
        )[0].to(x.dtype)
        kind = self.pipeline.scheduler.config.get("prediction_type", "epsilon")
        if kind == "v_prediction":
            return Prediction(level.alpha * x - level.sigma * out, level.alpha * out + level.sigma * x)
        if kind == "sample":
            return Prediction(out, (x - level.alpha * out) / level.sigma)
        return Prediction((x - level.sigma * out) / max(level.alpha, 1e-6), out)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Latents (N, C, h, w) -> pictures uint8 (N, H, W, 3), rounded as diffusers rounds."""
        vae = self.pipeline.vae
        scaled = (latents / vae.config.scaling_factor).to(vae.dtype)
        images = torch.cat([vae.decode(part, return_dict=False)[0].float() for part in scaled.split(_CHUNK)])
        pixels = ((images / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu().numpy()

    @torch.no_grad()
    def encode_image(self, images: np.ndarray) -> Tensor:
        """Pictures uint8 (N, H, W, 3) -> latents (N, C, h, w), the mode of the encoder's distribution."""
        vae = self.pipeline.vae
        pixels = torch.tensor(images).permute(0, 3, 1, 2).to(self.device, vae.dtype) / 127.5 - 1
        latents = torch.cat([_mode(vae.encode(part)) for part in pixels.split(_CHUNK)])
        return (latents * vae.config.scaling_factor).to(self.dtype)

    def facts(self) -> "ModelFacts":
        """What lint has to know."""
        from scenewright.lint import ModelFacts

        tokenizer = self.pipeline.tokenizer
        side = max((layer.side for layer in select(self.layers, "published")), default=1)
        return ModelFacts(
            cell_fraction=1 / side,
            token_limit=self._limit,
            count_tokens=lambda text: len(tokenizer(text, verbose=False)["input_ids"]),
            unknown_words=lambda text: phrases.unknown_words(tokenizer, text),
            guidance=frozenset({"none", "multidiffusion", "paint", "zest", "zest+paint"}),
        )

    def identity(self) -> Mapping[str, str]:
        """Name, sha256 over the folder's safetensors files (or over the tensors of a pipeline with no folder),
        family, dtype.
        """
        dtype = str(self.pipeline.unet.dtype).removeprefix("torch.")
        return {"name": self.name, "sha256": self._sha256, "family": "unet", "dtype": dtype}

    @cached_property
    def _sha256(self) -> str:
        digest = hashlib.sha256()
        if self.folder is not None:
            for path in sorted(self.folder.rglob("*.safetensors")):
                digest.update(path.relative_to(self.folder).as_posix().encode() + path.read_bytes())
            return digest.hexdigest()
        for part in ("unet", "vae", "text_encoder"):
            for key, tensor in sorted(getattr(self.pipeline, part).state_dict().items()):
                digest.update(key.encode() + tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @property
    def _native(self) -> int:
        side = self.pipeline.unet.config.sample_size
        return max(side) if isinstance(side, list | tuple) else int(side or 64)

    @property
    def _limit(self) -> int:
        longest = self.pipeline.text_encoder.config.max_position_embeddings
        return min(self.pipeline.tokenizer.model_max_length, longest)

    def _checked(self, size: tuple[int, int] | None) -> tuple[int, int]:
        factor = self.pipeline.vae_scale_factor
        height, width = size or self.size
        if height < factor or width < factor or height % factor or width % factor:
            raise UserError(f"a picture of {width}x{height} is not possible; choose multiples of {factor} pixels.")
        return height, width


def _processor(key: str, stock: Callable[..., Tensor]) -> AttendProcessor:
    """Our processor around the stock one; a pipeline that is wrapped twice keeps a single layer of ours."""
    inner = stock.stock if isinstance(stock, AttendProcessor) else stock
    return AttendProcessor(key.removesuffix(".processor"), inner)


def _layers_in(block: torch.nn.Module, name: str, halvings: int, native: int) -> list[Layer]:
    part = _PARTS[name.split(".")[0]]
    side = math.ceil(native / 2**halvings)
    return [
        Layer(f"{name}.{inner}", part, halvings, side)
        for inner, module in block.named_modules()
        if getattr(module, "is_cross_attention", False)
    ]


def _mode(encoded: Any) -> Tensor:
    """The likeliest latents: a KL autoencoder gives a distribution, a tiny one the latents themselves."""
    return encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
