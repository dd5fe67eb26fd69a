"""An exact denoiser: a Gaussian mixture whose score is known in closed form, the truth that samplers are tested
against.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scenewright.attention import Layer
from scenewright.backends.seeded import drawn
from scenewright.backends.unable import Unable
from scenewright.denoiser import Condition, Prediction, Text
from scenewright.errors import UserError
from scenewright.scene import Scene
from scenewright.schedule import Level, Schedule, VPSchedule

if TYPE_CHECKING:
    from scenewright.lint import ModelFacts


@dataclass(frozen=True, eq=False)
class Regression:
    """How a mean depends on P parents, cell by cell: sum_p slope_p * parent_p.

    Parents, by name, are jointly normal in each cell, with `mean` (P,) and `covariance` (P, P): what is needed to read
    them through their own noise.
    """

    slopes: Mapping[str, float]
    mean: Tensor
    covariance: Tensor

    def __call__(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """Mean (N, C, h, w) and variance (scalar) of the sum, given the condition's parents at their levels.

        A parent p_t = alpha p + sigma eps is an observation p_t / alpha of p with variance (sigma / alpha)^2; a parent
        that is absent tells nothing.
        """
        slopes = torch.tensor(list(self.slopes.values()), dtype=self.mean.dtype)
        given = [i for i, name in enumerate(self.slopes) if name in condition.parents]
        parents = [condition.parents[list(self.slopes)[i]] for i in given]
        noise = torch.tensor([parent.level.ratio**2 for parent in parents], dtype=self.mean.dtype)
        cross = self.covariance[:, given]
        gain = torch.linalg.solve(self.covariance[given][:, given] + noise.diag(), cross.T).T
        left = slopes @ (self.covariance - gain @ cross.T) @ slopes
        total = slopes @ self.mean
        for weight, mean, parent in zip(slopes @ gain, self.mean[given], parents, strict=True):
            total = total + weight * (parent.latents / max(parent.level.alpha, 1e-4) - mean)
        return total, left


@dataclass(frozen=True, eq=False)
class GaussianMixture(Unable):
    """Data distribution sum_i w_i N(mean_i, deviation_i^2 I); a caption such as "0 2" keeps only those components, ""
    keeps all.

    `means` (M, C, h, w), `deviations` and `weights` (M,). Latent cells are pixels. There is no attention to read. With
    a `regression` every mean is moved by the parents, which makes it a linear-Gaussian factor.
    """

    means: Tensor
    deviations: Tensor
    weights: Tensor
    schedule: Schedule = field(
        default_factory=lambda: VPSchedule.from_scheduler_config(
            {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
        )
    )
    layers: tuple[Layer, ...] = ()
    regression: Regression | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the means."""
        return self.means.shape[-2], self.means.shape[-1]

    def encode(self, scene: Scene, negative: str = "", size: tuple[int, int] | None = None) -> Condition:
        """Text states are the log-weights of the components the caption names, (1, 1, M)."""
        count = len(scene.segments)
        masks = [torch.as_tensor(np.array(segment.mask), dtype=self.means.dtype) for segment in scene.segments]
        return Condition(
            model=self,
            text=self.prompts([scene.caption]).states,
            empty=self.prompts([negative]).states,
            groups=torch.ones(1, count, 1),
            masks=torch.stack(masks)[None] if masks else torch.zeros(1, 0, *self.size),
            strengths=torch.tensor([[segment.strength for segment in scene.segments]]).reshape(1, count),
            present=torch.ones(1, count, dtype=torch.bool),
            texts=(tuple(segment.text for segment in scene.segments),),
            prompts=(scene.caption,),
            appended=((),),
        )

    def prompts(self, texts: Sequence[str]) -> Text:
        """(len(texts), 1, M) log-weights; raises UserError when a text names no component."""
        states = torch.full((len(texts), 1, len(self.means)), -torch.inf, dtype=self.means.dtype)
        for row, text in enumerate(texts):
            try:
                named = [int(word) for word in text.split()] or list(range(len(self.means)))
                states[row, 0, named] = self.weights[named].log()
            except (ValueError, IndexError):
                last = len(self.means) - 1
                raise UserError(f"'{text}' names no component; write numbers from 0 to {last}.") from None
        return Text(states)

    def words(self, words: Sequence[str]) -> list[Tensor]:
        """States of each word alone, (1, M) each."""
        return list(self.prompts(words).states)

    def noise(self, seeds: Sequence[int | torch.Generator], size: tuple[int, int] | None = None) -> Tensor:
        """Standard normal (N, C, h, w) of the means' dtype."""
        return drawn(seeds, tuple(self.means.shape[1:])).to(self.means.dtype)

    def denoise(self, x: Tensor, level: Level, condition: Condition) -> Prediction:
        """Exact posterior mean E[x0 | x] and the eps that belongs to it."""
        moved, unsure = self.regression(condition) if self.regression else (torch.zeros_like(x), 0.0)
        means, variances = self.means + moved.expand_as(x)[:, None], self.deviations**2 + unsure
        gap = x[:, None] - level.alpha * means
        spread = level.alpha**2 * variances + level.sigma**2
        likelihood = -0.5 * gap.flatten(2).square().sum(-1) / spread - 0.5 * gap[0, 0].numel() * spread.log()
        share = (condition.text[:, 0] + likelihood).softmax(-1)[..., None, None, None]
        gain = (level.alpha * variances / spread)[:, None, None, None]
        x0 = (share * (means + gain * gap)).sum(1)
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)

    def decode(self, latents: Tensor) -> np.ndarray:
        """The first channel as grey, [-1, 1] -> uint8 (N, h, w, 3)."""
        grey = ((latents[:, 0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return grey[..., None].expand(*grey.shape, 3).cpu().numpy()

    def pixels(self, latents: Tensor) -> Tensor:
        """The first channel as grey, (N, 3, h, w)."""
        return latents[:, :1].expand(-1, 3, -1, -1)

    def encode_image(self, images: np.ndarray) -> Tensor:
        """Mean of the colour channels, uint8 -> [-1, 1], the same in every latent channel."""
        grey = torch.as_tensor(images.mean(-1) / 127.5 - 1, dtype=self.means.dtype)
        return grey[:, None].expand(-1, self.means.shape[1], -1, -1)

    def facts(self) -> "ModelFacts":
        """Every word is fine and nothing is too small."""
        from scenewright.lint import ModelFacts

        return ModelFacts(
            cell_fraction=1 / max(self.size),
            token_limit=len(self.means),
            count_tokens=lambda text: len(text.split()),
            unknown_words=lambda text: [],
            guidance=frozenset({"none", "multidiffusion"}),
        )

    def identity(self) -> Mapping[str, str]:
        """Hash of the parameters."""
        digest = hashlib.sha256()
        for tensor in (self.means, self.deviations, self.weights):
            digest.update(tensor.numpy().tobytes())
        dtype = str(self.means.dtype).removeprefix("torch.")
        return {"name": "mixture", "sha256": digest.hexdigest(), "family": "analytic", "dtype": dtype}
