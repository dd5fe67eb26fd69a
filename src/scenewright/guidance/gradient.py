"""The gradient engine: one forward and one backward for any sum of energies, applied as a nudge after the step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scenewright.attention import Layer, Taps, select
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.errors import UserError
from scenewright.schedule import Level


class Energy(Protocol):
    """A scalar per row to descend.

    One that reads self-attention too says at which layers with a further property `self_layers`: its choice is of
    cross-attention layers, of which the `itself` is read.
    """

    @property
    def layers(self) -> str:
        """Attention layers it reads (see `attention.select`); empty when it reads the prediction instead."""
        ...

    @property
    def absent(self) -> tuple[str, ...]:
        """Words whose keys it wants recorded beside the prompt's."""
        ...

    def __call__(self, prediction: Prediction, taps: Taps, condition: Condition) -> Tensor:
        """Energy (N,) of each row."""
        ...


DECAYS: dict[str, Callable[[Level], float]] = {
    "sigma": lambda level: level.sigma,
    "linear": lambda level: 1 - level.progress,
    "constant": lambda level: 1.0,
}

# Half-precision backward passes underflow; the factor is divided out again in float32.
_HALF_SCALE = 1024.0


@dataclass(frozen=True)
class Descend:
    """Descend a sum of energies: x_{t-1} -= eta * decay(t) * g / ||g||_inf with g the gradient at x_t (ZestGuide,
    arXiv 2306.13754).

    `terms` are (energy, weight) pairs: they share one forward and one backward, so sum energies here and never nest
    two of these. The norm is taken per picture. `decay` is "sigma" (sqrt(1 - alpha_bar)), "linear" (1 - i/T) or
    "constant". `ddim_eta`, when not None, is the stochasticity of the guided steps. Rows without segments pass
    through; the rest alone carry a graph.
    """

    terms: tuple[tuple[Energy, float], ...]
    eta: float = 1.0
    decay: str = "sigma"
    ddim_eta: float | None = None

    def __post_init__(self) -> None:
        check_range("eta", self.eta, 0)
        if self.decay not in DECAYS:
            raise UserError(f"decay '{self.decay}' is not known; choose from {', '.join(DECAYS)}.")
        if self.ddim_eta is not None:
            check_range("ddim_eta", self.ddim_eta, 0, 1)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        withs, others = condition.parts
        if not withs.numbers or self.eta == 0:
            return denoise(x, level, condition)._replace(eta=self.ddim_eta)
        prediction, gradient = descend(self.terms, denoise, x[withs.numbers], level, withs.condition)
        largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
        nudge = -self.eta * DECAYS[self.decay](level) * gradient / largest.clamp_min(torch.finfo(torch.float32).tiny)
        prediction = prediction._replace(nudge=nudge.to(x.dtype), eta=self.ddim_eta)
        if not others.numbers:
            return prediction
        plain = denoise(x[others.numbers], level, others.condition)
        return interleave(withs.numbers, prediction, others.numbers, plain)


def descend(
    terms: Sequence[tuple[Energy, float]], denoise: Denoise, x: Tensor, level: Level, condition: Condition
) -> tuple[Prediction, Tensor]:
    """One denoiser call with a graph: its prediction, detached, and the gradient (N, C, h, w) of each row's energy at
    its x.
    """
    prediction, _, gradient = weighed(terms, denoise, x, level, condition)
    return prediction, gradient


def weighed(
    terms: Sequence[tuple[Energy, float]], denoise: Denoise, x: Tensor, level: Level, condition: Condition
) -> tuple[Prediction, Tensor, Tensor]:
    """As `descend`, with the sum of energies (N,) between the two. The gradient is float32 or wider."""
    if condition.taps is not None and condition.taps.record and condition.taps.ends:
        raise UserError("two gradient guidances are nested; sum their energies in one Descend instead.")
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        taps = _taps(terms, condition)
        prediction = denoise(x, level, condition.tapped(taps))
    with torch.enable_grad():  # the call above may have switched the graph off after the last layer that is read
        energy = sum((weight * term(prediction, taps, condition) for term, weight in terms), x.new_zeros(len(x)))
        scale = _HALF_SCALE if any(q.dtype == torch.float16 for q in taps.queries.values()) else 1.0
        (gradient,) = torch.autograd.grad(energy.sum() * scale, x)
    detached = Prediction(prediction.x0.detach(), prediction.eps.detach(), prediction.nudge, prediction.eta)
    wide = gradient.detach() if gradient.dtype == torch.float64 else gradient.detach().float()
    return detached, energy.detach(), torch.nan_to_num(wide) / scale


def check_range(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise UserError unless `value` is a finite number in [low, high]."""
    if not (math.isfinite(value) and low <= value <= high):
        upper = "" if high == math.inf else f" and at most {high:g}"
        raise UserError(f"{name} is {value}; it must be a finite number, at least {low:g}{upper}.")


def chosen_layers(condition: Condition, choice: str) -> tuple[Layer, ...]:
    """The layers of the condition's model that `choice` names; raises UserError when the model has none."""
    if not condition.model.layers:
        raise UserError(
            "this model's cross-attention cannot be read, so this method does not work on it; use another method."
        )
    return select(condition.model.layers, choice)


def chosen_self_layers(condition: Condition, choice: str) -> tuple[Layer, ...]:
    """Those of `chosen_layers` that have self-attention before them; raises UserError when none has."""
    found = tuple(layer for layer in chosen_layers(condition, choice) if layer.itself)
    if not found:
        raise UserError(f"this model has no self-attention to read at '{choice}'; choose other layers or method.")
    return found


def _taps(terms: Sequence[tuple[Energy, float]], condition: Condition) -> Taps:
    """Everything the energies read; the graph ends at the last layer read, unless one of them reads the prediction."""
    taps = condition.taps or Taps()
    names = {layer.name for term, _ in terms if term.layers for layer in chosen_layers(condition, term.layers)}
    choices = [getattr(term, "self_layers", "") for term, _ in terms]
    names |= {layer.itself for choice in choices if choice for layer in chosen_self_layers(condition, choice)}
    last = [name for layer in condition.model.layers for name in (layer.itself, layer.name) if name in names][-1:]
    attention_only = all(term.layers or choice for (term, _), choice in zip(terms, choices, strict=True))
    words = tuple(dict.fromkeys(word for term, _ in terms for word in term.absent))
    taps = taps.also(record=frozenset(names))
    taps.ends = last[0] if attention_only and last else None
    taps.extra = absent_states(condition, words) if words else None
    return taps


def absent_words(condition: Condition, words: tuple[str, ...]) -> tuple[list[str], list[int]]:
    """The word that each extra key belongs to, and the number of tokens of each word, in the order of
    `absent_states`.
    """
    states = _word_states(condition, words)
    return list(words), [len(state) for state in states]


def absent_states(condition: Condition, words: tuple[str, ...]) -> Tensor:
    """Text states (1, M, D) of the words' own tokens."""
    return torch.cat(_word_states(condition, words))[None]


def _word_states(condition: Condition, words: tuple[str, ...]) -> list[Tensor]:
    return condition.once(("words", words), condition.text, lambda: condition.model.words(words))


def interleave(first: list[int], a: Prediction, second: list[int], b: Prediction) -> Prediction:
    """Put the rows of two predictions back in their places; a missing nudge is zero."""
    order = torch.tensor(first + second).argsort()
    nudges = [torch.zeros_like(p.x0) if p.nudge is None else p.nudge for p in (a, b)]
    return Prediction(torch.cat([a.x0, b.x0])[order], torch.cat([a.eps, b.eps])[order], torch.cat(nudges)[order], a.eta)
