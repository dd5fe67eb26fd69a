"""ZestGuide (Couairon et al., ICCV 2023, arXiv 2306.13754): cross-attention read as a segmentation, descended towards
the masks.
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from scenewright.attention import Layer, Taps
from scenewright.denoiser import Condition, Denoise, Prediction
from scenewright.errors import UserError
from scenewright.guidance.gradient import Descend, absent_words, check_range, chosen_layers
from scenewright.schedule import Level

GRANULARITIES = ("global", "layer", "head")


@dataclass(frozen=True)
class AttentionLoss:
    """Energy: strength-weighted sum over segments of BCE(S_i, mask) + BCE(S_i / max S_i, mask), S_i the attention of
    the phrase's tokens.

    layers: which attention layers (see `attention.select`); "published" is 16 and 32 cells a side, the best row of
        the paper's ablation. The release takes "encoder&res16+decoder&res16+decoder&res32". granularity: "global"
        averages maps over heads and layers before the loss (the paper's choice), "layer" and "head" take one loss per
        layer or per head and average the losses; both compare at the layer's own resolution. loss: "bce+max" (the
        paper), "bce" or "max" alone, or "release": the released `bce_loss2` with scaler 10, ls 0.1, averaged over
        segments. resize: "maps" upsamples maps to the finest grid (the paper), "logits" upsamples logits before the
        softmax (the release). Global only. absent: words that should not be in the picture compete in the softmax;
        words that a scene's prompt contains are left out for that scene. The release uses all absent COCO classes.
        biased: read the attention after the edits of the same call (Paint-with-Words) instead of before them.
        temperature: divides the logits. best: average only so many of all heads' maps, for each segment those with the
        widest range, 99th percentile times (1 - 1st percentile) over the cells, as the release for SDXL does (20);
        None averages all. Global only.
    """

    layers: str = "published"
    granularity: str = "global"
    loss: str = "bce+max"
    resize: str = "maps"
    absent: tuple[str, ...] = ()
    biased: bool = False
    temperature: float = 1.0
    best: int | None = None

    def __post_init__(self) -> None:
        if self.best is not None:
            check_range("best", self.best, 1)
        _check_choice("granularity", self.granularity, GRANULARITIES)
        _check_choice("loss", self.loss, tuple(_LOSSES))
        _check_choice("resize", self.resize, ("maps", "logits"))
        check_range("temperature", self.temperature, 1e-3)

    def __call__(self, prediction: Prediction, taps: Taps, condition: Condition) -> Tensor:
        """Energy (N,); only rows with segments may be passed."""
        layers = chosen_layers(condition, self.layers)
        latent = (prediction.x0.shape[-2], prediction.x0.shape[-1])
        if self.granularity == "global":
            finest = max(layer.grid(latent) for layer in layers)
            maps = [self._maps(taps, layer, condition, latent, finest) for layer in layers]
            if self.best is not None:
                return self._energy(_widest(torch.cat(maps, 1), self.best), condition, finest)
            return self._energy(torch.stack([own.mean(1) for own in maps]).mean(0), condition, finest)
        energies = []
        for layer in layers:
            grid = layer.grid(latent)
            maps = self._maps(taps, layer, condition, latent, grid)
            maps = maps.mean(1, keepdim=True) if self.granularity == "layer" else maps
            energies += [self._energy(maps[:, head], condition, grid) for head in range(maps.shape[1])]
        return torch.stack(energies).mean(0)

    def _maps(
        self, taps: Taps, layer: Layer, condition: Condition, latent: tuple[int, int], size: tuple[int, int]
    ) -> Tensor:
        """Share of attention of each segment's phrase, (N, heads, K, rows, columns) of `size`."""
        logits = taps.logits(layer.name, self.biased) / self.temperature
        grid = layer.grid(latent)
        if logits.shape[-1] > condition.groups.shape[-1]:
            logits = logits + self._absence(condition, logits)
        if self.resize == "logits" and grid != size:
            logits = _upsampled(logits.transpose(-1, -2).unflatten(-1, grid), size).flatten(-2).transpose(-1, -2)
            grid = size
        shares = logits.softmax(-1)[..., : condition.groups.shape[-1]]
        maps = shares @ condition.groups[:, None].to(shares).transpose(-1, -2)
        maps = maps.transpose(-1, -2).unflatten(-1, grid)
        return maps if grid == size else _upsampled(maps, size)

    def _absence(self, condition: Condition, logits: Tensor) -> Tensor:
        """-inf for extra keys of other energies' words and of words that the row's prompt contains, (N, 1, 1, T +
        M).
        """
        words, counts = absent_words(condition, self.absent)
        keep = [[word.lower() not in prompt.lower() for word in words] for prompt in condition.prompts]
        allowed = torch.tensor(keep, device=logits.device).repeat_interleave(
            torch.tensor(counts, device=logits.device), 1
        )
        tokens = condition.groups.shape[-1]
        if allowed.shape[1] != logits.shape[-1] - tokens:
            raise UserError("energies that are summed must name the same absent words.")
        penalty = torch.zeros(len(condition), tokens + allowed.shape[1], device=logits.device, dtype=logits.dtype)
        penalty[:, tokens:].masked_fill_(~allowed, -torch.inf)
        return penalty[:, None, None]

    def _energy(self, maps: Tensor, condition: Condition, grid: tuple[int, int]) -> Tensor:
        """Loss of maps (N, K, rows, columns) against the masks, summed over the segments with their strengths: (N,)."""
        per_segment = _LOSSES[self.loss](maps, condition.masks_at(grid).to(maps))
        return (per_segment * (condition.present * condition.strengths).to(maps)).sum(-1)


