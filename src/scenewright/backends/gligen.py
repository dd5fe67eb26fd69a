"""What a GLIGEN network (Li et al., CVPR 2023, arXiv 2301.07093) is told: a box and an embedding for each phrase."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scenewright.denoiser import Condition
from scenewright.errors import UserError

_MOST = 30  # places for phrases, as in training and in diffusers; the empty ones hold a learnt vector


def grounds(unet: Any) -> bool:
    """Whether the U-Net takes boxes with phrases."""
    return unet.config.get("attention_type") == "gated" and hasattr(unet, "position_net")


def check(unet: Any) -> None:
    """Raise UserError for a GLIGEN network that fills in a given picture instead of drawing a new one."""
    if grounds(unet) and unet.config.in_channels != unet.config.out_channels:
        raise UserError(
            "this GLIGEN model fills in a given picture; use the GLIGEN model that draws from text and boxes."
        )


def grounding(pipeline: Any, condition: Condition) -> dict[str, Tensor]:
    """The arguments of the network's `position_net`: boxes (N, 30, 4), phrase embeddings (N, 30, D), masks (N, 30).

    Boxes are (left, top, right, bottom) in [0, 1]. Rows without segments get empty places only, which is what GLIGEN's
    unconditional half gets. Raises UserError for more than 30 segments.
    """
    return condition.once("gligen", condition.masks, lambda: _told(pipeline, condition))


@torch.no_grad()
def _told(pipeline: Any, condition: Condition) -> dict[str, Tensor]:
    rows, count = condition.present.shape
    if count > _MOST:
        raise UserError(f"GLIGEN takes {_MOST} segments at most, and a scene has {count}; remove or join some.")
    inside = condition.masks > 0.5
    drawn = condition.present & inside.flatten(2).any(-1)
    told = {
        "boxes": torch.zeros(rows, _MOST, 4),
        "positive_embeddings": torch.zeros(rows, _MOST, pipeline.unet.position_net.positive_len),
        "masks": torch.zeros(rows, _MOST),
    }
    told = {name: value.to(condition.masks.device, pipeline.unet.dtype) for name, value in told.items()}
    if drawn.any():
        places = drawn.nonzero(as_tuple=True)
        texts = [condition.texts[row][k] for row, k in zip(*(index.tolist() for index in places), strict=True)]
        told["boxes"][places] = boxes_of(inside[places]).to(told["boxes"])
        told["positive_embeddings"][places] = _embedded(pipeline, texts).to(told["positive_embeddings"])
        told["masks"][places] = 1
    return told


def boxes_of(inside: Tensor) -> Tensor:
    """Edges (M, 4) of the box around each of the masks (M, H, W), bool and not empty: left, top, right, bottom as
    fractions of the picture.
    """
    edges = []
    for lines in (inside.any(1), inside.any(2)):
        length = lines.shape[1]
        first = lines.int().argmax(1)
        last = length - lines.flip(1).int().argmax(1)
        edges.append(torch.stack([first, last]) / length)
    (left, right), (top, bottom) = edges
    return torch.stack([left, top, right, bottom], 1)


def _embedded(pipeline: Any, phrases: Sequence[str]) -> Tensor:
    """The text encoder's pooled state of each phrase, (len(phrases), D)."""
    limit = min(pipeline.tokenizer.model_max_length, pipeline.text_encoder.config.max_position_embeddings)
    tokens = pipeline.tokenizer(list(phrases), padding=True, truncation=True, max_length=limit, return_tensors="pt").to(
        pipeline._execution_device
    )
    return pipeline.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
