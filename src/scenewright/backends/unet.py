"""Diffusers' Stable Diffusion pipelines with a U-Net (SD 1.x, 2.x, XL, the embedded model) as a Model."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scenewright.attention import AttendProcessor, Layer
from scenewright.backends import gligen, spatext
from scenewright.backends.pipelines import PipelineModel, attached
from scenewright.denoiser import Condition, Prediction
from scenewright.errors import UserError
from scenewright.joint import AdaptedProcessor
from scenewright.scene import Scene
from scenewright.schedule import Level, VPSchedule

if TYPE_CHECKING:
    from scenewright.backends.adapters import Control
    from scenewright.lint import ModelFacts

_PARTS = {"down_blocks": "encoder", "mid_block": "mid", "up_blocks": "decoder"}
_PREDICTIONS = ("epsilon", "v_prediction", "sample")


class Hint(NamedTuple):
    """What a ControlNet is shown: a picture uint8 (H, W, 3), and how much it counts."""

    picture: np.ndarray
    scale: float


@dataclass(frozen=True, eq=False)
class UNetModel(PipelineModel):
    """A U-Net pipeline seen through the one contract. `hint` is needed where the pipeline has a ControlNet, `seen`
    (empty and shown: (1, pictures, D) each) where it has an IP-Adapter. `control` makes it a factor: P(variable |
    caption, maps).
    """

    hint: Hint | None = None
    seen: tuple[Tensor, Tensor] | None = None
    control: "Control | None" = None

    @classmethod
    def wrap(
        cls,
        pipeline: Any,
        dtype: Any = None,
        device: Any = None,
        name: str = "",
        folder: Path | None = None,
        family: str = "unet",
    ) -> "UNetModel":
        """Take a built pipeline: set our processors once, stop asking for weight gradients; raises UserError for
        other things.
        """
        kind = pipeline.scheduler.config.get("prediction_type", "epsilon")
        if kind not in _PREDICTIONS:
            raise UserError(
                f"prediction type '{kind}' is not supported; use a model of type {', '.join(_PREDICTIONS)}."
            )
        gligen.check(pipeline.unet)
        taken, given = pipeline.unet.config.in_channels, pipeline.vae.config.latent_channels
        if taken != given:
            raise UserError(
                f"this U-Net takes {taken} channels and its autoencoder gives {given}; it is not a text-to-image one."
            )
        control = getattr(pipeline, "controlnet", None)
        if control is not None and not hasattr(control, "attn_processors"):
            raise UserError("several ControlNets at once are not supported; give a pipeline with one.")
        if dtype is not None or device is not None:
            pipeline.to(device=device, dtype=dtype)
        undos = [attached(pipeline.unet, _processor)]
        if control is not None:
            undos.append(attached(control, lambda key, stock: stock))
        label = name or str(getattr(pipeline, "name_or_path", "") or "pipeline")
        return cls(pipeline, label, folder, family, lambda: _all(undos))

    def controlled(self, picture: np.ndarray, scale: float = 1.0) -> "UNetModel":
        """The same model whose ControlNet is shown `picture`, uint8 (H, W, 3), resized to each picture that is drawn.

        Raises UserError when there is no ControlNet.
        """
        if not hasattr(self.pipeline, "controlnet"):
            raise UserError("this pipeline has no ControlNet to show a picture to; build one that has.")
        return replace(self, hint=Hint(picture, scale))

    @torch.no_grad()
    def shown(self, picture: Any) -> "UNetModel":
        """The same model whose IP-Adapter sees `picture` (whatever diffusers takes for one) in all that is drawn.

        Raises UserError when there is not exactly one IP-Adapter.
        """
        if not self._adapted or len(self.network.encoder_hid_proj.image_projection_layers) != 1:
            raise UserError("showing a picture needs a pipeline with exactly one IP-Adapter; load one.")
        (both,) = self.pipeline.prepare_ip_adapter_image_embeds(picture, None, self.device, 1, True)
        return replace(self, seen=(both[:1], both[1:]))

    def encode(self, scene: Scene, negative: str = "", size: tuple[int, int] | None = None) -> Condition:
        """As for every pipeline, and what the IP-Adapter sees; raises UserError when that has not been said."""
        condition = super().encode(scene, negative, size)
        if not self._adapted:
            return condition
        if self.seen is None:
            raise UserError("this pipeline has an IP-Adapter, which needs a picture; use model.shown(picture).")
        return replace(condition, shown_empty=self.seen[0], shown=self.seen[1])

    @property
    def _adapted(self) -> bool:
        # diffusers writes it to the attribute alone, not to the dictionary that a config also is
        return getattr(self.network.config, "encoder_hid_dim_type", None) == "ip_image_proj"

    @property
    def network(self) -> Any:
        """The U-Net."""
        return self.pipeline.unet

    @property
    def schedule(self) -> VPSchedule:
        """Levels of the pipeline's scheduler config."""
        return VPSchedule.from_scheduler_config(self.pipeline.scheduler.config)

    @property
    def latent(self) -> tuple[int, int, int]:
        """Channels of a latent, its native side, and 1: any cell may stand alone."""
        side = self.network.config.sample_size
        native = max(side) if isinstance(side, list | tuple) else int(side or 64)
        return self.network.config.in_channels, native, 1

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Cross-attention layers in the order they run."""
        return self._layers

    @cached_property
    def _layers(self) -> tuple[Layer, ...]:
        unet, layers = self.network, []
        native, depth = self.latent[1], 0
        for i, block in enumerate(unet.down_blocks):
            layers += _layers_in(block, f"down_blocks.{i}", depth, native)
            depth += bool(getattr(block, "downsamplers", None))
        if unet.mid_block is not None:
            layers += _layers_in(unet.mid_block, "mid_block", depth, native)
        for i, block in enumerate(unet.up_blocks):
            layers += _layers_in(block, f"up_blocks.{i}", depth, native)
            depth -= bool(getattr(block, "upsamplers", None))
        return tuple(layers)

    def denoise(self, x: Tensor, level: Level, condition: Condition) -> Prediction:
        """One U-Net call; the output is read as eps, v or x0 as the scheduler config says."""
        return self._asked(self.network, x, x, level, condition)

    def spatial(self, weights: str, x: Tensor, level: Level, condition: Condition) -> Prediction:
        """The same of the SpaText network `weights`, a name or folder; raises UserError if there is none."""
        network = spatext.opened(weights, self.network)
        beside = network.map(condition, (x.shape[-2], x.shape[-1])).to(x)
        return self._asked(network.unet, torch.cat([x, beside], 1), x, level, condition)

    def _asked(self, unet: Any, seen: Tensor, x: Tensor, level: Level, condition: Condition) -> Prediction:
        self._refuse_strength(condition)
        time, added = torch.tensor(level.timestep, device=x.device), self._added(x, condition)
        told: dict[str, Any] = {"taps": condition.taps} if condition.taps else {}
        if condition.grounding:
            told["gligen"] = gligen.grounding(self.pipeline, condition)
        out = unet(
            seen.to(unet.dtype),
            time,
            encoder_hidden_states=condition.text,
            cross_attention_kwargs=told or None,
            added_cond_kwargs=added,
            **self._controls(x, time, condition, added),
            **(self.control(unet, x, level, condition) if self.control else {}),
            return_dict=False,
        )[0].to(x.dtype)
        return self.answer(out, x, level)

    def answer(self, out: Tensor, x: Tensor, level: Level) -> Prediction:
        """What the U-Net's output for x at `level` says of the picture and the noise."""
        kind = self.pipeline.scheduler.config.get("prediction_type", "epsilon")
        if kind == "v_prediction":
            return Prediction(level.alpha * x - level.sigma * out, level.alpha * out + level.sigma * x)
        if kind == "sample":
            return Prediction(out, (x - level.alpha * out) / level.sigma)
        return Prediction((x - level.sigma * out) / max(level.alpha, 1e-6), out)

    def _added(self, x: Tensor, condition: Condition) -> dict[str, Any] | None:
        """SDXL's pooled text and its size conditioning: drawn at the size of the picture, cropped nowhere (Podell et
        al. 2023, arXiv 2307.01952, section 2.2). And what an IP-Adapter sees.
        """
        seen = {} if condition.shown is None else {"image_embeds": [condition.shown]}
        if condition.pooled is None:
            return seen or None
        size = [side * self.pipeline.vae_scale_factor for side in x.shape[-2:]]
        time_ids = torch.tensor([[*size, 0, 0, *size]], device=x.device, dtype=condition.text.dtype)
        return {"text_embeds": condition.pooled, "time_ids": time_ids.expand(len(x), -1), **seen}

    def _controls(self, x: Tensor, time: Tensor, condition: Condition, added: Any) -> dict[str, Any]:
        """What a ControlNet adds to the U-Net's residuals (Zhang et al., ICCV 2023, arXiv 2302.05543)."""
        if not hasattr(self.pipeline, "controlnet"):
            return {}
        shown = self.hint
        if shown is None:
            raise UserError(
                "this pipeline has a ControlNet, which needs a picture; draw with model.controlled(picture)."
            )
        height, width = (side * self.pipeline.vae_scale_factor for side in x.shape[-2:])

        def prepare() -> Tensor:
            pixels = Image.fromarray(shown.picture)
            return self.pipeline.control_image_processor.preprocess(pixels, height=height, width=width)

        hint = condition.once(("control", id(shown), height, width), condition.text, prepare)
        network = self.pipeline.controlnet
        down, mid = network(
            x.to(network.dtype),
            time,
            encoder_hidden_states=condition.text,
            controlnet_cond=hint.to(x.device, network.dtype).expand(len(x), -1, -1, -1),
            conditioning_scale=shown.scale,
            added_cond_kwargs=added,
            return_dict=False,
        )
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}

    def facts(self) -> "ModelFacts":
        """What lint has to know."""
        facts = super().facts()
        if not spatext.there(self.name):
            return facts
        refused = {method: why for method, why in facts.refused.items() if method not in spatext.METHODS}
        return replace(facts, guidance=facts.guidance | spatext.METHODS, refused=refused)

    def identity(self) -> Mapping[str, str]:
        """As for every pipeline, and what the ControlNet and the IP-Adapter are shown."""
        identity = dict(super().identity())
        if self.hint is not None:
            identity["control"] = f"{_digest(self.hint.picture)} x {self.hint.scale:g}"
        if self.seen is not None:
            identity["shown"] = _digest(self.seen[1].float().cpu().numpy())
        return identity


def _all(undos: list[Callable[[], None]]) -> None:
    for undo in undos:
        undo()


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(str(array.shape).encode() + array.tobytes()).hexdigest()


def _processor(key: str, stock: Any) -> AttendProcessor | AdaptedProcessor:
    """Our processor around the stock one; a pipeline that is wrapped twice keeps a single layer of ours."""
    inner = stock.stock if isinstance(stock, AttendProcessor | AdaptedProcessor) else stock
    name = key.removesuffix(".processor")
    return AdaptedProcessor(name, inner) if isinstance(inner, torch.nn.Module) else AttendProcessor(name, inner)


def _layers_in(block: torch.nn.Module, name: str, halvings: int, native: int) -> list[Layer]:
    part = _PARTS[name.split(".")[0]]
    side = math.ceil(native / 2**halvings)
    crossed = {inner: getattr(module, "is_cross_attention", None) for inner, module in block.named_modules()}
    layers = []
    for inner in (inner for inner, crosses in crossed.items() if crosses):
        before = inner.removesuffix("2") + "1"  # attn1 and attn2 of one transformer block
        itself = f"{name}.{before}" if crossed.get(before) is False else ""
        layers.append(Layer(f"{name}.{inner}", part, halvings, side, itself=itself))
    return layers
