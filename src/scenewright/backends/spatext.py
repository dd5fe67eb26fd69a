"""SpaText (Avrahami et al., CVPR 2023, arXiv 2211.14305): a denoiser that is shown, beside the noisy latents, a map in
which each segment is filled with the image embedding that its text would have.

A folder of weights holds `config.json`, the text tower of the CLIP whose embeddings these are (`text`, with its
tokenizer), the prior from text to image embedding, and the tensors in which the U-Net differs from the one it grew out
of.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, PreTrainedTokenizerFast

from scenewright.denoiser import Condition
from scenewright.errors import UserError

WEIGHTS = {"embedded": Path(__file__).parent.parent / "models" / "spatext"}
METHODS = frozenset({"spatext", "spatext-multi"})
_STEPS = 16  # of the prior's sampler


def there(model: str) -> bool:
    """Whether weights for the model of that name are installed."""
    return model in WEIGHTS and WEIGHTS[model].is_dir()


class Prior(nn.Module):
    """From the CLIP embedding of a text to that of a picture of it: a diffusion prior (Ramesh et al. 2022, arXiv
    2204.06125, section 2.2), here a perceptron, because there is a single vector to denoise.

    Embeddings (N, D) have length sqrt(D), so that their numbers are about 1.
    """

    def __init__(self, size: int, width: int = 256) -> None:
        super().__init__()
        self.size = size
        self.layers = nn.Sequential(
            nn.Linear(2 * size + 2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, size)
        )

    def forward(self, noisy: Tensor, angle: Tensor, text: Tensor) -> Tensor:
        """The embedding (N, D) behind `noisy` = cos(angle) * it + sin(angle) * noise, `angle` (N,) in [0, pi/2]."""
        return self.layers(torch.cat([noisy, text, angle.cos()[:, None], angle.sin()[:, None]], 1))

    @torch.no_grad()
    def draw(self, text: Tensor, noise: Tensor) -> Tensor:
        """Image embeddings (N, D) of text embeddings (N, D), by DDIM from `noise` (N, D)."""
        x, angles = noise, torch.linspace(torch.pi / 2, 0, _STEPS + 1, device=text.device)
        for angle, following in zip(angles[:-1], angles[1:], strict=True):
            clean = self(x, angle.expand(len(x)), text)
            rest = (x - angle.cos() * clean) / angle.sin()
            x = following.cos() * clean + following.sin() * rest
        return sized(x)


def sized(embeddings: Tensor) -> Tensor:
    """Embeddings (..., D) of length sqrt(D)."""
    return F.normalize(embeddings, dim=-1) * embeddings.shape[-1] ** 0.5


@dataclass(frozen=True, eq=False)
class SpaTextNetwork:
    """The U-Net with its wider first layer, and all that it takes to fill a map."""

    unet: Any
    text: CLIPTextModelWithProjection
    tokenizer: PreTrainedTokenizerFast
    prior: Prior

    def map(self, condition: Condition, grid: tuple[int, int]) -> Tensor:
        """The map (N, D, rows, columns) of a condition: where segments overlap, their mean; 0 where there are none.

        The prior's noise comes from the seed of the picture and the number of the segment, so pictures do not depend
        on their neighbours.
        """

        def fill() -> Tensor:
            shares = condition.masks_at(grid) * (condition.present * condition.strengths)[..., None, None]
            filled = shares.new_zeros(len(condition), self.prior.size, *grid)
            for row, texts in enumerate(condition.texts):
                if texts:
                    vectors = self.embeddings(texts, condition.seeds[row] if len(condition.seeds) > row else 0)
                    filled[row] = torch.einsum("khw,kd->dhw", shares[row, : len(texts)], vectors.to(shares))
            return filled / shares.sum(1, keepdim=True).clamp_min(1)

        return condition.once(("spatext", id(self), grid, condition.texts, condition.seeds), condition.masks, fill)

    @torch.no_grad()
    def embeddings(self, texts: Sequence[str], seed: int) -> Tensor:
        """Image embeddings (K, D) that texts would have."""
        tokens = self.tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
        place = self.text.device
        ids, mask = tokens["input_ids"].to(place), tokens["attention_mask"].to(place)
        said = sized(self.text(input_ids=ids, attention_mask=mask).text_embeds)
        drawn = [
            torch.randn(self.prior.size, generator=torch.Generator().manual_seed(1000 * (seed % 2**40) + k))
            for k in range(len(texts))
        ]
        return self.prior.draw(said, torch.stack(drawn).to(place))


def widened(unet: Any, extra: int) -> Any:
    """A copy of a U-Net whose first layer reads `extra` more channels, with weights of zero: it answers as before."""
    copy = deepcopy(unet)
    old = copy.conv_in
    copy.conv_in = nn.Conv2d(old.in_channels + extra, old.out_channels, old.kernel_size, padding=old.padding)
    copy.conv_in.to(old.weight).bias = old.bias
    with torch.no_grad():
        copy.conv_in.weight.zero_()[:, : old.in_channels] = old.weight
    return copy


@cache
def _read(folder: Path) -> tuple[dict[str, Any], Any, Any, Prior, dict[str, Tensor]]:
    """The files of a folder; raises UserError if they cannot be read."""
    try:
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        text = CLIPTextModelWithProjection.from_pretrained(folder / "text", use_safetensors=True, local_files_only=True)
        words = PreTrainedTokenizerFast.from_pretrained(folder / "text", local_files_only=True)
        prior = Prior(facts["embedding"])
        prior.load_state_dict(load_file(folder / "prior.safetensors"))
        changed = load_file(folder / "unet.safetensors")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"there are no SpaText weights in {folder} that can be read ({type(error).__name__}); train some with "
            "`scenewright train spatext`, or name another folder with spatext.weights."
        ) from error
    return facts, text.float().eval().requires_grad_(False), words, prior.eval().requires_grad_(False), changed


@lru_cache(maxsize=4)
def opened(source: str, unet: Any) -> SpaTextNetwork:
    """The network called `source` (a name in WEIGHTS or a folder) that grew out of `unet`.

    Raises UserError if the weights cannot be read or belong to another U-Net.
    """
    folder = WEIGHTS.get(source, Path(source))
    facts, text, words, prior, changed = _read(folder)
    wide = widened(unet, facts["embedding"])
    shapes = {name: value.shape for name, value in wide.state_dict().items()}
    if any(shapes.get(name) != value.shape for name, value in changed.items()):
        raise UserError(f"the SpaText weights in {folder} belong to another model; train some for this one.")
    wide.load_state_dict(changed, strict=False)
    wide.requires_grad_(False).eval()
    return SpaTextNetwork(wide, text.to(unet.device), words, deepcopy(prior).to(unet.device))
