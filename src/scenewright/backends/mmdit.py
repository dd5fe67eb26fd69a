"""Diffusers' flow-matching transformers with joint attention (SD3, Flux, AuraFlow) as a Model."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scenewright.attention import Layer
from scenewright.backends.pipelines import PipelineModel, attached
from scenewright.denoiser import Condition, Prediction
from scenewright.errors import UserError
from scenewright.families import FAMILIES
from scenewright.joint import JointProcessor, Places
from scenewright.schedule import FlowSchedule, Level


class Transformer(NamedTuple):
    """How one family's transformer is called.

    `blocks` are its lists of blocks in the order they run, with the part that each is. `places(network, text, image)`
    tells where so many text and image tokens stand; `velocity(model, x, level, condition, attention)` calls it with
    what the attention processors are to be told; `latent(pipeline)` gives channels and native side. `trained_last`: see
    `FlowSchedule`.
    """

    blocks: tuple[tuple[str, str], ...]
    places: Callable[[Any, int, int], Places]
    velocity: Callable[["TransformerModel", Tensor, Level, Condition, dict[str, Any] | None], Tensor]
    latent: Callable[[Any], tuple[int, int]]
    trained_last: bool


@dataclass(frozen=True, eq=False)
class TransformerModel(PipelineModel):
    """A transformer pipeline seen through the one contract. Latents are not packed: (N, C, h, w) like any other."""

    @classmethod
    def wrap(
        cls,
        pipeline: Any,
        dtype: Any = None,
        device: Any = None,
        name: str = "",
        folder: Path | None = None,
        family: str = "sd3",
    ) -> "TransformerModel":
        """Take a built pipeline: set our processors once, stop asking for weight gradients; raises UserError for one
        with an IP-Adapter or a scheduler that is not of flow matching.
        """
        if "shift" not in pipeline.scheduler.config:
            kind = type(pipeline.scheduler).__name__
            raise UserError(f"{kind} lays no levels of flow matching; give it a FlowMatchEulerDiscreteScheduler.")
        if any(isinstance(stock, torch.nn.Module) for stock in pipeline.transformer.attn_processors.values()):
            raise UserError("an IP-Adapter is not supported on this family; call unload_ip_adapter() first.")
        if dtype is not None or device is not None:
            pipeline.to(device=device, dtype=dtype)
        readable = {name for name, _ in _attentions(pipeline.transformer, family)}
        undo = attached(pipeline.transformer, lambda key, stock: _processor(key, stock, readable))
        label = name or str(getattr(pipeline, "name_or_path", "") or "pipeline")
        return cls(pipeline, label, folder, family, undo)

    @property
    def network(self) -> Any:
        """The transformer."""
        return self.pipeline.transformer

    @property
    def kind(self) -> Transformer:
        """How it is called."""
        return TRANSFORMERS[self.family]

    @property
    def schedule(self) -> FlowSchedule:
        """Levels of the pipeline's scheduler config."""
        _, side, patch = self.latent
        config = self.pipeline.scheduler.config
        return FlowSchedule.from_scheduler_config(config, (side, side), patch, self.kind.trained_last)

    @property
    def latent(self) -> tuple[int, int, int]:
        """Channels of a latent, its native side, and the cells of a token's side."""
        return (*self.kind.latent(self.pipeline), _PATCH)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Joint attention layers in the order they run."""
        return self._layers

    @cached_property
    def _layers(self) -> tuple[Layer, ...]:
        side, found = self.latent[1] // _PATCH, _attentions(self.network, self.family)
        shown = _shown(found, self.family)
        return tuple(Layer(name, part, 1, side, name in shown) for name, part in found)

    def denoise(self, x: Tensor, level: Level, condition: Condition) -> Prediction:
        """One call of the transformer, whose output is the velocity eps - x0."""
        attention = None
        if condition.taps is not None:
            tokens = (x.shape[-2] // _PATCH) * (x.shape[-1] // _PATCH)
            places = self.kind.places(self.network, condition.text.shape[1], tokens)
            attention = {"taps": condition.taps, "places": places}
        if not self.network.config.get("guidance_embeds"):
            self._refuse_strength(condition)
        velocity = self.kind.velocity(self, x.to(self.network.dtype), level, condition, attention).to(x.dtype)
        return Prediction(x - level.sigma * velocity, x + level.alpha * velocity)

    def times(self, level: Level, rows: int) -> Tensor:
        """The level's timestep for each row."""
        return torch.full((rows,), level.timestep, device=self.device)


_PATCH = 2  # cells along the side of a token, in every family here


def _after_image(network: Any, text: int, image: int) -> Places:
    return Places(slice(0, image), slice(image, image + text), image + text)


def _before_image(network: Any, text: int, image: int) -> Places:
    return Places(slice(text, text + image), slice(0, text), text + image)


