"""Reading and editing attention: one processor per layer, told what to do by each call.

Nothing here is global and nothing has to be undone: what to record or edit travels with the call as
`cross_attention_kwargs={"taps": taps}`, and without it the stock processor runs.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scenewright.errors import UserError

# (layer name, scaled logits (N, heads, pixels, tokens or pixels)) -> bias that broadcasts to the logits
Edit = Callable[[str, Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """A cross-attention layer: its module name, its `part` (encoder, mid, decoder) and its place in the pyramid.

    `halvings` counts how often the latent was halved before it; `side` is its grid's cells along a side at the
    model's native size. The parts of a transformer are "double" (image and text have weights of their own) and
    "single"; there `layout` marks the layers that the family's table says show layout. `itself` names the
    self-attention layer that runs just before it on the same grid, "" if there is none.
    """

    name: str
    part: str
    halvings: int
    side: int
    layout: bool = False
    itself: str = ""

    def grid(self, latent: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the attention grid for a latent of (height, width) cells."""
        height, width = latent
        for _ in range(self.halvings):
            height, width = -(-height // 2), -(-width // 2)
        return height, width


@dataclass(eq=False)
class Taps:
    """What one denoiser call records and edits; `replace`d copies share the same recordings.

    `record` names the layers whose queries (N, heads, pixels, d) and keys (N, heads, tokens, d) are kept; queries are
    already multiplied by the layer's 1/sqrt(d). A self-attention layer's keys are those of its pixels. `extra`
    (N, M, D) are text states whose keys are recorded beside the prompt's (never attended to). `ends` names the layer
    after which no autograd graph is built. `edits` are of cross-attention, `self_edits` of self-attention.
    """

    record: frozenset[str] = frozenset()
    edits: tuple[Edit, ...] = ()
    self_edits: tuple[Edit, ...] = ()
    ends: str | None = None
    extra: Tensor | None = None
    queries: dict[str, Tensor] = field(default_factory=dict)
    keys: dict[str, Tensor] = field(default_factory=dict)
    extra_keys: dict[str, Tensor] = field(default_factory=dict)
    biases: dict[str, Tensor] = field(default_factory=dict)

    def also(
        self, record: frozenset[str] = frozenset(), edit: Edit | None = None, self_edit: Edit | None = None
    ) -> "Taps":
        """A copy that records and edits more, into the same store."""
        return replace(
            self,
            record=self.record | record,
            edits=self.edits if edit is None else (*self.edits, edit),
            self_edits=self.self_edits if self_edit is None else (*self.self_edits, self_edit),
        )

    def logits(self, name: str, biased: bool = False) -> Tensor:
        """Scaled attention logits of a recorded layer, (N, heads, pixels, tokens [+ M extra]), float32 or wider.

        With `biased` the edits of the call are added, which gives the attention that was really used.
        """
        queries = _wide(self.queries[name])
        logits = queries @ _wide(self.keys[name]).transpose(-1, -2)
        if biased and name in self.biases:
            logits = logits + _wide(self.biases[name])
        if name in self.extra_keys:
            logits = torch.cat([logits, queries @ _wide(self.extra_keys[name]).transpose(-1, -2)], dim=-1)
        return logits


class AttendProcessor:
    """Attention processor of one layer: the `stock` processor, unless the call brings taps that concern the layer.

    Matches the calling convention of diffusers' `Attention.processor`.
    """

    def __init__(self, name: str, stock: Callable[..., Tensor]) -> None:
        self.name = name
        self.stock = stock

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        taps: Taps | None = None,
    ) -> Tensor:
        """(N, pixels, C) -> (N, pixels, C)."""
        itself = encoder_hidden_states is None
        if taps is None or not (self.name in taps.record or (taps.self_edits if itself else taps.edits)):
            return self.stock(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        return self._tapped(attn, hidden_states, hidden_states if itself else encoder_hidden_states, taps, itself)

    def _tapped(self, attn: Any, hidden: Tensor, text: Tensor, taps: Taps, itself: bool) -> Tensor:
        if attn.norm_cross and not itself:
            text = attn.norm_encoder_hidden_states(text)
        queries = _split(attn.to_q(hidden), attn.heads) * attn.scale
        keys, values = _split(attn.to_k(text), attn.heads), _split(attn.to_v(text), attn.heads)
        bias = biased(self.name, queries, keys, taps, taps.self_edits if itself else taps.edits)
        if self.name in taps.record:
            taps.queries[self.name], taps.keys[self.name] = queries, keys
            if taps.extra is not None and not itself:
                taps.extra_keys[self.name] = _split(attn.to_k(taps.extra.to(keys.dtype)), attn.heads)
            if self.name == taps.ends:
                # The caller's enable_grad() block restores the mode; from here on eps is computed without a graph.
                torch.set_grad_enabled(False)
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, scale=1.0)
        out = attn.to_out[0](out.transpose(1, 2).flatten(2))
        out = attn.to_out[1](out)
        if attn.residual_connection:
            out = out + hidden
        return out / attn.rescale_output_factor


