"""The two judges, which never guide: a Segformer on the world's classes, and a small CLIP. Beside them the classifier
that guides and never judges: another Segformer, half as wide.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, SegformerConfig, SegformerForSemanticSegmentation

from ..world.vocabulary import CLASSES
from .autoencoder import pixels
from .classes import CLASS_WEIGHTS, IS_OBJECT
from .fit import Draw, Recipe
from .words import LENGTH, SPECIAL_CLIP, said, tokenizer, vocabulary

SEGMENTER = Recipe(steps=18_000, batch=16, rate=1.2e-3, decay=0.6, ema=0.998)
CLASSIFIER = Recipe(steps=5000, batch=16, rate=1.5e-3, decay=0.6, ema=0.998, seed=1)
CLIP = Recipe(steps=3500, batch=64, rate=8e-4, decay=0.6, ema=0.998)


def build_segmenter(classes: Sequence[str] = CLASSES) -> SegformerForSemanticSegmentation:
    return _segformer([1, 1, 2, 2], [32, 64, 128, 192], 128, classes)


def build_classifier() -> SegformerForSemanticSegmentation:
    return _segformer([1, 1, 1, 1], [16, 32, 64, 128], 64, CLASSES)


def _segformer(
    depths: list[int], widths: list[int], decoder: int, classes: Sequence[str]
) -> SegformerForSemanticSegmentation:
    names = dict(enumerate(classes))
    config = SegformerConfig(
        num_encoder_blocks=4,
        depths=depths,
        hidden_sizes=widths,
        num_attention_heads=[1, 2, 4, 6] if widths[0] == 32 else [1, 2, 4, 4],
        mlp_ratios=[2, 2, 2, 2],
        sr_ratios=[8, 4, 2, 1],
        decoder_hidden_size=decoder,
        id2label=names,
        label2id={v: k for k, v in names.items()},
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        classifier_dropout_prob=0.0,
        drop_path_rate=0.0,
    )
    model = SegformerForSemanticSegmentation(config)
    model.set_attn_implementation("eager")  # its backward is faster on CPUs at these sizes
    return model


def segmenter_loss(model: SegformerForSemanticSegmentation, images: np.ndarray, classes: np.ndarray):
    """Cross-entropy at a quarter of the pixels, another quarter each step; objects weigh more than ground and sky.

    Noise, blur and contrast vary: drawn pictures are never clean. Objects change colour now and then, so that the
    judge knows a kind in colours that training scenes never show it in.
    """

    def terms(draw: Draw) -> dict[str, Tensor]:
        rows = draw.rng.integers(len(images), size=draw.batch)
        x, y = pixels(images[rows], draw.device), torch.from_numpy(classes[rows]).long().to(draw.device)
        if draw.rng.random() < 0.5:
            x, y = x.flip(-1), y.flip(-1)
        if draw.rng.random() < 0.3:
            thing = IS_OBJECT.to(draw.device)[y][:, None]
            x = torch.where(thing, x[:, draw.rng.permutation(3)], x)
        logits = model(pixel_values=_worn(x, draw)).logits.float()
        top, left = draw.rng.integers(2, size=2)
        grow = stretch(logits.shape[-1], y.shape[-1]).to(draw.device)
        logits = grow[top::2] @ logits @ grow[left::2].T
        return {"ce": F.cross_entropy(logits, y[:, top::2, left::2], CLASS_WEIGHTS.to(draw.device))}

    return terms


@cache
def stretch(short: int, long: int) -> Tensor:
    """(long, short) matrix that resizes a line as bilinear `F.interpolate` does; its rows can be taken apart."""
    return F.interpolate(torch.eye(short)[None], size=long, mode="linear", align_corners=False)[0].T


def _worn(x: Tensor, draw: Draw) -> Tensor:
    roll = draw.rng.random(3)
    if roll[0] < 0.35:
        x = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear", align_corners=False)
    if roll[1] < 0.35:
        x = x + float(draw.rng.uniform(0, 0.12)) * torch.randn(x.shape, generator=draw.noise).to(x.device)
    if roll[2] < 0.35:
        x = x * float(draw.rng.uniform(0.8, 1.2)) + float(draw.rng.uniform(-0.12, 0.12))
    return x.clamp(-1, 1)


def _settings(**values: int) -> dict[str, int]:
    return values


def build_clip() -> CLIPModel:
    config = CLIPConfig(
        text_config=_settings(
            vocab_size=len(vocabulary()),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=3,
        ),
        vision_config=_settings(
            hidden_size=160,
            intermediate_size=480,
            num_hidden_layers=4,
            num_attention_heads=5,
            image_size=128,
            patch_size=16,
        ),
        projection_dim=128,
    )
    return CLIPModel(config)


def clip_loss(model: CLIPModel, images: np.ndarray, words: list[dict]):
    """Symmetric contrastive loss (Radford et al. 2021) over a batch of pictures and one caption of each."""
    split = tokenizer(SPECIAL_CLIP)

    def terms(draw: Draw) -> dict[str, Tensor]:
        rows = draw.rng.choice(len(images), size=draw.batch, replace=False)
        x = pixels(images[rows], draw.device)
        if draw.rng.random() < 0.5:
            x = x.flip(-1)
        tokens = split(
            [said(words[row], draw.rng) for row in rows], padding="max_length", truncation=True, return_tensors="pt"
        )
        out = model(
            input_ids=tokens["input_ids"].to(draw.device),
            attention_mask=tokens["attention_mask"].to(draw.device),
            pixel_values=_worn(x, draw),
            return_loss=True,
        )
        return {"contrast": out.loss.float()}

    return terms
