"""Diffusers' Stable Diffusion pipelines with a U-Net (SD 1.x, 2.x, XL, the embedded model) as a Model."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scenewright.attention import AttendProcessor, Layer
from scenewright.backends.pipelines import PipelineModel, attached
from scenewright.denoiser import Condition, Prediction
from scenewright.errors import UserError
from scenewright.schedule import Level, VPSchedule

_PARTS = {"down_blocks": "encoder", "mid_block": "mid", "up_blocks": "decoder"}
_PREDICTIONS = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True, eq=False)
class UNetModel(PipelineModel):
    """A U-Net pipeline seen through the one contract."""

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
        if dtype is not None or device is not None:
            pipeline.to(device=device, dtype=dtype)
        kind = pipeline.scheduler.config.get("prediction_type", "epsilon")
        if kind not in _PREDICTIONS:
            raise UserError(
                f"prediction type '{kind}' is not supported; use a model of type {', '.join(_PREDICTIONS)}."
            )
        taken, given = pipeline.unet.config.in_channels, pipeline.vae.config.latent_channels
        if taken != given:
            raise UserError(
                f"this U-Net takes {taken} channels and its autoencoder gives {given}; it is not a text-to-image one."
            )
        undo = attached(pipeline.unet, _processor)
        label = name or str(getattr(pipeline, "name_or_path", "") or "pipeline")
        return cls(pipeline, label, folder, family, undo)

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
        self._refuse_strength(condition)
        unet = self.network
        out = unet(
            x.to(unet.dtype),
            torch.tensor(level.timestep, device=x.device),
            encoder_hidden_states=condition.text,
            cross_attention_kwargs={"taps": condition.taps} if condition.taps else None,
            added_cond_kwargs=self._added(x, condition),
            return_dict=False,
        )[0].to(x.dtype)
        kind = self.pipeline.scheduler.config.get("prediction_type", "epsilon")
        if kind == "v_prediction":
            return Prediction(level.alpha * x - level.sigma * out, level.alpha * out + level.sigma * x)
        if kind == "sample":
            return Prediction(out, (x - level.alpha * out) / level.sigma)
        return Prediction((x - level.sigma * out) / max(level.alpha, 1e-6), out)

    def _added(self, x: Tensor, condition: Condition) -> dict[str, Tensor] | None:
        """SDXL's pooled text and its size conditioning: drawn at the size of the picture, cropped nowhere (Podell et
        al. 2023, arXiv 2307.01952, section 2.2).
        """
        if condition.pooled is None:
            return None
        size = [side * self.pipeline.vae_scale_factor for side in x.shape[-2:]]
        time_ids = torch.tensor([[*size, 0, 0, *size]], device=x.device, dtype=condition.text.dtype)
        return {"text_embeds": condition.pooled, "time_ids": time_ids.expand(len(x), -1)}


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
