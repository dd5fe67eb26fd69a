"""Methods that know boxes rather than masks: BoxDiff and layout-guidance. Boxes are those around the masks."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from scenewright.attention import Taps
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.families import refuse
from scenewright.guidance.attend import excited, sharp_maps
from scenewright.guidance.gradient import check_range, chosen_layers
from scenewright.guidance.push import Push, Round
from scenewright.schedule import Level


def boxes_at(condition: Condition, grid: tuple[int, int]) -> Tensor:
    """The box around each segment as cells, (N, K, rows, columns) of 0 and 1; at least one cell where there is a mask.

    A cell is in when the box covers half of it, or as much of it as of any other.
    """

    def draw() -> Tensor:
        inside = condition.masks > 0.5
        box = (inside.any(-1)[..., None] & inside.any(-2)[..., None, :]).to(condition.masks)
        shares = F.adaptive_avg_pool2d(box, grid)
        most = shares.amax((-2, -1), keepdim=True).clamp(1e-6, 0.5)
        return (shares >= most).to(condition.masks)

    if not condition.masks.shape[1]:
        return condition.masks.new_zeros(*condition.masks.shape[:2], *grid)
    return condition.once(("boxes", grid), condition.masks, draw)


@dataclass(frozen=True)
class BoxShares:
    """Energy: mean over heads, layers, tokens and segments of (1 - share of a token's attention that lies inside its
    box)^2 (Chen, Laina & Vedaldi, WACV 2024, arXiv 2304.03373, eq. 4).

    Heads stay apart. `layers` are the release's: the middle and the first block of the decoder, 8 and 16 cells a side.
    """

    layers: str = "mid+decoder&near16"
    absent: tuple[str, ...] = ()

    def __call__(self, prediction: Prediction, taps: Taps, condition: Condition) -> Tensor:
        """Energy (N,) in [0, 1]."""
        latent = (prediction.x0.shape[-2], prediction.x0.shape[-1])
        tokens = condition.groups.shape[-1]
        terms = []
        for layer in chosen_layers(condition, self.layers):
            maps = taps.logits(layer.name)[..., :tokens].softmax(-1)  # (N, heads, cells, T)
            boxes = boxes_at(condition, layer.grid(latent)).flatten(2).to(maps)
            inside = torch.einsum("nhct,nkc->nhkt", maps, boxes) / maps.sum(2)[:, :, None].clamp_min(1e-8)
            terms.append((1 - inside).square().mean(1))
        groups = (condition.groups * condition.present[..., None]).to(terms[0])
        per_segment = (torch.stack(terms).mean(0) * groups).sum(-1) / groups.sum(-1).clamp_min(1)
        return per_segment.sum(1) / condition.present.sum(1).clamp_min(1)


@dataclass(frozen=True)
class LayoutGuidance:
    """Backward layout-guidance (ibid., section 3.3): in the first `fraction` of the run x_t moves up to `iterations`
    times a step, until the energy is at most `target`.

    Defaults are the release's: 10 of 51 steps, 5 iterations, scale 30. Its step is scale * (sigma / alpha)^2 in the
    variable x_t / alpha, which is scale * sigma^2 here. The release stops for good the first time that the target is
    met; the paper does not, and neither does this. Forward guidance is not in the release and not here.
    """

    scale: float = 30.0
    fraction: float = 0.2
    iterations: int = 5
    target: float = 0.2
    layers: str = "mid+decoder&near16"

    def __post_init__(self) -> None:
        for name, most in (("scale", float("inf")), ("fraction", 1), ("iterations", float("inf")), ("target", 1)):
            check_range(name, getattr(self, name), 0, most)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        refuse("layout-guidance", condition.model.facts().refused)
        return Push(((BoxShares(self.layers), 1.0),), self._rounds)(denoise, x, level, condition)

    def _rounds(self, level: Level) -> tuple[Round, ...]:
        if level.progress >= self.fraction or self.scale == 0:
            return ()
        return (Round(self.scale * level.sigma**2, self.iterations, self.target),)


@dataclass(frozen=True)
class BoxConstraints:
    """Energy: sum over segments of 1 - mean of the highest inside cells, the mean of the highest outside cells, and how
    far the map's projections are from the box's near its corners (BoxDiff, Xie et al., ICCV 2023, arXiv 2307.10816,
    eq. 4 to 8), on Attend-and-Excite's maps.

    `share` of the cells inside and outside is looked at (P), and `reach` cells to either side of a corner (L).
    """

    layers: str = "near16"
    absent: tuple[str, ...] = ()
    share: float = 0.2
    reach: int = 1

    def __call__(self, prediction: Prediction, taps: Taps, condition: Condition) -> Tensor:
        """Energy (N,)."""
        latent = (prediction.x0.shape[-2], prediction.x0.shape[-1])
        maps = sharp_maps(taps, condition, self.layers, latent)
        boxes = boxes_at(condition, (maps.shape[-2], maps.shape[-1])).to(maps)
        inner = (1 - _highest(maps, boxes, self.share)).clamp_min(0)
        outer = _highest(maps, 1 - boxes, self.share)
        corner = sum(_projected(maps, boxes, axis, self.reach) for axis in (-2, -1))
        return ((inner + outer + corner) * condition.present.to(maps)).sum(1)


@dataclass(frozen=True)
class BoxDiff:
    """BoxDiff: Attend-and-Excite's pushes on `BoxConstraints`, without its refinement as the release's demo runs it.

    `iterations` over 0 refines on the same energy (the release: on its inner term alone).
    """

    scale: float = 20.0
    fraction: float = 0.5
    iterations: int = 0
    share: float = 0.2
    reach: int = 1
    layers: str = "near16"

    def __post_init__(self) -> None:
        check_range("scale", self.scale, 0)
        check_range("fraction", self.fraction, 0, 1)
        check_range("iterations", self.iterations, 0)
        check_range("share", self.share, 0, 1)
        check_range("reach", self.reach, 0)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        refuse("boxdiff", condition.model.facts().refused)
        energy = BoxConstraints(self.layers, (), self.share, self.reach)
        return Push(((energy, 1.0),), self._rounds)(denoise, x, level, condition)

    def _rounds(self, level: Level) -> tuple[Round, ...]:
        return excited(level, self.scale, self.fraction, self.iterations)


def _highest(maps: Tensor, where: Tensor, share: float) -> Tensor:
    """(N, K) mean of the highest `share` of the cells of `maps` that `where` (0 or 1) holds; 0 where it holds none."""
    count = where.sum((-2, -1))
    taken = (share * count).floor().clamp_min(1).minimum(count)
    ranked = maps.masked_fill(where == 0, -1.0).flatten(2).sort(-1, descending=True).values
    first = torch.arange(ranked.shape[-1], device=maps.device) < taken[..., None]
    return (ranked * first).sum(-1) / taken.clamp_min(1)


def _projected(maps: Tensor, boxes: Tensor, axis: int, reach: int) -> Tensor:
    """(N, K) mean distance of the two projections (maxima along `axis`), over cells within `reach` of a box's edge."""
    ours, theirs = maps.amax(axis), boxes.amax(axis)
    edges = torch.diff(theirs, prepend=torch.zeros_like(theirs[..., :1]), append=torch.zeros_like(theirs[..., :1]))
    first, last = (edges[..., :-1] > 0).to(maps), (edges[..., 1:] < 0).to(maps)
    near = F.max_pool1d(torch.maximum(first, last), 2 * reach + 1, 1, reach)
    return ((ours - theirs).abs() * near).sum(-1) / near.sum(-1).clamp_min(1)
