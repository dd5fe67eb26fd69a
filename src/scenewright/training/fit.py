"""One training loop for every embedded model: resumable at any point, checkpointed often, same on CPU and GPU.

Each step draws its randomness from (seed, step), so a run that was killed and resumed sees the same batches as one
that was not. Checkpoints are safetensors and JSON, written under another name and renamed.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import UserError

Loss = Callable[["Draw"], dict[str, Tensor]]


@dataclass(frozen=True)
class Recipe:
    """Constants of one run. `decay` is the share of the steps, at the end, over which the rate falls to zero."""

    steps: int
    batch: int
    rate: float
    seed: int = 0
    warmup: int = 200
    decay: float = 0.3
    ema: float = 0.999
    weight_decay: float = 0.01
    clip: float = 1.0
    save_minutes: float = 3.0

    def rate_at(self, step: int, begun: int = 0) -> float:
        """The rate of a step of a run whose optimiser was new at step `begun`."""
        rise = min(1.0, (step - begun + 1) / self.warmup)
        fall = min(1.0, (self.steps - step) / max(1.0, self.decay * self.steps)) if self.decay else 1.0
        return self.rate * rise * fall


@dataclass
class Draw:
    """The randomness of one step: numpy for choosing rows, torch for noise."""

    step: int
    batch: int
    device: torch.device
    rng: np.random.Generator
    noise: torch.Generator


@dataclass
class Progress:
    """What has been done so far: written beside the weights, drawn into the model card.

    `begun` is the step at which the optimiser was new: 0, or where a run went on from finished weights.
    """

    step: int = 0
    begun: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


class Average:
    """Exponential moving average of parameters; early steps are forgotten faster, so a short run is not half noise."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        keep = min(self.decay, (1 + step) / (10 + step))
        names, values = zip(*((n, p.detach()) for n, p in model.named_parameters()), strict=True)
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage] - as torch's own optimisers do
            [self.shadow[n] for n in names], list(values), 1 - keep
        )

    @torch.no_grad()
    def into(self, model: nn.Module) -> None:
        """Give `model` the averaged weights."""
        for name, p in model.named_parameters():
            p.copy_(self.shadow[name])


Report = Callable[[Progress, dict[str, float]], None]
EVERY = 100  # steps between points of the curve


def fit(
    model: nn.Module,
    loss: Loss,
    recipe: Recipe,
    folder: Path,
    minutes: float | None = None,
    report: Report = lambda progress, means: None,
    precision: Literal["no", "bf16", "fp16"] = "bf16",
    begin: Progress | None = None,
) -> Progress:
    """Train `model` in place until `recipe.steps`, or for `minutes`; afterwards it holds the averaged weights.

    A checkpoint in `folder` is resumed; without one the run starts at `begin` with the weights that `model` has.
    Returns the progress. Raises FloatingPointError as soon as a loss is not finite, UserError if the checkpoint in
    `folder` is of another model.
    """
    accelerator = Accelerator(mixed_precision=precision)
    model.to(accelerator.device).train()
    learned = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learned, recipe.rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay, fused=True)
    average = Average(model, recipe.ema)
    progress = _resume(folder, model, average, optimiser) or replace(
        begin or Progress(), begun=begin.step if begin else 0
    )
    clock = _Clock(progress.seconds)
    meter: list[dict[str, float]] = []
    while progress.step < recipe.steps:
        meter.append(_step(model, loss, recipe, optimiser, accelerator, progress))
        average.update(model, progress.step - progress.begun)
        progress.step += 1
        progress.seconds = clock.spent()
        if progress.step % EVERY == 0:
            means = {name: sum(row[name] for row in meter) / len(meter) for name in meter[0]}
            point = {"step": progress.step, "seconds": round(progress.seconds, 1)}
            progress.curve.append(point | {name: round(value, 5) for name, value in means.items()})
            report(progress, means)
            meter.clear()
        over = minutes is not None and clock.minutes() > minutes
        if over:
            break
        if clock.due(recipe.save_minutes):
            _save(folder, model, average, optimiser, progress)
    _save(folder, model, average, optimiser, progress)
    average.into(model)
    model.eval()
    return progress


class _Clock:
    """Time spent over all runs, time of this run, and when to save."""

    def __init__(self, before: float) -> None:
        self.before, self.started = before, time.monotonic()
        self.saved = self.started

    def spent(self) -> float:
        return self.before + time.monotonic() - self.started

    def minutes(self) -> float:
        return (time.monotonic() - self.started) / 60

    def due(self, minutes: float) -> bool:
        if time.monotonic() - self.saved < minutes * 60:
            return False
        self.saved = time.monotonic()
        return True


def _step(
    model: nn.Module,
    loss: Loss,
    recipe: Recipe,
    optimiser: torch.optim.Optimizer,
    accelerator: Accelerator,
    progress: Progress,
) -> dict[str, float]:
    """One update of the weights; returns the terms of the loss."""
    for group in optimiser.param_groups:
        group["lr"] = recipe.rate_at(progress.step, progress.begun)
    with accelerator.autocast():
        terms = loss(_draw(recipe, progress.step, accelerator.device))
    total = torch.stack(list(terms.values())).sum()
    if not torch.isfinite(total):
        raise FloatingPointError(f"the loss became {total.item()} at step {progress.step}; lower the rate")
    accelerator.backward(total)
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return {name: value.item() for name, value in terms.items()}


def _draw(recipe: Recipe, step: int, device: torch.device) -> Draw:
    noise = torch.Generator("cpu").manual_seed(recipe.seed * 1_000_003 + step)
    return Draw(step, recipe.batch, device, np.random.default_rng([recipe.seed, step]), noise)


def _moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    rows = {}
    for index, state in optimiser.state_dict()["state"].items():
        rows |= {f"{key}/{index}": torch.as_tensor(value).clone() for key, value in state.items()}
    return rows


def _save(
    folder: Path, model: nn.Module, average: Average, optimiser: torch.optim.Optimizer, progress: Progress
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model/{k}": v.detach().cpu().clone() for k, v in model.state_dict().items()}
    tensors |= {f"average/{k}": v.cpu().clone() for k, v in average.shadow.items()}
    tensors |= {f"optimiser/{k}": v.cpu() for k, v in _moments(optimiser).items()}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    part = folder / "checkpoint.part"
    # One file holds weights and progress together, so that a kill between two renames cannot tear them apart.
    save_file(tensors, part, metadata={"progress": json.dumps(asdict(progress))})
    os.replace(part, folder / "checkpoint.safetensors")


def _resume(folder: Path, model: nn.Module, average: Average, optimiser: torch.optim.Optimizer) -> Progress | None:
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return None
    tensors = load_file(path)
    if {f"average/{name}" for name in average.shadow} - set(tensors):
        raise UserError(f"{path} is a checkpoint of another model; delete it, or give another cache folder.")
    model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    for name, value in average.shadow.items():
        value.copy_(tensors[f"average/{name}"])
    state: dict[int, dict[str, Tensor]] = {}
    learned = [p.detach() for group in optimiser.param_groups for p in group["params"]]
    for key, value in tensors.items():
        if key.startswith("optimiser/"):
            _, name, index = key.split("/")
            like = learned[int(index)]  # fused steps want moments laid out in memory as their weights are
            same = value.shape == like.shape
            state.setdefault(int(index), {})[name] = torch.empty_like(like).copy_(value) if same else value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    return progress_of(path)


def progress_of(path: Path) -> Progress:
    """The progress stored in a checkpoint file."""
    with safe_open(path, "pt") as file:
        return Progress(**json.loads(file.metadata()["progress"]))
