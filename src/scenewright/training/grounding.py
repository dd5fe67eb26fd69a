"""Grounding: a phrase's attention is asked to lie where its segment lies (TokenCompose, Wang et al. 2024, eq. 4).

The world knows every segment exactly, so the model is told which cells a word belongs to and learns sooner what the
words mean. It is used in training only and adds no weights.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MOST = 8  # phrases of a scene: five objects, ground, mountain, backdrop


class PlainAttention:
    """Attention with explicit probabilities; cross-attention appends its head average to `seen`, if a list is given,
    and self-attention to `own`.

    Plain, not fused, because on CPUs its backward is the faster of the two at 256 tokens.
    """

    def __call__(  # noqa: ANN204 - the convention of diffusers
        self,
        attn,  # noqa: ANN001
        hidden_states,  # noqa: ANN001
        encoder_hidden_states=None,  # noqa: ANN001
        attention_mask=None,  # noqa: ANN001
        temb=None,  # noqa: ANN001
        seen=None,  # noqa: ANN001
        own=None,  # noqa: ANN001
    ):
        states = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(states), attn.to_v(states)
        query, key, value = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
        shares = (attn.scale * (query @ key.transpose(-1, -2))).softmax(-1)
        kept = own if encoder_hidden_states is None else seen
        if kept is not None:
            kept.append(shares.mean(1))
        mixed = (shares.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](mixed))


def cell_masks(classes: np.ndarray, instances: np.ndarray, words: Sequence[dict], side: int = 16) -> np.ndarray:
    """(N, MOST, side, side) uint8: how much of each cell (of 255) each phrase of a cached scene covers.

    Phrases that read the same ("a dog and a dog") share their cells.
    """
    out = np.zeros((len(words), MOST, side, side), np.uint8)
    height, width = classes.shape[1:]
    for row, scene in enumerate(words):
        own: dict[str, np.ndarray] = {}
        for phrase in scene["phrases"]:
            region = instances[row] == phrase["instance"]
            if not phrase["instance"]:
                region &= classes[row] == phrase["class_id"]
            own[phrase["text"]] = own.get(phrase["text"], False) | region
        for k, phrase in enumerate(scene["phrases"][:MOST]):
            region = own[phrase["text"]]
            out[row, k] = 255 * region.reshape(side, height // side, side, width // side).mean((1, 3))
    return out


def phrase_tokens(ids: Sequence[int], phrases: Sequence[Sequence[int]]) -> np.ndarray:
    """(MOST, T) float32: 1 at the tokens of each phrase, found word for word in the caption `ids`.

    Longer phrases claim their tokens first ("dog" does not claim that of "black dog"); a phrase the caption does not
    hold, because it says a synonym, gets none.
    """
    found = np.zeros((MOST, len(ids)), np.float32)
    free = np.ones(len(ids), bool)
    for text in sorted({tuple(phrase) for phrase in phrases}, key=len, reverse=True):
        places = [i for i in range(len(ids) - len(text) + 1) if tuple(ids[i : i + len(text)]) == text]
        claimed = {j for i in places for j in range(i, i + len(text)) if free[i : i + len(text)].all()}
        for k, phrase in enumerate(phrases[:MOST]):
            if tuple(phrase) == text:
                found[k, list(claimed)] = 1
        free[list(claimed)] = False
    return found


def outside_share(seen: Sequence[Tensor], groups: Tensor, masks: Tensor) -> Tensor:
    """Mean over layers and phrases of (1 - share of the phrase's attention that falls inside its mask)^2.

    `seen` holds (N, cells, T) attention of each layer on square grids, `groups` (N, MOST, T) tokens, `masks`
    (N, MOST, side, side) in [0, 1]. Phrases without tokens or without cells do not count.
    """
    present = (groups.sum(-1) > 0) & (masks.sum((-2, -1)) > 0)
    losses = []
    for shares in seen:
        side = round(shares.shape[1] ** 0.5)
        cells = F.adaptive_avg_pool2d(masks, side).flatten(2)
        maps = groups @ shares.float().transpose(-1, -2)
        inside = (maps * cells).sum(-1) / maps.sum(-1).clamp_min(1e-6)
        losses.append(((1 - inside).square() * present).sum() / present.sum().clamp_min(1))
    return torch.stack(losses).mean()
