"""The time-conditioned adapter of a factor graph (FG-DM, arXiv 2410.21638): it turns a frozen picture model into one
that draws a map, or that heeds one.
"""

# diffusers exports lazily and types its constructors loosely.
# pyright: reportPrivateImportUsage=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from scenewright.denoiser import Condition
from scenewright.errors import UserError
from scenewright.schedule import Level


class Control(Protocol):
    """Networks beside a U-Net that read its condition's parents."""

    def __call__(self, unet: Any, x: Tensor, level: Level, condition: Condition) -> dict[str, Any]:
        """Keyword arguments to add to the U-Net's call."""
        ...


class TimeAdapter(ModelMixin, ConfigMixin):
    """Latents of a map to features of a frozen U-Net's encoder, one per scale, and one for its first skip connection.

    As the paper's: residual blocks that are told the time by the U-Net's own frozen embedding, average pooling between
    scales. Unlike the release, the last convolutions are zero at first, so an untrained adapter changes nothing, and it
    is told two times: that of what is drawn and that of the map it reads, which in joint sampling is noisy itself.
    The first skip reaches the U-Net's last block, which a map of flat colours needs more than a picture does.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 16,
        block_out_channels: Sequence[int] = (96, 192),
        widths: Sequence[int] = (64, 96),
        time_channels: int = 384,
        groups: int = 16,
    ) -> None:
        super().__init__()
        if len(widths) != len(block_out_channels):
            raise ValueError("widths and block_out_channels must have one entry per scale")
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        before = [widths[0], *widths]
        self.blocks = nn.ModuleList(
            ResnetBlock2D(in_channels=a, out_channels=b, temb_channels=2 * time_channels, groups=groups)
            for a, b in zip(before[:-1], widths, strict=True)
        )
        self.outs = nn.ModuleList(nn.Conv2d(own, out, 1) for own, out in zip(widths, block_out_channels, strict=True))
        self.skip = nn.Conv2d(widths[0], block_out_channels[0], 1)
        for layer in (*self.outs, self.skip):
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, latents: Tensor, time: Tensor) -> list[Tensor]:
        """`latents` (N, C, h, w), `time` (N, 2 D) embeddings of both times -> the skip's feature (N, c, h, w), then one
        for each scale, each half the size of the one before.
        """
        hidden = self.conv_in(latents)
        features = []
        for i, (block, out) in enumerate(zip(self.blocks, self.outs, strict=True)):
            hidden = block(F.avg_pool2d(hidden, 2, ceil_mode=True) if i else hidden, time)
            features += [self.skip(hidden)] if not i else []
            features.append(out(hidden))
        return features


@dataclass(frozen=True, eq=False)
class Adapters:
    """Adapters of one factor: `own` reads what is being drawn (none when that is a picture), `parents` the maps.

    Features are summed. A parent that a condition lacks adds nothing. `strengths` scale the parents' features.
    """

    own: TimeAdapter | None = None
    parents: Mapping[str, TimeAdapter] = field(default_factory=dict)
    strengths: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, unet: Any, x: Tensor, level: Level, condition: Condition) -> dict[str, Any]:
        now = torch.full((len(x),), level.timestep, device=x.device)
        read = [] if self.own is None else [(self.own, x, now, 1.0)]
        for name, adapter in self.parents.items():
            if name in condition.parents:
                parent = condition.parents[name]
                then = torch.full((len(x),), parent.level.timestep, device=x.device)
                read.append((adapter, _fitting(parent.latents, x, name), then, self.strengths.get(name, 1.0)))
        return residuals(unet, [(strength, adapter(z.to(unet.dtype), times(unet, now, then)))
                                for adapter, z, then, strength in read])  # fmt: skip


def times(unet: Any, now: Tensor, then: Tensor) -> Tensor:
    """(N, 2 D) embeddings, by the U-Net's own layers, of the time steps of what is drawn and of what is read."""
    both = unet.time_embedding(unet.time_proj(torch.cat([now, then])).to(unet.dtype))
    return torch.cat(both.chunk(2), dim=1)


def residuals(unet: Any, features: Sequence[tuple[float | Tensor, list[Tensor]]]) -> dict[str, Any]:
    """Keyword arguments that add (weight, adapter's answer) pairs to a U-Net's encoder; a weight is a number or
    (N, 1, 1, 1).
    """
    if not features:
        return {}
    first, *scales = (sum(parts) for parts in zip(*([w * f for f in fs] for w, fs in features), strict=True))
    skips = 1 + sum(len(block.resnets) + bool(block.downsamplers) for block in unet.down_blocks)
    nothing = torch.zeros((), dtype=unet.dtype, device=unet.device)
    return {
        "down_block_additional_residuals": (first, *[nothing] * (skips - 1)),
        "mid_block_additional_residual": nothing,
        "down_intrablock_additional_residuals": scales,
    }


def fresh(unet: Any, widths: Sequence[int] = ()) -> TimeAdapter:
    """An untrained adapter for a U-Net; its `widths` are by default half those of the U-Net, at most 640."""
    channels = tuple(unet.config.block_out_channels)
    widths = tuple(widths) or tuple(min(640, channel // 2) for channel in channels)
    groups = next(g for g in (16, 8, 4, 2, 1) if all(width % g == 0 for width in widths))
    time = unet.time_embedding.linear_2.out_features
    return TimeAdapter(unet.config.in_channels, channels, widths, time, groups)


def _fitting(latents: Tensor, x: Tensor, name: str) -> Tensor:
    """A parent's latents at the size of `x`; raises UserError when another autoencoder made them."""
    if latents.shape[1] != x.shape[1]:
        raise UserError(
            f"the latents of '{name}' have {latents.shape[1]} channels and this factor's {x.shape[1]}: they are of "
            "another autoencoder; draw with mode 'ancestral', which goes through pictures."
        )
    return latents if latents.shape == x.shape else F.interpolate(latents, x.shape[-2:], mode="bilinear")
