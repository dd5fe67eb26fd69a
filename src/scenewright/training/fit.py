"""One training loop for every embedded model: resumable at any point, checkpointed often, same on CPU and GPU.

Each step draws its randomness from (seed, step), so a run that was killed and resumed sees the same batches as one
that was not. Checkpoints are safetensors and JSON, written under another name and renamed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from .checkpoint import Average, Clock, Progress, progress_of, resume, save

__all__ = ["Average", "Draw", "Progress", "Recipe", "fit", "progress_of"]

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
    progress = resume(folder, model, average, {"optimiser": optimiser}) or replace(
        begin or Progress(), begun=begin.step if begin else 0
    )
    clock = Clock(progress.seconds)
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
            save(folder, model, average, {"optimiser": optimiser}, progress)
    save(folder, model, average, {"optimiser": optimiser}, progress)
    average.into(model)
    model.eval()
    return progress


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
        terms = loss(draw(recipe, progress.step, accelerator.device))
    total = torch.stack(list(terms.values())).sum()
    if not torch.isfinite(total):
        raise FloatingPointError(f"the loss became {total.item()} at step {progress.step}; lower the rate")
    accelerator.backward(total)
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return {name: value.item() for name, value in terms.items()}


def draw(recipe: Recipe, step: int, device: torch.device) -> Draw:
    noise = torch.Generator("cpu").manual_seed(recipe.seed * 1_000_003 + step)
    return Draw(step, recipe.batch, device, np.random.default_rng([recipe.seed, step]), noise)
