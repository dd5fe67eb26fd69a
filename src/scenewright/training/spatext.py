"""SpaText on the world (Avrahami et al. 2023, arXiv 2211.14305): a CLIP of segments, a prior, and the embedded U-Net
fine-tuned to see a map of segment embeddings.

The CLIP is its own, trained on segments cut out of their pictures: the judge's CLIP never guides. The paper trains the
whole U-Net; here the first layer and the encoder learn, which keeps what has to be shipped small.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from ..backends.spatext import Prior, sized, widened
from .diffusion import Latents, TextToLatent
from .fit import Draw, Recipe
from .grounding import MOST
from .words import LENGTH, SPECIAL_CLIP, tokenizer, varied, vocabulary

CROPS = Recipe(steps=2500, batch=96, rate=1e-3, decay=0.7, ema=0.99)
PRIOR = Recipe(steps=3000, batch=512, rate=1e-3, decay=0.7, ema=0.99, weight_decay=0.0)
UNET = Recipe(steps=2500, batch=32, rate=4e-4, decay=0.6, ema=0.998)
SIDE = 64  # pixels of a crop
SIZE = 64  # numbers of an embedding
LEARNED = ("conv_in.", "down_blocks.")
_GREY = 127
_EMPTY = 0.1  # how often no segment is shown, for guidance; captions are dropped as often, on their own


def build_clip() -> CLIPModel:
    text = {
        "vocab_size": len(vocabulary()),
        "hidden_size": 96,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": LENGTH,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 3,
    }
    vision = {
        "hidden_size": 96,
        "intermediate_size": 288,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "image_size": SIDE,
        "patch_size": 8,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=SIZE))


def cut(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """A segment alone, (64, 64, 3) uint8: the square around `region` (H, W) bool, grey where `image` shows other
    things.
    """
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    side = max(bottom - top, right - left)
    square = np.full((side, side, 3), _GREY, np.uint8)
    y, x = (side - (bottom - top)) // 2, (side - (right - left)) // 2
    alone = np.where(region[top:bottom, left:right, None], image[top:bottom, left:right], np.uint8(_GREY))
    square[y : y + bottom - top, x : x + right - left] = alone
    return np.asarray(Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def crops(
    images: np.ndarray, classes: np.ndarray, instances: np.ndarray, words: Sequence[dict]
) -> Iterator[tuple[int, int, np.ndarray]]:
    """(scene, phrase, crop) of every phrase that can be seen in the scenes of a cache."""
    for row, scene in enumerate(words):
        for k, phrase in enumerate(scene["phrases"][:MOST]):
            region = instances[row] == phrase["instance"]
            if not phrase["instance"]:
                region &= classes[row] == phrase["class_id"]
            if region.any():
                yield row, k, cut(images[row], region)


def clip_loss(model: CLIPModel, pieces: np.ndarray, texts: list[str]):
    """Contrastive loss of crops (S, 64, 64, 3) and their texts; pairs whose texts are the same are no negatives."""
    split = tokenizer(SPECIAL_CLIP)

    def terms(draw: Draw) -> dict[str, Tensor]:
        rows = draw.rng.choice(len(pieces), size=draw.batch, replace=False)
        x = shown(pieces[rows], draw.device)
        x = x.flip(-1) if draw.rng.random() < 0.5 else x
        said = [texts[row] for row in rows]
        tokens = split(
            [varied(text, draw.rng) for text in said], padding="max_length", truncation=True, return_tensors="pt"
        ).to(draw.device)
        logits = model(**tokens, pixel_values=x).logits_per_text.float()
        same = torch.tensor([[a == b for b in said] for a in said], device=draw.device).float()
        target = same / same.sum(1, keepdim=True)
        return {"contrast": (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2}

    return terms


@torch.no_grad()
def embedded(model: CLIPModel, pieces: np.ndarray, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Embeddings (S, D) of length sqrt(D) of crops and of their texts."""
    tokens = tokenizer(SPECIAL_CLIP)(list(dict.fromkeys(texts)), padding="max_length", return_tensors="pt")
    number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    said = model.text_projection(model.text_model(**tokens).pooler_output)[[number[text] for text in texts]]
    seen = [
        model.visual_projection(
            model.vision_model(pixel_values=shown(pieces[i : i + 256], torch.device("cpu"))).pooler_output
        )
        for i in range(0, len(pieces), 256)
    ]
    return sized(torch.cat(seen)), sized(said)


def shown(pieces: np.ndarray, device: torch.device) -> Tensor:
    """Crops as the CLIP sees them, (N, 3, 64, 64) in [-1, 1]."""
    return torch.tensor(pieces).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def prior_loss(model: Prior, images: Tensor, texts: Tensor):
    """Mean squared error of the embedding behind a noisy one; `images` and `texts` (S, D)."""

    def terms(draw: Draw) -> dict[str, Tensor]:
        rows = torch.from_numpy(draw.rng.integers(len(images), size=draw.batch))
        clean, text = images[rows].to(draw.device), texts[rows].to(draw.device)
        angle = (torch.rand(draw.batch, generator=draw.noise) * torch.pi / 2).to(draw.device)
        noise = torch.randn(clean.shape, generator=draw.noise).to(draw.device)
        noisy = angle.cos()[:, None] * clean + angle.sin()[:, None] * noise
        return {"squared": (model(noisy, angle, text).float() - clean).square().mean()}

    return terms


def build_unet(model: TextToLatent) -> TextToLatent:
    """The finished model, its U-Net widened, with what stays as it is frozen."""
    model.unet = widened(model.unet, SIZE)
    model.requires_grad_(False)
    for name, weight in model.unet.named_parameters():
        weight.requires_grad_(name.startswith(LEARNED))
    return model


def map_of(data: Latents, vectors: Tensor):
    """What the U-Net is shown beside the latents: a map (N, D, 16, 16) of a random part of each scene's segments.

    `vectors` (scenes, MOST, D) are their embeddings, 0 where a phrase cannot be seen. From one to all of the segments
    are shown, and none in one scene of ten.
    """

    def beside(rows: np.ndarray, draw: Draw) -> Tensor:
        shares = data.masks(rows)
        for row, number in enumerate(rows):
            count = min(len(data.words[number // 2]["phrases"]), MOST)
            kept = 0 if draw.rng.random() < _EMPTY else int(draw.rng.integers(1, count + 1))
            shares[row, draw.rng.permutation(count)[kept:]] = 0
        filled = torch.einsum("nkhw,nkd->ndhw", shares, vectors[rows // 2].float())
        return (filled / shares.sum(1, keepdim=True).clamp_min(1)).to(draw.device)

    return beside
