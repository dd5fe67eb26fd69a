"""The embedded text encoder and U-Net, trained together on latents of the reference world.

v-prediction (Salimans & Ho 2022, eq. D) with the clamp of min-SNR weighting (Hang et al. 2023, gamma 5) for nearly
clean pictures; captions are dropped 10 % of the time for classifier-free guidance. Attention of phrases is grounded in
their segments (see `grounding`), and what is predicted must be recognisable (see `recognition`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from .classes import IS_OBJECT
from .fit import Draw, Recipe
from .grounding import PlainAttention, outside_share, phrase_tokens
from .recognition import Reader, discoloured, mirrored, unlike
from .words import LENGTH, said, tokenizer, vocabulary

RECIPE = Recipe(steps=15_500, batch=32, rate=8e-4, ema=0.999, decay=0.45, warmup=300)
CONTEXT = 128
RECOGNITION = 0.15  # weight of the recognition loss
COLOUR = 0.05  # the same for colours, whose cross-entropy is that of objects alone and so several times larger
GROUNDING = 0.01  # weight of the grounding loss, which falls from 0.6 to 0.1 (the v loss is 0.03 to 0.05)


def scheduler() -> DDIMScheduler:
    """The cosine schedule (Nichol & Dhariwal 2021, eq. 17), whose last level is pure noise.

    These latents are small (16 cells a side, standard deviations down to 0.37): under a linear schedule the upper half
    of the time steps shows nothing but noise, so it teaches nothing, and guidance there has nothing to move.
    """
    return DDIMScheduler(
        1000,
        beta_schedule="squaredcos_cap_v2",
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
    """Plain attention, which can be watched and whose backward is fast on CPUs."""
    model.text.set_attn_implementation("eager")
    plain_attention(model.unet)


def plain_attention(unet: UNet2DConditionModel) -> None:
    """The same for a U-Net alone."""
    unet.set_attn_processor(PlainAttention())  # type: ignore[arg-type]


class TextToLatent(nn.Module):
    """Text encoder and U-Net as one module, so that one optimiser and one checkpoint hold both."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.unet = build_text_encoder(), build_unet()

    def forward(self, x: Tensor, t: Tensor, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The prediction, and the cross-attention (N, cells, T) of each layer where `quick_attention` is set."""
        seen: list[Tensor] = []
        watched = {"seen": seen} if isinstance(next(iter(self.unet.attn_processors.values())), PlainAttention) else None
        states = self.text(ids)[0]
        return self.unet(x, t, encoder_hidden_states=states, cross_attention_kwargs=watched).sample, seen


def object_weight(classes: np.ndarray, extra: float = 3.0) -> Tensor:
    """(2 N, 16, 16) loss weights with mean 1 of (N, 32, 32) classes and their mirror images: cells that show an object
    count (1 + extra) times a cell that does not. Ground and sky are learned early, objects are not.
    """
    thing = IS_OBJECT.numpy()[classes]
    weight = 1 + extra * torch.from_numpy(thing.reshape(len(classes), 16, 2, 16, 2).mean((2, 4))).float()
    return torch.stack([weight, weight.flip(-1)], 1).flatten(0, 1) / weight.mean()


@dataclass(frozen=True)
class Latents:
    """What the U-Net learns from: rows 2 i and 2 i + 1 are scene i and its mirror image.

    `z` (2 N, 16, 16, 16), `weights` (2 N, 16, 16), `cells` (N, MOST, 16, 16) uint8 of `cell_masks`, `words` N entries,
    `classes` and `colours` (N, 32, 32) uint8, the latter as `recognition.colour_maps`.
    """

    z: Tensor
    weights: Tensor
    cells: np.ndarray
    words: list[dict]
    classes: np.ndarray
    colours: np.ndarray

    def masks(self, rows: np.ndarray) -> Tensor:
        """(len(rows), MOST, 16, 16) float32 share of each cell that each phrase covers."""
        return mirrored(self.cells, rows).float() / 255


class Noised(NamedTuple):
    """x_t and the v that a model should answer (N, C, h, w), the time steps (N,) and alpha_bar (N, 1, 1, 1)."""

    x: Tensor
    v: Tensor
    t: Tensor
    bar: Tensor

    def clean(self, out: Tensor) -> Tensor:
        """x_0 as an answer `out` has it."""
        return self.bar.sqrt() * self.x - (1 - self.bar).sqrt() * out

    def weight(self) -> Tensor:
        """Of the squared error. Above a signal-to-noise ratio of 4 as min-SNR; below, min-SNR falls as the ratio does,
        next to nothing where it is decided what is in the picture; this weight falls four times later.
        """
        return (5 * (1 - self.bar)).clamp(max=1) * self.bar / (self.bar + 0.25 * (1 - self.bar))

    def shape_weight(self) -> Tensor:
        """(N,) of what is to be recognised: most where things take shape. Pure noise shows nothing to recognise, and
        nearly clean pictures are better served by the squared error alone, or else details turn into caricatures.
        """
        return (self.bar.sqrt() * (1 - self.bar)).flatten()


def noised(z: Tensor, bars: Tensor, draw: Draw) -> Noised:
    """Time steps are stratified: each batch covers the whole range, which lowers the variance of the gradient."""
    x0 = z.float().to(draw.device)
    t = ((torch.arange(draw.batch) + torch.rand(draw.batch, generator=draw.noise)) / draw.batch * 1000).long()
    bar = bars[t].view(-1, 1, 1, 1).to(draw.device)
    eps = torch.randn(x0.shape, generator=draw.noise).to(draw.device)
    x = bar.sqrt() * x0 + (1 - bar).sqrt() * eps
    return Noised(x, bar.sqrt() * eps - (1 - bar).sqrt() * x0, t.to(draw.device), bar)


Beside = Callable[[np.ndarray, Draw], Tensor]


def loss(
    model: Callable[..., tuple[Tensor, list[Tensor]]], data: Latents, reader: Reader, beside: Beside | None = None
):
    """v-prediction loss, recognition of what is predicted, and grounding of the attention that the model shows.

    `beside` gives channels (N, D, 16, 16) that the model sees beside the noisy latents of some rows of `data`.
    """
    split, bars = tokenizer(), scheduler().alphas_cumprod
    phrases = {p["text"] for scene in data.words for p in scene["phrases"]}
    tokens = {text: split(text, add_special_tokens=False)["input_ids"] for text in phrases}

    def terms(draw: Draw) -> dict[str, Tensor]:
        rows = draw.rng.integers(len(data.z), size=draw.batch)
        scenes = [data.words[row // 2] for row in rows]
        texts = [said(scene, draw.rng) if draw.rng.random() > 0.1 else "" for scene in scenes]
        ids = split(texts, padding="max_length", truncation=True, max_length=LENGTH)["input_ids"]
        batch = noised(data.z[rows], bars, draw)
        shown = batch.x if beside is None else torch.cat([batch.x, beside(rows, draw)], 1)
        out, seen = model(shown, batch.t, torch.tensor(ids).to(draw.device))
        out, weights = out.float(), data.weights[rows][:, None].to(draw.device)
        kinds, paints = reader(batch.clean(out))
        strange = unlike(kinds, mirrored(data.classes, rows).to(draw.device), focus=2)
        off = discoloured(paints, mirrored(data.colours, rows).to(draw.device), focus=2)
        result = {
            "v": (batch.weight() * weights * (out - batch.v).square()).mean(),
            "recognition": RECOGNITION * (batch.shape_weight() * strange).mean(),
            "colour": COLOUR * (batch.shape_weight() * off).mean(),
        }
        if seen and GROUNDING:
            spoken = [[tokens[p["text"]] for p in scene["phrases"]] for scene in scenes]
            groups = np.stack([phrase_tokens(row, words) for row, words in zip(ids, spoken, strict=True)])
            shares = outside_share(seen, torch.from_numpy(groups).to(draw.device), data.masks(rows).to(draw.device))
            result["grounding"] = GROUNDING * shares
        return result

    return terms
