"""Checkpoints: weights, their average, the state of optimisers and the progress of a run in one safetensors file."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import UserError

Optimisers = Mapping[str, torch.optim.Optimizer]  # by the name under which their state is stored


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


class Clock:
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


def save(folder: Path, model: nn.Module, average: Average, optimisers: Optimisers, progress: Progress) -> None:
    """Write the checkpoint of `folder` in one piece."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model/{k}": v.detach().cpu().clone() for k, v in model.state_dict().items()}
    tensors |= {f"average/{k}": v.cpu().clone() for k, v in average.shadow.items()}
    for name, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"{name}/{k}/{index}": torch.as_tensor(v).detach().cpu().clone() for k, v in state.items()}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    part = folder / "checkpoint.part"
    # One file holds weights and progress together, so that a kill between two renames cannot tear them apart.
    save_file(tensors, part, metadata={"progress": json.dumps(asdict(progress))})
    os.replace(part, folder / "checkpoint.safetensors")


def resume(folder: Path, model: nn.Module, average: Average, optimisers: Optimisers) -> Progress | None:
    """Load the checkpoint of `folder` into all of them; None if there is none.

    Raises UserError if it is of another model.
    """
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return None
    tensors = load_file(path)
    shapes = {f"average/{name}": value.shape for name, value in average.shadow.items()}
    if any(name not in tensors or tensors[name].shape != shape for name, shape in shapes.items()):
        raise UserError(f"{path} is a checkpoint of another model; delete it, or give another cache folder.")
    model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    for name, value in average.shadow.items():
        value.copy_(tensors[f"average/{name}"])
    for name, optimiser in optimisers.items():
        _restore(optimiser, {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")})
    return progress_of(path)


def _restore(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    learned = [p.detach() for group in optimiser.param_groups for p in group["params"]]
    for key, value in tensors.items():
        name, index = key.split("/")
        like = learned[int(index)]  # fused steps want moments laid out in memory as their weights are
        same = value.shape == like.shape
        state.setdefault(int(index), {})[name] = torch.empty_like(like).copy_(value) if same else value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def progress_of(path: Path) -> Progress:
    """The progress stored in a checkpoint file."""
    with safe_open(path, "pt") as file:
        return Progress(**json.loads(file.metadata()["progress"]))
