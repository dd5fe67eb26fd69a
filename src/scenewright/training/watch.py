"""Early stopping: look at held-out pictures now and then, keep the best weights, stop when nothing gets better."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import nn

from ..files import write_atomically
from .checkpoint import Progress

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Watch:
    """`score` says how bad a model is (lower is better); it is asked every `every` steps, and `patience` times without
    a new best end the run.
    """

    score: Callable[[nn.Module], float]
    every: int = 200
    patience: int = 5

    def over(self, progress: Progress) -> bool:
        """Whether the last `patience` scores of a run brought nothing new."""
        scores = [row["held_out"] for row in progress.curve if "held_out" in row]
        return len(scores) > self.patience and min(scores[: -self.patience]) <= min(scores[-self.patience :])

    def look(self, model: nn.Module, folder: Path) -> float:
        """Score a model, and keep its weights in `folder` if none before was as good."""
        score, path = self.score(model), folder / "best.safetensors"
        if not path.exists() or score < _score_of(path):
            tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
            write_atomically(path, save(tensors, {"score": repr(score)}))
        return score

    def best(self, model: M, folder: Path) -> M | None:
        """`model` with the best weights so far, or None if nothing was looked at."""
        path = folder / "best.safetensors"
        if not path.exists():
            return None
        model.load_state_dict(load_file(path))
        return model.eval()


def _score_of(path: Path) -> float:
    with safe_open(path, "pt") as file:
        return float(file.metadata()["score"])