def biased(name: str, queries: Tensor, keys: Tensor, taps: Taps, edits: tuple[Edit, ...]) -> Tensor | None:
    """The sum of the edits of a layer's logits, (N or 1, heads or 1, pixels, tokens); None if there are none.

    `queries` are already scaled. The sum is kept beside the recordings of a layer that is recorded.
    """
    if not edits:
        return None
    with torch.no_grad():  # an edit is a constant to the gradient, as in the published forms
        logits = _wide(queries) @ _wide(keys).transpose(-1, -2)
        bias = sum((edit(name, logits) for edit in edits), torch.zeros((), device=logits.device))
        bias = bias.to(queries.dtype)
        if name in taps.record:
            taps.biases[name] = bias
        # Fused kernels want the mask's last two axes whole; the first two may broadcast.
        return bias.expand(bias.shape[0], bias.shape[1], *logits.shape[-2:])


def select(layers: Sequence[Layer], choice: str) -> tuple[Layer, ...]:
    """Layers named by `choice`, in execution order.

    `choice` is a union of terms joined by "+", each an intersection joined by "&", of "all", "encoder", "mid",
    "decoder" and "resN" (N cells along the side at the model's native size, so "res16" is the same layer for a larger
    picture); for example "encoder&res16+decoder". "nearN" is the resN that the model has nearest to N, by
    ratio. Or it is "published": ZestGuide's choice, 16 and 32 cells in encoder and decoder, as far as the model has
    them, else its finest ones; in a transformer the layers marked `layout`.
    Raises UserError when a term is unknown or matches nothing.
    """
    sides = {layer.side for layer in layers}
    if choice == "published" and any(layer.layout for layer in layers):
        return tuple(layer for layer in layers if layer.layout)
    if choice == "published":
        wanted = sides & {16, 32} or {max(sides, default=0)}
        return tuple(layer for layer in layers if layer.side in wanted and layer.part != "mid")
    if sides:
        choice = re.sub(r"near(\d+)", lambda found: f"res{_nearest(sides, int(found[1]))}", choice)
    terms = {term: [layer for layer in layers if _matches(layer, term)] for term in choice.split("+")}
    for term, found in terms.items():
        if not found:
            words = ["all", *dict.fromkeys(layer.part for layer in layers), *(f"res{side}" for side in sorted(sides))]
            raise UserError(f"no attention layer matches '{term.strip()}'; this model has {', '.join(words)}.")
    return tuple(layer for layer in layers if any(layer in found for found in terms.values()))


def segment_maps(
    taps: Taps, names: Sequence[str], groups: Tensor, grids: Sequence[tuple[int, int]], size: tuple[int, int]
) -> Tensor:
    """Attention of each segment, averaged over heads and the named layers: (N, K, height, width) of `size`, in [0, 1].

    `groups` (N, K, T) holds 1 where a token belongs to a segment's phrase.
    """
    total = torch.zeros(())
    for name, (rows, columns) in zip(names, grids, strict=True):
        shares = taps.logits(name, biased=True).softmax(-1)[..., : groups.shape[-1]].mean(1)
        maps = (shares @ groups.to(shares).transpose(-1, -2)).transpose(-1, -2).unflatten(-1, (rows, columns))
        total = total.to(maps) + F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    return total / len(names)


def _nearest(sides: set[int], wanted: int) -> int:
    """The side whose ratio to `wanted` is nearest to 1; of two, the finer."""
    return min(sides, key=lambda side: (max(side, wanted) / max(1, min(side, wanted)), -side))


def _matches(layer: Layer, term: str) -> bool:
    return all(_has(layer, word.strip()) for word in term.split("&"))


def _has(layer: Layer, word: str) -> bool:
    if match := re.fullmatch(r"res(\d+)", word):
        return layer.side == int(match[1])
    return word in ("all", layer.part)


def _split(x: Tensor, heads: int) -> Tensor:
    """(N, length, heads * d) -> (N, heads, length, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _wide(x: Tensor) -> Tensor:
    """At least float32, whatever the network's precision."""
    return x if x.dtype == torch.float64 else x.float()
