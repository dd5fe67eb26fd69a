"""Training a factor: adapters beside a frozen model, on latents of maps (FG-DM, arXiv 2410.21638, section 4).

Unlike the release: the adapter is told the time, a fifth of the rows has null conditions, parents are seen both clean
(ancestral sampling) and noised to just below the child's level (joint sampling), and distillation has a gradient.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scenewright.backends.adapters import TimeAdapter, fresh, residuals, times
from scenewright.graph.data import MapLatents
from scenewright.graph.losses import attention_kl, kept
from scenewright.graph.variables import CAPTION, PICTURE
from scenewright.training.diffusion import Noised, noised, scheduler
from scenewright.training.fit import Draw, Recipe
from scenewright.training.grounding import PlainAttention
from scenewright.training.words import LENGTH, said

RECIPE = Recipe(steps=6000, batch=32, rate=1e-3, warmup=100, ema=0.999, decay=0.5)
DISTIL = 0.1  # weight of the distillation, as released
EVERY = 10  # steps between distillations, as released
SOME = 8  # rows of each
CLEAN = 0.5  # share of the rows that see their parents clean
STEPS = (10, 50)  # of the runs that joint sampling is trained for: a parent is one step ahead


class Nets(nn.Module):
    """The trained part of P(variable | parents): `own` (none for a picture) and one adapter for each map."""

    def __init__(self, unet: Any, variable: str, maps: Sequence[str], widths: Sequence[int] = ()) -> None:
        super().__init__()
        self.own: TimeAdapter | None = None if variable == PICTURE else fresh(unet, widths)
        self.parents = nn.ModuleDict({name: fresh(unet) for name in maps})


class FactorLoss:
    """The terms of one step: noise loss, and attention distillation in every tenth step."""

    def __init__(
        self, nets: Nets, pipeline: Any, data: MapLatents, variable: str, maps: Sequence[str], distil: float = DISTIL
    ) -> None:
        self.nets, self.unet, self.text, self.split = nets, pipeline.unet, pipeline.text_encoder, pipeline.tokenizer
        self.data, self.variable, self.maps, self.distil = data, variable, tuple(maps), distil
        self.choice, self.bars = data.rows(variable), scheduler().alphas_cumprod
        self.unet.requires_grad_(False).set_attn_processor(PlainAttention())
        self.text.requires_grad_(False)

    def __call__(self, draw: Draw) -> dict[str, Tensor]:
        self.unet.to(draw.device)
        self.text.to(draw.device)
        rows = self.choice[draw.rng.integers(len(self.choice), size=draw.batch)]
        keep = kept(draw.rng, draw.batch, (CAPTION, *self.maps))
        texts = [said(self.data.words[r // 2], draw.rng) if keep[CAPTION][i] else "" for i, r in enumerate(rows)]
        states = self.states(texts, draw.device)
        batch = noised(self.data.z[self.variable][rows], self.bars, draw)
        features = self.features(batch, rows, keep, draw)
        out = self.unet(batch.x, batch.t, states, **residuals(self.unet, features)).sample.float()
        weights = self.data.weights[rows][:, None].to(draw.device)
        terms = {"v": (batch.weight() * weights * (out - batch.v).square()).mean()}
        if self.distil and not self.maps and self.variable != PICTURE:
            terms["distil"] = self.distil * self.distillation(batch, states, draw)
        return terms

    @torch.no_grad()
    def states(self, texts: Sequence[str], device: torch.device) -> Tensor:
        """(N, T, D) of the frozen text encoder."""
        ids = self.split(list(texts), padding="max_length", truncation=True, max_length=LENGTH)["input_ids"]
        return self.text(torch.tensor(ids, device=device))[0]

    def features(self, batch: Noised, rows: np.ndarray, keep: dict, draw: Draw) -> list:
        """(weight, answer) of every adapter; the weight of a parent is 0 in rows that lack it."""
        out: list = []
        if self.nets.own is not None:
            out.append((1.0, self.nets.own(batch.x, times(self.unet, batch.t, batch.t))))
        for name in self.maps:
            z, then = self.parent(name, rows, batch, draw)
            here = torch.from_numpy(keep[name])
            if name in self.data.present:
                here &= self.data.present[name][rows]
            answer = self.nets.parents[name](z, times(self.unet, batch.t, then))
            out.append((here.to(draw.device, torch.float32).view(-1, 1, 1, 1), answer))
        return out

    def parent(self, name: str, rows: np.ndarray, batch: Noised, draw: Draw) -> tuple[Tensor, Tensor]:
        """Latents of a parent, clean or one step of some run cleaner than the child, and their time steps."""
        z = self.data.z[name][rows].float()
        gap = (1000 / torch.from_numpy(draw.rng.integers(STEPS[0], STEPS[1] + 1, len(rows)))).long()
        then = (batch.t.cpu() - gap).clamp_min(0)
        then[torch.from_numpy(draw.rng.random(len(rows)) < CLEAN)] = 0
        bar = torch.where(then > 0, self.bars[then], torch.ones(())).view(-1, 1, 1, 1)
        z = bar.sqrt() * z + (1 - bar).sqrt() * torch.randn(z.shape, generator=draw.noise)
        return z.to(draw.device), then.to(draw.device)

    def distillation(self, batch: Noised, states: Tensor, draw: Draw) -> Tensor:
        """KL of the frozen model's attention and the adapted one's, on the same noisy map; 0 in most steps.

        Only a factor with no parent but the caption has a teacher: the model it was made from.
        """
        if draw.step % EVERY:
            return states.new_zeros(())
        some = draw.rng.permutation(len(batch.x))[:SOME]
        x, t, words = batch.x[some], batch.t[some], states[some]
        with torch.no_grad():
            known = self.watched(x, t, words, None)
        return attention_kl(known, self.watched(x, t, words, self.nets.own))

    def watched(self, x: Tensor, t: Tensor, words: Tensor, own: TimeAdapter | None) -> list[Tensor]:
        """Shares of self- and cross-attention of every layer, with an own adapter or without one."""
        seen: list[Tensor] = []
        features = [] if own is None else [(1.0, own(x, times(self.unet, t, t)))]
        watch = {"seen": seen, "own": seen}
        self.unet(x, t, words, cross_attention_kwargs=watch, **residuals(self.unet, features))
        return seen
