"""A tiny Stable Diffusion pipeline with random weights, built without any download, and scenes to draw with it."""

# diffusers exports lazily and types its constructors loosely.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from scenewright.scene import Scene, Segment

# A property may be slow on a busy machine; that is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

SENTENCE = "a an the red blue green car dog tree house sky grass on in front of and with , ."
WORDS = SENTENCE.split()
SIDE = 32  # pixels; latents are 8 x 8


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors are slower on many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Random inputs are the same in every run."""
    torch.manual_seed(0)


def tokenizer() -> Any:
    """Word-level tokenizer that lower-cases, with <bos> text <eos> and 24 tokens at most."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=24,
    )


def scheduler(prediction: str) -> Any:
    """Noise levels of Stable Diffusion 1.5."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",  # said, so that other schedulers made from this config keep it
        prediction_type=prediction,
    )


def pipeline(prediction: str = "epsilon") -> Any:
    """32-pixel pictures, 8x8 latents, cross-attention with 2 heads at 8x8 and 4x4; the same random weights always."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=4,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=SIDE,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(WORDS) + 4,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=24,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
            )
        )
    pipe = StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=text.eval(),
        tokenizer=tokenizer(),
        unet=unet.eval(),
        scheduler=scheduler(prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random pipeline saved as a diffusers folder."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> Any:
    """The random pipeline loaded from its folder as a Model."""
    from scenewright.backends import load

    return load(tiny_folder, device="cpu")


@pytest.fixture(scope="session")
def tiny_pipeline() -> Callable[..., Any]:
    """Builds fresh random pipelines; takes the prediction type."""
    return pipeline


@pytest.fixture
def scene() -> Scene:
    """A red car on the left, a dog below on the right, sky left to the caption."""
    return two_segments()


def two_segments(caption: str = "a red car and a dog in front of the sky") -> Scene:
    car, dog = np.zeros((2, SIDE, SIDE), np.float32)
    car[4:28, 2:14] = 1
    dog[18:30, 18:30] = 1
    return Scene(caption, (Segment(car, "red car"), Segment(dog, "dog")), (SIDE, SIDE))