@dataclass(frozen=True)
class Zest:
    """ZestGuide as a guidance: `AttentionLoss` descended by `Descend`; wrap it in `During` for the fraction guided
    (the paper's tau, 0.5).

    `eta` 1 and `decay` "sigma" are the paper's; the release of SD 1.4 uses eta 0.3 with "sigma", that of SDXL 0.09
    with "linear". `ddim_eta` is the stochasticity of the guided steps (release of SD 1.4: 0.5). The other fields are
    those of `AttentionLoss`. `absent` may be a comma-separated string.
    """

    eta: float = 1.0
    decay: str = "sigma"
    ddim_eta: float | None = None
    layers: str = "published"
    granularity: str = "global"
    loss: str = "bce+max"
    resize: str = "maps"
    absent: tuple[str, ...] | str = field(default=())
    biased: bool = False
    temperature: float = 1.0
    best: int | None = None

    def __post_init__(self) -> None:
        _ = self.descent  # checks every field now, where the user's value enters

    @cached_property
    def energy(self) -> AttentionLoss:
        """The energy alone, to be summed with others in a `Descend`."""
        words = self.absent.split(",") if isinstance(self.absent, str) else self.absent
        absent = tuple(word.strip() for word in words if word.strip())
        return AttentionLoss(
            self.layers, self.granularity, self.loss, self.resize, absent, self.biased, self.temperature, self.best
        )

    @cached_property
    def descent(self) -> Descend:
        """The guidance that does the work."""
        return Descend(((self.energy, 1.0),), self.eta, self.decay, self.ddim_eta)

    def __call__(self, denoise: Denoise, x: Tensor, level: Level, condition: Condition) -> Prediction:
        return self.descent(denoise, x, level, condition)


def _cross_entropy(maps: Tensor, masks: Tensor) -> Tensor:
    """Mean over cells of the binary cross-entropy, (N, K).

    The two floors differ on purpose: a phrase that gets no attention must still be pulled up, while a cell at its
    map's maximum (1 after normalisation) must not outweigh all others.
    """
    return -(masks * maps.clamp_min(1e-8).log() + (1 - masks) * (1 - maps).clamp_min(1e-3).log()).mean((-2, -1))


def _normalised(maps: Tensor) -> Tensor:
    return maps / maps.amax((-2, -1), keepdim=True).clamp_min(1e-8)


def _released(maps: Tensor, masks: Tensor) -> Tensor:
    """`bce_loss2` of the release: maps times 10, cells that are small in both map and mask get no gradient."""
    scaled = maps * 10
    plain = _silenced(scaled, (scaled <= 0.01) & (masks <= 0.01)).clamp(1e-3, 1 - 1e-3)
    relative = scaled / (scaled.amax((-2, -1), keepdim=True) + 1e-4)
    relative = _silenced(relative, (relative <= 0.1) & (masks <= 0.1)).clamp(1e-3, 1 - 1e-3)
    return sum(
        (F.binary_cross_entropy(m, masks, reduction="none").mean((-2, -1)) for m in (plain, relative)),
        maps.new_zeros(()),
    )


def _silenced(maps: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, maps.detach(), maps)


_LOSSES = {
    "bce+max": lambda maps, masks: _cross_entropy(maps, masks) + _cross_entropy(_normalised(maps), masks),
    "bce": _cross_entropy,
    "max": lambda maps, masks: _cross_entropy(_normalised(maps), masks),
    "release": _released,
}


def _widest(maps: Tensor, count: int) -> Tensor:
    """(N, K, rows, columns) mean of the `count` maps of each segment, of (N, maps, K, rows, columns), that range
    widest.
    """
    cells = maps.detach().flatten(3)
    low, high = (cells.quantile(share, -1) for share in (0.01, 0.99))
    kept = (high * (1 - low)).topk(min(count, maps.shape[1]), 1).indices[..., None, None]
    return maps.gather(1, kept.expand(-1, -1, -1, *maps.shape[-2:])).mean(1)


def _upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (N, heads, K, rows, columns)."""
    flat = F.interpolate(maps.flatten(0, 1), size=size, mode="bilinear", align_corners=False)
    return flat.unflatten(0, maps.shape[:2])


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} '{value}' is not known; choose from {', '.join(choices)}.")
