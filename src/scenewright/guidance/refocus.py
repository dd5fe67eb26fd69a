"""Attention Refocusing (Phung, Ge & Huang, CVPR 2024, arXiv 2306.05427): words look for their box, and a box's cells at
each other.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from scenewright.attention import Taps
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.families import refuse
from scenewright.guidance.attend import sharp_maps
from scenewright.guidance.boxes import boxes_at
from scenewright.guidance.gradient import check_range, chosen_self_layers
from scenewright.guidance.push import Push, Round
from scenewright.schedule import Level

# Until which progress, step size, most steps: the release's 2, 5, 10 and 20 of 50 steps.
STAGES = ((0.04, 4.0, 2), (0.1, 4.0, 6), (0.2, 3.0, 3), (0.4, 3.0, 2), (1.0, 1.0, 2))
DENSE = 0.2  # up to here in every step, then
SPARSE = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)  # only here: steps 10, 15, ... 35 of 50
EARLY = 0.3  # up to here what is nearly right counts too: step 15 of 50
TARGET = 0.1  # of step size times energy, in the dense part


@dataclass(frozen=True)
class Misplaced:
    """Energy: `weight` times CAR plus `self_weight` times SAR, the paper's losses on cross- and self-attention in the
    form of the release; averages over segments.

    CAR, on Attend-and-Excite's maps: 1 - the highest cell in the segment's box, times 6 below 0.1; the highest cell in
    each other segment's box, times 4 above 0.15; and half of the highest cell outside of all boxes. Unless `early`, a
    peak of 0.2 inside and of 0.1 elsewhere is good enough and adds nothing. SAR: the share of what a box's cells attend
    to that lies outside of the box, averaged over its cells, heads and layers. Segments of the same words do not
    stand in each other's way: the box of one is no other box to the other.

    With `reached` the energy of a row is 0 once all of its phrases peak at that inside their boxes.
    """

    layers: str = "near16"
    absent: tuple[str, ...] = ()
    weight: float = 1.0
    self_weight: float = 1.0
    early: bool = True
    reached: float | None = None

    @property
    def self_layers(self) -> str:
        """Self-attention is read on the same grids."""
        return self.layers if self.self_weight else ""

    def __call__(self, prediction: Prediction, taps: Taps, condition: Condition) -> Tensor:
        """Energy (N,)."""
        latent = (prediction.x0.shape[-2], prediction.x0.shape[-1])
        maps = sharp_maps(taps, condition, self.layers, latent)
        boxes = boxes_at(condition, (maps.shape[-2], maps.shape[-1])).to(maps)
        placed = condition.present & boxes.flatten(2).any(-1)
        boxes = boxes * placed[..., None, None]
        energy = self.weight * self._crossed(maps, boxes, condition.groups)
        if self.self_weight:
            energy = energy + self.self_weight * self._strayed(taps, condition, latent)
        energy = (energy * placed).sum(1) / placed.sum(1).clamp_min(1)
        if self.reached is None:
            return energy
        lowest = (maps * boxes).amax((-2, -1)).masked_fill(~placed, torch.inf).amin(1)
        return energy * (lowest < self.reached)

    def _crossed(self, maps: Tensor, boxes: Tensor, groups: Tensor) -> Tensor:
        """CAR of each segment (N, K), from maps and boxes (N, K, rows, columns)."""
        same = (groups[:, :, None] == groups[:, None]).all(-1).to(maps)
        own = torch.einsum("nkj,njyx->nkyx", same, boxes).clamp_max(1)
        outside = maps * (1 - own)
        inside = (maps * boxes).amax((-2, -1))
        astray = (outside[:, :, None] * boxes[:, None]).amax((-2, -1))  # the phrase of k in the box of j
        rest = (outside * (1 - boxes.amax(1, keepdim=True))).amax((-2, -1))
        fine = inside.new_tensor(float(self.early))
        far = torch.where(inside < 0.1, 6.0, torch.where(inside < 0.2, 1.0, fine))
        wrong = torch.where(astray > 0.15, 4.0, torch.where(astray > 0.1, 1.0, fine))
        return far * (1 - inside) + (wrong * astray * (1 - same)).sum(-1) + rest / 2

    def _strayed(self, taps: Taps, condition: Condition, latent: tuple[int, int]) -> Tensor:
        """SAR of each segment (N, K)."""
        shares = []
        for layer in chosen_self_layers(condition, self.layers):
            attention = taps.logits(layer.itself).softmax(-1).mean(1)  # (N, cells, cells)
            boxes = boxes_at(condition, layer.grid(latent)).flatten(2).to(attention)
            within = torch.einsum("nkq,nqc,nkc->nk", boxes, attention, boxes)
            shares.append(1 - within / boxes.sum(-1).clamp_min(1))
        return torch.stack(shares).mean(0)


@dataclass(frozen=True)
class AttentionRefocusing:
    """Pushes x_t along the gradient of `Misplaced`: in each step of the first fifth of the run, and in six more steps
    up to 0.7 of it.

    In such a step x_t moves once whatever the energy is, and then up to 5 times more until all phrases peak at
    `reached` inside their boxes, or until what is left is small. The step size is `scale` times the release's, on the
    plain gradient. `weight` and `self_weight` are those of the two losses; 0 leaves one out. The release draws on
    GLIGEN, which is the method `refocus+gligen`, and has a third loss there, on how GLIGEN's own layers look at the
    phrases; that one is not here. It compares with `reached` before its last move, this after it.
    """

    scale: float = 1.0
    weight: float = 1.0
    self_weight: float = 1.0
    reached: float = 0.2
    layers: str = "near16"

    def __post_init__(self) -> None:
        check_range("scale", self.scale, 0)
        check_range("weight", self.weight, 0)
        check_range("self_weight", self.self_weight, 0)
        check_range("reached", self.reached, 0, 1)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        refuse("refocus", condition.model.facts().refused)
        rounds = refocused(level, self.scale)
        if not rounds:
            return denoise(x, level, condition)
        always, more = rounds
        energy = Misplaced(self.layers, (), self.weight, self.self_weight, level.progress < EARLY)
        rest = Push(((replace(energy, reached=self.reached), 1.0),), lambda _: (more,))
        return Push(((energy, 1.0),), lambda _: (always,))(partial(rest, denoise), x, level, condition)


def refocused(level: Level, scale: float) -> tuple[Round, ...]:
    """The release's schedule: the first move of a step and the further ones; empty where x_t is left alone."""
    late = level.progress >= DENSE
    if scale == 0 or (late and all(round(at * level.count) != level.index for at in SPARSE)):
        return ()
    rate, most = next((rate, most) for until, rate, most in STAGES if level.progress < until)
    target = 0.0 if late else TARGET / rate
    return Round(scale * rate), Round(scale * rate, most - 1, target)
