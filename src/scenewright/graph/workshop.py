"""`scenewright train factor`: data, training and packaging of one factor; others' weights are never touched."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from safetensors.torch import load_file

from scenewright.backends import load
from scenewright.backends.unet import UNetModel
from scenewright.errors import UserError
from scenewright.files import write_atomically
from scenewright.graph.data import world_latents
from scenewright.graph.library import DESCRIPTION
from scenewright.graph.training import DISTIL, RECIPE, FactorLoss, Nets
from scenewright.graph.variables import CAPTION, PICTURE, codec_of
from scenewright.training.fit import fit, progress_of
from scenewright.training.recipes import Say, fresh


@dataclass(frozen=True)
class Commission:
    """One factor to train: P(variable | caption, maps).

    `widths` of its own adapter (default: half the U-Net's), `distil` the weight of attention distillation, `missing`
    the share of scenes that are treated as if they lacked a map, by its name.
    """

    variable: str
    maps: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    distil: float = DISTIL
    missing: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name in (self.variable, *self.maps):
            codec_of(name)
        if PICTURE in self.maps or self.variable in self.maps or len(set(self.maps)) < len(self.maps):
            raise UserError(f"a factor's parents are other maps, each once; {self.variable} cannot have {self.maps}.")
        if self.variable == PICTURE and not self.maps:
            raise UserError("the picture of a caption alone needs no training; give --parents, such as segmentation.")
        if self.distil < 0:
            raise UserError(f"distil is {self.distil}; give 0 (off) or more.")

    @property
    def name(self) -> str:
        """ "depth-from-segmentation": what its folders are called."""
        return self.variable + (f"-from-{'-'.join(self.maps)}" if self.maps else "")


@dataclass(frozen=True)
class Bench:
    """Where factors are made: caches and checkpoints under `folder`, `shards` of the world's cache; `precision` as in
    `fit`.
    """

    folder: Path
    shards: Sequence[Path]
    minutes: float | None = None
    steps: int | None = None
    say: Say = lambda name, step, steps, seconds: None
    precision: Literal["no", "bf16", "fp16"] = "bf16"

    def checkpoints(self, factor: Commission) -> Path:
        return self.folder / "train" / f"factor-{factor.name}"


def train_factor(bench: Bench, factor: Commission, model: UNetModel | None = None) -> None:
    """Train the adapters of a factor beside the embedded model, or beside `model`, whose attention becomes plain;
    a checkpoint is resumed.
    """
    model = model or _embedded()
    recipe = replace(RECIPE, steps=bench.steps) if bench.steps else RECIPE
    note = lambda text: bench.say(text, 0, recipe.steps, 0.0)  # noqa: E731
    data = world_latents(model, (factor.variable, *factor.maps), bench.shards, bench.folder / "train", note)
    for name, share in factor.missing:
        data = data.lacking(name, share)
    nets = Nets(model.pipeline.unet, factor.variable, factor.maps, factor.widths)
    loss = FactorLoss(nets, model.pipeline, data, factor.variable, factor.maps, factor.distil)
    report = lambda progress, means: bench.say(factor.name, progress.step, recipe.steps, means["v"])  # noqa: E731
    fit(nets, loss, recipe, bench.checkpoints(factor), bench.minutes, report, bench.precision)


def package_factor(bench: Bench, factor: Commission, folder: Path, model: UNetModel | None = None) -> None:
    """Write the factor of the latest checkpoint: averaged weights, fp16, one diffusers folder per adapter."""
    model = model or _embedded()
    path = bench.checkpoints(factor) / "checkpoint.safetensors"
    if not path.exists():
        raise UserError(f"factor '{factor.name}' has not been trained in {bench.folder}; leave out --package-only.")
    nets = Nets(model.pipeline.unet, factor.variable, factor.maps, factor.widths)
    average = {k.removeprefix("average/"): v for k, v in load_file(path).items() if k.startswith("average/")}
    nets.load_state_dict(average)
    nets.half()
    facts = {
        "variable": factor.variable,
        "parents": [CAPTION, *factor.maps],
        "backbone": dict(model.identity()),
        "commission": asdict(factor),
        "recipe": asdict(RECIPE),
        "progress": asdict(progress_of(path)),
        "scenes": 500 * len(bench.shards),
    }
    with fresh(folder) as new:
        if nets.own is not None:
            nets.own.save_pretrained(new / "own")
        for name, adapter in nets.parents.items():
            adapter.save_pretrained(new / name)  # type: ignore[operator]
        write_atomically(new / DESCRIPTION, json.dumps(facts, indent=1).encode())


def _embedded() -> UNetModel:
    model = load("embedded")
    assert isinstance(model, UNetModel)
    return model