def _after_registers(network: Any, text: int, image: int) -> Places:
    """AuraFlow puts its register tokens first."""
    first = network.register_tokens.shape[1]
    total = first + text + image
    return Places(slice(total - image, total), slice(first, first + text), total)


def _sd3(model: TransformerModel, x: Tensor, level: Level, condition: Condition, attention: Any) -> Tensor:
    return model.network(
        hidden_states=x,
        timestep=model.times(level, len(x)),
        encoder_hidden_states=condition.text,
        pooled_projections=condition.pooled,
        joint_attention_kwargs=attention,
        return_dict=False,
    )[0]


def _flux(model: TransformerModel, x: Tensor, level: Level, condition: Condition, attention: Any) -> Tensor:
    """Its latents travel as tokens of 2 x 2 cells with their rows and columns."""
    strength = None
    if model.network.config.guidance_embeds:
        told = FAMILIES["flux"].distilled if condition.distilled is None else condition.distilled
        strength = torch.full((len(x),), told or 0.0, device=x.device, dtype=torch.float32)
    rows, columns = x.shape[-2] // 2, x.shape[-1] // 2
    grid = torch.cartesian_prod(torch.arange(1), torch.arange(rows), torch.arange(columns)).to(x)
    out = model.network(
        hidden_states=_packed(x),
        timestep=model.times(level, len(x)).to(x.dtype) / 1000,
        guidance=strength,
        pooled_projections=condition.pooled,
        encoder_hidden_states=condition.text,
        txt_ids=torch.zeros(condition.text.shape[1], 3).to(x),
        img_ids=grid,
        joint_attention_kwargs=attention,
        return_dict=False,
    )[0]
    return _unpacked(out, rows, columns)


def _auraflow(model: TransformerModel, x: Tensor, level: Level, condition: Condition, attention: Any) -> Tensor:
    return model.network(
        hidden_states=x,
        timestep=(model.times(level, len(x)) / 1000).to(x.dtype),
        encoder_hidden_states=condition.text,
        attention_kwargs=attention,
        return_dict=False,
    )[0]


def _own_size(pipeline: Any) -> tuple[int, int]:
    config = pipeline.transformer.config
    return config.in_channels, config.sample_size


def _size_of_autoencoder(pipeline: Any) -> tuple[int, int]:
    """Flux's transformer knows no size; its autoencoder does."""
    side = pipeline.vae.config.sample_size // pipeline.vae_scale_factor
    return pipeline.transformer.config.in_channels // 4, side


TRANSFORMERS: dict[str, Transformer] = {
    "sd3": Transformer((("transformer_blocks", "double"),), _after_image, _sd3, _own_size, True),
    "flux": Transformer(
        (("transformer_blocks", "double"), ("single_transformer_blocks", "single")),
        _before_image,
        _flux,
        _size_of_autoencoder,
        False,
    ),
    "auraflow": Transformer(
        (("joint_transformer_blocks", "double"), ("single_transformer_blocks", "single")),
        _after_registers,
        _auraflow,
        _own_size,
        True,
    ),
}


def _packed(x: Tensor) -> Tensor:
    """(N, C, 2 r, 2 c) -> (N, r c, 4 C)."""
    cells = x.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))  # (N, C, r, 2, c, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _unpacked(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """(N, r c, 4 C) -> (N, C, 2 r, 2 c)."""
    cells = tokens.unflatten(1, (rows, columns)).unflatten(-1, (-1, 2, 2))  # (N, r, c, C, 2, 2)
    return cells.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def _attentions(network: Any, family: str) -> list[tuple[str, str]]:
    """Names of the joint attention modules and their parts, in the order they run."""
    return [
        (f"{blocks}.{i}.attn", part)
        for blocks, part in TRANSFORMERS[family].blocks
        for i in range(len(getattr(network, blocks)))
    ]


def _shown(found: list[tuple[str, str]], family: str) -> set[str]:
    """The layers that the family's table says show layout; in a shallow network at least the one nearest to them."""
    layout = FAMILIES[family].layout
    assert layout is not None
    own = [name for name, part in found if part == layout.part]
    places = {name: (i + 0.5) / len(own) for i, name in enumerate(own)}
    shown = {name for name, place in places.items() if layout.start <= place < layout.stop}
    middle = (layout.start + layout.stop) / 2
    return shown or {min(own, key=lambda name: abs(places[name] - middle))}


def _processor(key: str, stock: Any, readable: set[str]) -> JointProcessor:
    """Our processor around the stock one; a pipeline that is wrapped twice keeps a single layer of ours."""
    inner = stock.stock if isinstance(stock, JointProcessor) else stock
    name = key.removesuffix(".processor")
    return JointProcessor(name, inner, name in readable)
