"""`scenewright train NAME`: data, recipe, training and packaging of each embedded model."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPModel, CLIPTextModel, SegformerForSemanticSegmentation

from ..errors import UserError
from ..world import cache
from . import autoencoder, diffusion, judges, recognition
from .card import write_card
from .fit import Progress, Recipe, fit, progress_of
from .grounding import cell_masks
from .words import tokenizer, write_tokenizer

MODEL_OF = {"autoencoder": "embedded", "diffusion": "embedded"}  # others are called as their folder is
JUDGES = {
    "segmenter": (judges.build_segmenter, judges.SEGMENTER),
    "classifier": (judges.build_classifier, judges.CLASSIFIER),
    "clip": (judges.build_clip, judges.CLIP),
}
SHARD = "12MB"  # no file of the repository is over 16 MB
M = TypeVar("M", bound=nn.Module)
Say = Callable[[str, int, int, float], None]  # name, step, steps, seconds


@dataclass(frozen=True)
class Workshop:
    """Where a training run reads and writes: `scenes` training scenes, checkpoints under `folder`.

    `start` is a folder of finished models; where there is no checkpoint, a run goes on from their weights.
    `compiled` runs the U-Net through `torch.compile`, which needs a C++ compiler on CPUs.
    """

    folder: Path
    scenes: int = 9500
    minutes: float | None = None
    steps: int | None = None
    start: Path | None = None
    compiled: bool = False
    say: Say = lambda name, step, steps, seconds: None

    def data(self) -> cache.Rendered:
        return cache.load(self.shards())

    def shards(self) -> list[Path]:
        return cache.build(range(self.scenes), self.folder / "world")

    def fit(self, name: str, model: nn.Module, loss: Callable, recipe: Recipe) -> tuple[Recipe, Progress]:
        recipe = replace(recipe, steps=self.steps) if self.steps else recipe
        report = lambda progress, means: self.say(name, progress.step, recipe.steps, sum(means.values()))  # noqa: E731
        folder = self.folder / "train" / name
        return recipe, fit(model, loss, recipe, folder, self.minutes, report, begin=self.begin(name))

    def begin(self, part: str) -> Progress | None:
        """The progress of the finished model that a run goes on from."""
        card = self.start and self.start / MODEL_OF.get(part, part) / "training.json"
        if not card or not card.exists():
            return None
        return Progress(**json.loads(card.read_text())["parts"][part]["progress"])

    def begun(self, part: str, kind: type[M], subfolder: str = "") -> M | None:
        """The finished model that a run goes on from, in float32."""
        folder = self.start and self.start / MODEL_OF.get(part, part) / subfolder
        return kind.from_pretrained(folder).float() if folder and folder.is_dir() else None  # type: ignore[attr-defined]


def train_autoencoder(shop: Workshop) -> None:
    """Solve the encoder, train the decoder."""
    data = shop.data()
    model = shop.begun("autoencoder", AutoencoderTiny, "vae") or solved(data)
    model.encoder.requires_grad_(False)
    shop.fit("autoencoder", model, autoencoder.loss(model, data.image[200:]), autoencoder.RECIPE)


def solved(data: cache.Rendered) -> AutoencoderTiny:
    """A fresh autoencoder with its encoder set."""
    model = autoencoder.build()
    autoencoder.solve_encoder(model, data.image[:1200])
    return model


def latents(shop: Workshop) -> diffusion.Latents:
    """Latents of every scene and its mirror image and the cells of phrases, kept on disk; classes and loss weights."""
    path = shop.folder / "train" / f"latents-with-cells-{cache.recipe()}-{shop.scenes}.safetensors"
    words = cache.words(shop.shards())
    if not path.exists():
        data = shop.data()
        model, _ = decoder_of(shop)
        both = torch.stack(
            [autoencoder.encode(model, data.image), autoencoder.encode(model, data.image[:, :, ::-1].copy())], 1
        )
        cells = torch.from_numpy(cell_masks(data.classes, data.instances, words))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file({"z": both.flatten(0, 1).half(), "cells": cells}, part)
        part.replace(path)
    file = load_file(path)
    classes, instances = (
        cache.column(shop.shards(), name, 128 // recognition.SIDE) for name in ("classes", "instances")
    )
    colours = recognition.colour_maps(instances, words)
    return diffusion.Latents(
        file["z"], diffusion.object_weight(classes), file["cells"].numpy(), words, classes, colours
    )


def train_embedded(shop: Workshop) -> None:
    """Text encoder and U-Net together; the autoencoder must have been trained."""
    model = diffusion.TextToLatent()
    model.text = shop.begun("diffusion", CLIPTextModel, "text_encoder") or model.text
    model.unet = shop.begun("diffusion", UNet2DConditionModel, "unet") or model.unet
    diffusion.quick_attention(model)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    call = torch.compile(model) if shop.compiled else model
    data = latents(shop)
    shop.fit("diffusion", model, diffusion.loss(call, data, reader_of(shop, data)), diffusion.RECIPE)


def reader_of(shop: Workshop, data: diffusion.Latents) -> recognition.Reader:
    """The frozen network that recognises what the U-Net predicts, trained in a few minutes where it is missing."""
    model = recognition.Reader()
    folder, steps = shop.folder / "train" / "reader", recognition.READER.steps
    report = lambda progress, means: shop.say("reader", progress.step, steps, sum(means.values()))  # noqa: E731
    loss = recognition.reader_loss(model, data.z, data.classes, data.colours)
    fit(model, loss, recognition.READER, folder, report=report)
    return model.requires_grad_(False)


def package_embedded(shop: Workshop, folder: Path) -> None:
    """Write the pipeline folder from the latest checkpoints: averaged weights, fp16, safetensors."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    decoder, decoding = decoder_of(shop)
    model = averaged(diffusion.TextToLatent(), shop, "diffusion")
    components: dict[str, Any] = {
        "vae": decoder.half(),
        "text_encoder": model.text.half(),
        "tokenizer": tokenizer(),
        "unet": model.unet.half(),
        "scheduler": diffusion.scheduler(),
    }
    absent: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
    pipeline = StableDiffusionPipeline(**components, **absent, requires_safety_checker=False)
    with fresh(folder) as new:
        pipeline.save_pretrained(new, safe_serialization=True, max_shard_size=SHARD)
    parts = {
        "autoencoder": (autoencoder.RECIPE, decoding),
        "diffusion": (diffusion.RECIPE, progress_of(checkpoint(shop, "diffusion"))),
    }
    counts = {"autoencoder": size(decoder), "text encoder": size(model.text), "U-Net": size(model.unet)}
    write_card(folder, "embedded", parts, counts, shop.scenes)


