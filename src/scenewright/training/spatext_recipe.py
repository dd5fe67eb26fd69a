"""`scenewright train spatext`: the CLIP of segments, the prior, the U-Net, and the folder that ships."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from ..backends.spatext import Prior
from ..errors import UserError
from ..world import cache
from . import diffusion, spatext
from .card import write_card
from .fit import progress_of
from .grounding import MOST
from .recipes import Workshop, averaged, checkpoint, fresh, latents, reader_of, size
from .words import write_tokenizer


def train(shop: Workshop) -> None:
    """The CLIP of segments, the prior, and the U-Net that sees a map; the embedded model must be in `shop.start`."""
    model = diffusion.TextToLatent()
    text = shop.begun("diffusion", CLIPTextModel, "text_encoder")
    unet = shop.begun("diffusion", UNet2DConditionModel, "unet")
    if text is None or unet is None:
        raise UserError("SpaText grows out of a finished embedded model; say where it is with --start FOLDER.")
    model.text, model.unet = text, unet
    spatext.build_unet(model)
    data, vectors = latents(shop), embeddings(shop)
    diffusion.quick_attention(model)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    call = torch.compile(model) if shop.compiled else model
    beside = spatext.map_of(data, vectors)
    replace(shop, start=None).fit(
        "spatext", model, diffusion.loss(call, data, reader_of(shop, data), beside), spatext.UNET
    )


def embeddings(shop: Workshop) -> torch.Tensor:
    """(scenes, MOST, D) image embeddings of every phrase's segment; trains the CLIP and the prior they need."""
    path = shop.folder / "train" / f"segments-{cache.recipe()}-{shop.scenes}.safetensors"
    if not path.exists():
        data = shop.data()
        rows, numbers, pieces = zip(*spatext.crops(data.image, data.classes, data.instances, data.words), strict=True)
        texts = [data.words[row]["phrases"][k]["text"] for row, k in zip(rows, numbers, strict=True)]
        seen, said = _segment_space(shop, np.stack(pieces), texts)
        table = torch.zeros(len(data), MOST, seen.shape[1], dtype=torch.half)
        table[list(rows), list(numbers)] = seen.half()
        part = path.with_suffix(".part")
        save_file({"table": table, "seen": seen, "said": said}, part)
        part.replace(path)
    file, prior = load_file(path), Prior(spatext.SIZE)
    _alone(shop).fit("spatext-prior", prior, spatext.prior_loss(prior, file["seen"], file["said"]), spatext.PRIOR)
    return file["table"]


def _segment_space(shop: Workshop, pieces: np.ndarray, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of crops and of their texts, by a CLIP that is trained on them first."""
    model = spatext.build_clip()
    _alone(shop).fit("spatext-clip", model, spatext.clip_loss(model, pieces, texts), spatext.CROPS)
    return spatext.embedded(model, pieces, texts)


def _alone(shop: Workshop) -> Workshop:
    """For the small parts, which are trained in one go whatever the length of the main run."""
    return replace(shop, start=None, steps=None, minutes=None)


def package(shop: Workshop, folder: Path) -> None:
    """Write what `backends.spatext` reads: the text tower, the prior, and the tensors that were learned."""
    wide = spatext.build_unet(diffusion.TextToLatent())
    model = averaged(wide, shop, "spatext").unet
    learned = {k: v.half().contiguous() for k, v in model.state_dict().items() if k.startswith(spatext.LEARNED)}
    clip = averaged(spatext.build_clip(), shop, "spatext-clip")
    prior = averaged(Prior(spatext.SIZE), shop, "spatext-prior")
    settings: Any = clip.config.text_config
    settings.projection_dim = spatext.SIZE  # the tower alone does not ask the whole CLIP for it
    with fresh(folder) as new:
        tower = CLIPTextModelWithProjection(settings)
        tower.text_model, tower.text_projection = clip.text_model, clip.text_projection
        tower.half().save_pretrained(new / "text", safe_serialization=True)
        write_tokenizer(new / "text")
        save_file(prior.state_dict(), new / "prior.safetensors")
        save_file(learned, new / "unet.safetensors")
        (new / "config.json").write_text(json.dumps({"embedding": spatext.SIZE}) + "\n")
    recipes = {"spatext-clip": spatext.CROPS, "spatext-prior": spatext.PRIOR, "spatext": spatext.UNET}
    parts = {name: (recipe, progress_of(checkpoint(shop, name))) for name, recipe in recipes.items()}
    counts = {"text tower": size(tower), "prior": size(prior)}
    counts["U-Net, learned"] = sum(value.numel() for value in learned.values())
    write_card(folder, "spatext", parts, counts, shop.scenes)
