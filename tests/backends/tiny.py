"""Tiny pipelines with random weights of every family, with real CLIP and T5 tokenizers over a few words."""

# diffusers exports lazily and types its constructors loosely.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false

import string
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

from conftest import SENTENCE, SIDE, pipeline, scheduler, two_segments
from scenewright.backends import load

WHOLE = [word for word in SENTENCE.split() if word.isalpha() and word not in ("tree", "grass")]
CLIP_TOKENS, T5_TOKENS = 24, 40


def clip_tokenizer() -> CLIPTokenizer:
    """Most words are one token; "tree" and "grass" are a token for each letter."""
    merges: dict[tuple[str, str], None] = {}
    for word in WHOLE:
        letters = [*word[:-1], word[-1] + "</w>"]
        while len(letters) > 1:
            merges[letters[0], letters[1]] = None
            letters = [letters[0] + letters[1], *letters[2:]]
    alphabet = [*string.ascii_lowercase, ",", "."]
    tokens = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(sign + "</w>" for sign in alphabet)]
    tokens += ["".join(pair) for pair in merges]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=list(merges), model_max_length=CLIP_TOKENS)


def t5_tokenizer() -> T5Tokenizer:
    """Words with their leading space are a token; other words fall apart into letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -1.0) for word in WHOLE] + [(sign, -6.0) for sign in [*string.ascii_lowercase, ",", "."]]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=T5_TOKENS)


def clip(kind: Any, tokenizer: CLIPTokenizer) -> Any:
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=CLIP_TOKENS,
            projection_dim=16,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    ).eval()


def t5(kind: Any, config: Any, tokenizer: T5Tokenizer) -> Any:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    return kind(config(vocab_size=len(tokenizer), **sizes)).eval()


def autoencoder(**statistics: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIDE,
        **statistics,
    ).eval()


def sdxl() -> StableDiffusionXLPipeline:
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=4,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=16 + 6 * 4,
    )
    words = clip_tokenizer()
    return StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=clip(CLIPTextModel, words),
        text_encoder_2=clip(CLIPTextModelWithProjection, words),
        tokenizer=words,
        tokenizer_2=clip_tokenizer(),
        unet=unet.eval(),
        scheduler=scheduler("epsilon"),
        add_watermarker=False,
    )


def sd3(t5_too: bool = True) -> StableDiffusion3Pipeline:
    """SD3.5's oddities included: a second attention over the image alone, normalised queries and keys."""
    words, pieces = clip_tokenizer(), t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=10,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(scaling_factor=1.5, shift_factor=0.06),
        text_encoder=clip(CLIPTextModelWithProjection, words),
        tokenizer=words,
        text_encoder_2=clip(CLIPTextModelWithProjection, words),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5(T5EncoderModel, T5Config, pieces) if t5_too else None,
        tokenizer_3=pieces if t5_too else None,
    )


def flux(distilled: bool = True) -> FluxPipeline:
    words, pieces = clip_tokenizer(), t5_tokenizer()
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=distilled,
        axes_dims_rope=(2, 2, 4),
    )
    return FluxPipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=distilled),
        vae=autoencoder(scaling_factor=0.36, shift_factor=0.11),
        text_encoder=clip(CLIPTextModel, words),
        tokenizer=words,
        text_encoder_2=t5(T5EncoderModel, T5Config, pieces),
        tokenizer_2=pieces,
    )


def auraflow() -> AuraFlowPipeline:
    pieces = t5_tokenizer()
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pos_embed_max_size=100,
    )
    return AuraFlowPipeline(
        tokenizer=pieces,
        text_encoder=t5(UMT5EncoderModel, UMT5Config, pieces),
        vae=autoencoder(),
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    )


BUILDERS: dict[str, Callable[..., Any]] = {
    "unet": pipeline,
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "auraflow": auraflow,
}


def tiny(family: str, **options: Any) -> Any:
    """A fresh pipeline; the same random weights always."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = BUILDERS[family](**options)
    built.set_progress_bar_config(disable=True)
    return built


@cache
def model(family: str, precision: str = "float32") -> Any:
    """The family's tiny pipeline as a Model; do not change it."""
    return load(tiny(family), dtype=precision)


def stock_latents(family: str, pipeline: Any, noise: Tensor, scale: float, steps: int, **more: Any) -> Tensor:
    """The stock pipeline's last latents for given noise, at a scale of classifier-free guidance."""
    prompt = [two_segments().caption] * len(noise)
    options: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": scale, "latents": noise}
    if family == "flux":
        height, width = (4 * side for side in noise.shape[-2:])
        packed = pipeline._pack_latents(noise, *noise.shape)
        options |= {"latents": packed, "guidance_scale": 3.5, "height": height, "width": width}
        options |= {"true_cfg_scale": scale, "negative_prompt": [""] * len(noise)} if scale != 1 else {}
    if family in ("sd3", "flux", "auraflow"):
        options["max_sequence_length"] = T5_TOKENS
    images = pipeline(prompt, **options | more, output_type="latent").images
    if family == "flux":
        return pipeline._unpack_latents(images, options["height"], options["width"], pipeline.vae_scale_factor)
    return images
