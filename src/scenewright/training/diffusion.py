"""The embedded text encoder and U-Net, trained together on latents of the reference world.

v-prediction (Salimans & Ho 2022, eq. D) with min-SNR weighting (Hang et al. 2023, gamma 5); captions are dropped 10 %
of the time for classifier-free guidance.
"""

from collections.abc import Callable

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from .fit import Draw, Recipe
from .words import LENGTH, said, tokenizer, vocabulary

RECIPE = Recipe(steps=14000, batch=32, rate=8e-4, ema=0.9995, decay=0.3, warmup=300)
CONTEXT = 128


def scheduler() -> DDIMScheduler:
    """A linear schedule whose last level is almost pure noise, so that dark and bright scenes both start fairly."""
    return DDIMScheduler(
        1000,
        1e-4,
        0.02,
        "linear",
        clip_sample=False,
        steps_offset=1,
        set_alpha_to_one=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


def build_text_encoder() -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(vocabulary()),
        hidden_size=CONTEXT,
        intermediate_size=4 * CONTEXT,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        hidden_act="gelu",
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        projection_dim=CONTEXT,
    )
    return CLIPTextModel(config)


def build_unet() -> UNet2DConditionModel:
    """Cross-attention at 16x16 and 8x8, one residual layer per block."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=16,
        out_channels=16,
        block_out_channels=(96, 192),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=CONTEXT,
        attention_head_dim=(3, 6),  # pyright: ignore[reportArgumentType] - the number of heads of each block
        norm_num_groups=16,
    )


def quick_attention(model: "TextToLatent") -> None:
    """Plain attention: on CPUs its backward is faster than that of the fused kernel at 256 tokens."""
    model.text.set_attn_implementation("eager")
    model.unet.set_attn_processor(AttnProcessor())


class TextToLatent(nn.Module):
    """Text encoder and U-Net as one module, so that one optimiser and one checkpoint hold both."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.unet = build_text_encoder(), build_unet()

    def forward(self, x: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        return self.unet(x, t, encoder_hidden_states=self.text(ids)[0]).sample


def object_weight(instances: np.ndarray, extra: float = 1.0) -> Tensor:
    """(N, 16, 16) loss weights with mean 1: cells that show an object count (1 + extra) times a cell that does not."""
    n, height, width = instances.shape
    cells = (instances > 0).reshape(n, 16, height // 16, 16, width // 16).mean((2, 4))
    weight = 1 + extra * cells
    return torch.from_numpy(weight / weight.mean()).float()


def loss(model: Callable[..., Tensor], latents: Tensor, weights: Tensor, words: list[dict]):
    """v-prediction loss. Row 2 i + 1 of `latents` is row 2 i mirrored; `words` has one entry per pair."""
    split, bars = tokenizer(), scheduler().alphas_cumprod

    def terms(draw: Draw) -> dict[str, Tensor]:
        rows = draw.rng.integers(len(latents), size=draw.batch)
        texts = [said(words[row // 2], draw.rng) if draw.rng.random() > 0.1 else "" for row in rows]
        ids = torch.tensor(split(texts, padding="max_length", truncation=True, max_length=LENGTH)["input_ids"]).to(
            draw.device
        )
        x0 = latents[rows].float().to(draw.device)
        # Stratified time steps: each batch covers the whole range, which lowers the variance of the gradient.
        t = ((torch.arange(draw.batch) + torch.rand(draw.batch, generator=draw.noise)) / draw.batch * 1000).long()
        bar = bars[t].view(-1, 1, 1, 1).to(draw.device)
        eps = torch.randn(x0.shape, generator=draw.noise).to(draw.device)
        x = bar.sqrt() * x0 + (1 - bar).sqrt() * eps
        v = bar.sqrt() * eps - (1 - bar).sqrt() * x0
        out = model(x, t.to(draw.device), ids).float()
        snr = bar / (1 - bar)
        scale = snr.clamp(max=5) / (snr + 1)
        return {"v": (scale * weights[rows][:, None].to(draw.device) * (out - v).pow(2)).mean()}

    return terms