def decoder_of(shop: Workshop) -> tuple[AutoencoderTiny, Progress]:
    """The autoencoder of the latest checkpoint, or else the finished one that the run started from."""
    finished, progress = shop.begun("autoencoder", AutoencoderTiny, "vae"), shop.begin("autoencoder")
    if finished and progress and not (shop.folder / "train" / "autoencoder" / "checkpoint.safetensors").exists():
        return finished.eval(), progress
    return averaged(autoencoder.build(), shop, "autoencoder"), progress_of(checkpoint(shop, "autoencoder"))


def train_judge(shop: Workshop, name: str) -> None:
    """A judge, or the classifier that guides."""
    data, (build, recipe) = shop.data(), JUDGES[name]
    model: Any = shop.begun(name, CLIPModel if name == "clip" else SegformerForSemanticSegmentation) or build()
    if name == "clip":
        shop.fit(name, model, judges.clip_loss(model, data.image, data.words), recipe)
    else:
        shop.fit(name, model, judges.segmenter_loss(model, data.image[200:], data.classes[200:]), recipe)


def package_judge(shop: Workshop, name: str, folder: Path) -> None:
    build, recipe = JUDGES[name]
    model = averaged(build(), shop, name)
    with fresh(folder) as new:
        model.half().save_pretrained(new, safe_serialization=True, max_shard_size=SHARD)  # type: ignore[operator]
        if name == "clip":
            write_tokenizer(new)
    write_card(folder, name, {name: (recipe, progress_of(checkpoint(shop, name)))}, {name: size(model)}, shop.scenes)


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` when all is written, so that no stale file stays behind."""
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for path in (new, old):
        shutil.rmtree(path, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    for path in new.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def checkpoint(shop: Workshop, name: str) -> Path:
    path = shop.folder / "train" / name / "checkpoint.safetensors"
    if not path.exists():
        raise UserError(f"'{name}' has not been trained in {shop.folder}; run `scenewright train` for it first.")
    return path


def averaged(model: M, shop: Workshop, name: str) -> M:
    """`model` with the averaged weights of its latest checkpoint."""
    tensors = load_file(checkpoint(shop, name))
    state = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    state |= {k.removeprefix("average/"): v for k, v in tensors.items() if k.startswith("average/")}
    model.load_state_dict(state)
    return model.eval()


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
