"""Reading and editing joint attention, in which image and text tokens share one softmax (SD3, Flux and their like).

The stock processor runs, whatever it is (fused projections, rotary embeddings). While it does, its one call of scaled
dot-product attention is watched through torch's own mechanism for that (`TorchFunctionMode`): there the queries and
keys are final, so one piece of code serves every architecture. A call that brings no taps is the stock processor and
nothing else.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from scenewright.attention import Taps, biased
from scenewright.errors import UserError


class Places(NamedTuple):
    """Where the image's tokens stand among the queries and the text's among the `total` keys of an attention."""

    image: slice
    text: slice
    total: int


class JointProcessor:
    """Attention processor of one layer: the `stock` one, watched when the call brings taps that concern the layer.

    Matches the calling convention of diffusers' processors. `reads` is false for layers that see no text.
    """

    def __init__(self, name: str, stock: Callable[..., Any], reads: bool = True) -> None:
        self.name = name
        self.stock = stock
        self.reads = reads

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
        taps: Taps | None = None,
        places: Places | None = None,
    ) -> Any:
        """What the stock processor returns for the same call."""
        rotary = {} if image_rotary_emb is None else {"image_rotary_emb": image_rotary_emb}
        if taps is None or places is None or not self._concerns(taps):
            return self.stock(attn, hidden_states, encoder_hidden_states, attention_mask, **rotary)
        with _Watch(self.name, taps, places) as watch:
            out = self.stock(attn, hidden_states, encoder_hidden_states, attention_mask, **rotary)
        if not watch.seen:
            raise UserError(
                "this model's attention runs on a backend that cannot be read; call reset_attention_backend() on its "
                "transformer, or use guidance 'none' or 'multidiffusion'."
            )
        return out

    def _concerns(self, taps: Taps) -> bool:
        if taps.self_edits or taps.extra is not None:
            asked = "self-attention edited apart" if taps.self_edits else "absent words to compete"
            raise UserError(f"joint attention does not allow {asked}; use another method or leave that option out.")
        return self.reads and bool(taps.edits or self.name in taps.record)


class AdaptedProcessor(torch.nn.Module):
    """Attention processor of a cross-attention layer whose `stock` one has weights of its own (an IP-Adapter's): its
    attention to text is watched, its attention to pictures left alone.
    """

    def __init__(self, name: str, stock: torch.nn.Module) -> None:
        super().__init__()
        self.name = name
        self.stock = stock

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: tuple[Tensor, Any],
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        taps: Taps | None = None,
    ) -> Tensor:
        """(N, pixels, C) -> (N, pixels, C); `encoder_hidden_states` are the text's and the pictures' states."""
        if taps is None or not (taps.edits or self.name in taps.record):
            return self.stock(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        places = Places(slice(None), slice(None), encoder_hidden_states[0].shape[1])
        if taps.extra is not None and self.name in taps.record:
            keys = attn.to_k(taps.extra.to(hidden_states.dtype))
            taps.extra_keys[self.name] = keys.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        with _Watch(self.name, taps, places) as watch:
            out = self.stock(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        assert watch.seen
        return out


class _Watch(TorchFunctionMode):
    """Records and edits the image-to-text part of the first attention over as many keys as `places` says."""

    def __init__(self, name: str, taps: Taps, places: Places) -> None:
        super().__init__()
        self.name, self.taps, self.places = name, taps, places
        self.seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every torch function called meanwhile comes through here."""
        if func is F.scaled_dot_product_attention and not self.seen:
            return self._attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """(N, heads, tokens, d) -> (N, heads, tokens, d)."""
        options = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        if key.shape[-2] != self.places.total:
            return F.scaled_dot_product_attention(query, key, value, attn_mask, **options)
        self.seen = True
        queries = query[..., self.places.image, :] * (query.shape[-1] ** -0.5 if scale is None else scale)
        keys = key[..., self.places.text, :]
        bias = biased(self.name, queries, keys, self.taps, self.taps.edits)
        if self.name in self.taps.record:
            self.taps.queries[self.name], self.taps.keys[self.name] = queries, keys
            if self.name == self.taps.ends:
                torch.set_grad_enabled(False)  # the caller's enable_grad() block restores the mode
        shape = (query.shape[-2], key.shape[-2])
        return F.scaled_dot_product_attention(query, key, value, self._whole(bias, attn_mask, shape), **options)

    def _whole(self, bias: Tensor | None, mask: Tensor | None, shape: tuple[int, int]) -> Tensor | None:
        """The bias (N, heads, pixels, T) set into one over all queries and keys, on top of the mask of the call."""
        if bias is None:
            return mask
        whole = bias.new_zeros(*bias.shape[:2], *shape)
        whole[..., self.places.image, self.places.text] = bias
        if mask is None:
            return whole
        return whole.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else whole + mask
