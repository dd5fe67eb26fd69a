"""The loop of two networks that learn against each other: one step of the generator, one of the discriminator, on the
same batch. Checkpoints, draws and curves are those of `fit`.

It runs as one process, or as many under `accelerate launch`: each then takes its share of the batch, batch norm is
shared on GPUs, and the first one writes.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..transfer.losses import consistency_loss, fake_loss, mix_masks, mixed, real_loss
from ..transfer.oasis import Generator, Oasis, one_hot, restated
from .checkpoint import Average, Clock, Progress, resume, save
from .fit import EVERY, Draw, Recipe, Report, draw
from .watch import Watch

Batches = Callable[[Draw], tuple[Tensor, Tensor]]  # pictures (N, 3, H, W) in [-1, 1], class ids (N, H, W)


@dataclass(frozen=True)
class AdversarialRecipe(Recipe):
    """`rate` is the generator's; `labelmix` weighs the consistency; for the first `coarse` share of the steps pictures
    are half as large, which is four times as quick. `restatements` batches settle the statistics of the average.
    """

    warmup: int = 1
    decay: float = 0.0
    weight_decay: float = 0.0
    discriminator_rate: float = 4e-4
    labelmix: float = 10.0
    coarse: float = 0.0
    restatements: int = 50


# The published ones (section 4 of the paper and its supplement); steps are epochs times pictures over batch.
PUBLISHED: dict[str, AdversarialRecipe] = {
    "ade20k": AdversarialRecipe(steps=200 * 20_210 // 32, batch=32, rate=1e-4, ema=0.9999),
    "coco-stuff": AdversarialRecipe(steps=100 * 118_287 // 32, batch=32, rate=1e-4, ema=0.9999),
    "cityscapes": AdversarialRecipe(steps=200 * 2975 // 20, batch=20, rate=4e-4, ema=0.999, labelmix=5.0),
}


@dataclass
class _Run:
    """Both networks, their optimisers, and their wrapped forms where several processes share the work."""

    pair: Oasis
    recipe: AdversarialRecipe
    accelerator: Accelerator
    optimisers: dict[str, torch.optim.Optimizer]
    generator: nn.Module
    discriminator: nn.Module
    precision: Literal["no", "bf16"]

    def autocast(self) -> torch.autocast:
        """Ours, not the accelerator's: its precision is that of the whole process, whoever set it first."""
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def draw(self, step: int) -> Draw:
        """This process's part of a step's randomness; the first one's is that of a run alone."""
        count, rank = self.accelerator.num_processes, self.accelerator.process_index
        own = replace(self.recipe, batch=max(1, self.recipe.batch // count), seed=self.recipe.seed + 7919 * rank)
        return draw(own, step, self.accelerator.device)


def fit_pair(
    pair: Oasis,
    batches: Batches,
    recipe: AdversarialRecipe,
    folder: Path,
    minutes: float | None = None,
    report: Report = lambda progress, means: None,
    precision: Literal["no", "bf16"] = "bf16",
    watch: Watch | None = None,
) -> Progress:
    """Train `pair` in place until `recipe.steps`, for `minutes`, or until `watch` sees no progress.

    Afterwards the generator holds the averaged weights with re-estimated statistics; with `watch`, those that it liked
    best. A checkpoint in `folder` is resumed. Raises FloatingPointError as soon as a loss is not finite, UserError if
    the checkpoint is of another model.
    """
    run = _started(pair, recipe, Accelerator(), precision)
    average = Average(pair.generator, recipe.ema)
    progress = resume(folder, pair, average, run.optimisers) or Progress()
    clock, meter = Clock(progress.seconds), []
    while progress.step < recipe.steps and not (watch and watch.over(progress)):
        meter.append(_step(run, batches, progress.step))
        average.update(pair.generator, progress.step)
        progress.step += 1
        progress.seconds = clock.spent()
        last = progress.step == recipe.steps
        looked = watch is not None and (progress.step % watch.every == 0 or last)
        if progress.step % EVERY == 0 or looked:
            means = {name: sum(row[name] for row in meter) / len(meter) for name in meter[0]}
            if watch and looked:
                means["held_out"] = watch.look(averaged(pair, average, recipe, batches, run), folder)
            point = {"step": progress.step, "seconds": round(progress.seconds, 1)}
            progress.curve.append(point | {name: round(value, 5) for name, value in means.items()})
            report(progress, means)
            meter.clear()
        if _agreed(run.accelerator, minutes is not None and clock.minutes() > minutes):
            break
        if run.accelerator.is_main_process and (clock.due(recipe.save_minutes) or looked):
            save(folder, pair, average, run.optimisers, progress)
    if run.accelerator.is_main_process:
        save(folder, pair, average, run.optimisers, progress)
    final = watch.best(pair.generator, folder) if watch else None
    final = final or averaged(pair, average, recipe, batches, run)
    pair.generator.load_state_dict(final.state_dict())
    pair.requires_grad_(True).eval()
    return progress


def _started(
    pair: Oasis, recipe: AdversarialRecipe, accelerator: Accelerator, precision: Literal["no", "bf16"]
) -> _Run:
    pair.to(accelerator.device).train()
    learned = [p for p in pair.generator.parameters() if p.requires_grad]
    critic = list(pair.discriminator.parameters())
    optimisers: dict[str, torch.optim.Optimizer] = {
        "generator": torch.optim.Adam(learned, recipe.rate, betas=(0.0, 0.999)),
        "discriminator": torch.optim.Adam(critic, recipe.discriminator_rate, betas=(0.0, 0.999)),
    }
    generator, discriminator = pair.generator, pair.discriminator
    if accelerator.num_processes > 1:
        if accelerator.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(pair.generator)
        # Spectral norms go the same way in every process; broadcasting them amid a step would break its gradient.
        wrapped = [DistributedDataParallel(net, broadcast_buffers=False) for net in (generator, discriminator)]
        generator, discriminator = wrapped
    return _Run(pair, recipe, accelerator, optimisers, generator, discriminator, precision)


def _step(run: _Run, batches: Batches, step: int) -> dict[str, float]:
    """One step of the generator, then one of the discriminator on the same pictures; returns the losses."""
    pair, recipe = run.pair, run.recipe
    drawn = run.draw(step)
    real, labels = batches(drawn)
    if step < recipe.coarse * recipe.steps:
        real, labels = nn.functional.avg_pool2d(real, 2), labels[:, ::2, ::2]
    for name, rate in (("generator", recipe.rate), ("discriminator", recipe.discriminator_rate)):
        for group in run.optimisers[name].param_groups:
            group["lr"] = rate * recipe.rate_at(step) / recipe.rate
    z = torch.randn(len(labels), pair.config.noise, generator=drawn.noise).to(drawn.device)
    pair.discriminator.requires_grad_(False)
    with run.autocast():
        fake = run.generator(one_hot(labels, pair.config.classes), z)
        losses = {"generator": real_loss(pair.discriminator(fake), labels)}
    _descend(run, "generator", losses["generator"], step)
    pair.discriminator.requires_grad_(True)
    fake, masks = fake.detach().to(real), mix_masks(labels, drawn.noise)
    with run.autocast():
        # One call for all three: several calls before one backward pass confuse distributed training.
        seen = run.discriminator(torch.cat([real, fake, mixed(masks, real, fake)]))
        of_real, of_fake, of_mixed = seen.float().chunk(3)
        losses["real"], losses["fake"] = real_loss(of_real, labels), fake_loss(of_fake)
        losses["labelmix"] = recipe.labelmix * consistency_loss(of_mixed, masks, of_real, of_fake)
    _descend(run, "discriminator", losses["real"] + losses["fake"] + losses["labelmix"], step)
    return {name: value.item() for name, value in losses.items()}


def _descend(run: _Run, name: str, loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the loss of the {name} became {loss.item()} at step {step}; lower the rate")
    run.accelerator.backward(loss)
    run.optimisers[name].step()
    run.optimisers[name].zero_grad(set_to_none=True)


def averaged(pair: Oasis, average: Average, recipe: AdversarialRecipe, batches: Batches, run: _Run) -> Generator:
    """A copy of the generator with averaged weights and the statistics that belong to them."""
    copy = deepcopy(pair.generator)
    average.into(copy)
    pieces = []
    for index in range(recipe.restatements):
        drawn = run.draw(recipe.steps + index)
        labels = batches(drawn)[1]
        z = torch.randn(len(labels), pair.config.noise, generator=drawn.noise).to(drawn.device)
        pieces.append((one_hot(labels, pair.config.classes), z))
    restated(copy, pieces)
    return copy.eval()


def _agreed(accelerator: Accelerator, stop: bool) -> bool:
    """Whether any process wants to stop: they must all leave the loop together."""
    if accelerator.num_processes == 1:
        return stop
    votes = accelerator.reduce(torch.tensor(float(stop), device=accelerator.device), "sum")
    return bool(votes > 0)  # type: ignore[operator]
