"""Paint-with-Words (eDiff-I, Balaji et al. 2022, arXiv 2211.01324): a bias on attention logits inside
painted regions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from scenewright.attention import Taps
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.errors import UserError
from scenewright.guidance.gradient import check_range, chosen_layers
from scenewright.schedule import Level

# (level, scaled logits (N, heads, pixels, tokens)) -> what the weight is multiplied by, broadcasting to the logits.
# Scaled and unscaled logits give the same attention here, because max and std scale with them.
RULES: dict[str, Callable[[Level, Tensor], Tensor | float]] = {
    "max": lambda level, logits: math.log1p(level.ratio) * logits.amax((1, 2, 3), keepdim=True),
    "std": lambda level, logits: math.log1p(level.ratio**2) * logits.std((1, 2, 3), keepdim=True),
    "sigma": lambda level, logits: level.sigma,
}
# The defaults of the public SD code (cloneofsimo/paint-with-words-sd) for max and std, of ZestGuide's code for sigma.
PUBLISHED_WEIGHTS = {"max": 0.1, "std": 0.4, "sigma": 5.0}


@dataclass(frozen=True)
class PaintWithWords:
    """softmax((Q K^T + w' log(1 + sigma_t) max(Q K^T) M) / sqrt(d)), M the masks of the phrases; the conditional half
    only.

    sigma_t is sigma / alpha; the maximum is taken per picture and layer over heads, cells and tokens. Each segment's
    mask is multiplied by its `strength`. `rule` "max" is the paper's, "std" the alternative of the public SD code (w'
    ln(1 + sigma_t^2) std(Q K^T)), "sigma" that of ZestGuide's code (w' sqrt(1 - alpha_bar), not scaled by the
    logits). `weight` is w'; None takes the published one of the rule. `painted` names the layers edited. Put it
    innermost.
    """

    weight: float | None = None
    rule: str = "max"
    painted: str = "all"

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UserError(f"rule '{self.rule}' is not known; choose from {', '.join(RULES)}.")
        if self.weight is not None:
            check_range("weight", self.weight, 0)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        weight = PUBLISHED_WEIGHTS[self.rule] if self.weight is None else self.weight
        if weight == 0 or not condition.present.any():
            return denoise(x, level, condition)
        latent = (x.shape[-2], x.shape[-1])
        grids = {layer.name: layer.grid(latent) for layer in chosen_layers(condition, self.painted)}

        def edit(name: str, logits: Tensor) -> Tensor:
            if name not in grids:
                return logits.new_zeros(1, 1, 1, 1)
            return weight * RULES[self.rule](level, logits) * _painted(condition, grids[name]).to(logits)

        return denoise(x, level, condition.tapped((condition.taps or Taps()).also(edit=edit)))


def _painted(condition: Condition, grid: tuple[int, int]) -> Tensor:
    """M: strength of the phrase painted in each cell, for each token, (N, 1, cells, T)."""

    def paint() -> Tensor:
        masks = condition.masks_at(grid).flatten(-2) * condition.strengths[..., None]
        return (masks.transpose(-1, -2) @ condition.groups)[:, None]

    return condition.once(("paint", grid), condition.groups, paint)
