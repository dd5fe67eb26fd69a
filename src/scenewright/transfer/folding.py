"""An affinity matrix put into a network's weights: what reads N_s classes then reads N_t.

A label map y_t of N_t channels means y_s = A y_t in the source's classes, pixel by pixel. A convolution is linear in
its input, so W_s * (A y_t) = W_t * y_t with W_t[:, t] = sum over s of W_s[:, s] A[s, t]: nothing is approximated.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from scenewright.errors import UserError
from scenewright.transfer.folder import Source
from scenewright.transfer.oasis import Oasis


def translated(maps: Tensor, matrix: Tensor) -> Tensor:
    """Maps (N, N_t, H, W) in the source's classes, (N, N_s, H, W): the explicit form of what is folded."""
    return torch.einsum("st,nthw->nshw", matrix.to(maps), maps)


def folded_weight(weight: Tensor, matrix: Tensor, before: int = 0) -> Tensor:
    """A convolution's weight (out, before + N_s, k, k) for N_t classes; the first `before` channels are kept."""
    read = torch.einsum("oskl,st->otkl", weight[:, before:].double(), matrix.double()).to(weight)
    return torch.cat([weight[:, :before], read], 1)


@torch.no_grad()
def folded(source: Source, matrix: np.ndarray, names: Sequence[str]) -> Source:
    """The source model for the classes `names`, with affinity `matrix` (N_s, N_t) in the weights; a new model.

    The generator's noise channels are untouched. Row t of the discriminator's last layer is that of the class that t
    resembles most (rows are no mixtures: a logit says "this class", not "some of these"); "fake" keeps its row.
    Raises UserError if the matrix does not fit.
    """
    expected = (source.pair.config.classes, len(names))
    if matrix.shape != expected:
        raise UserError(f"an affinity of shape {matrix.shape} does not fit; it must be {expected}")
    weights = torch.from_numpy(matrix)
    config = source.pair.config.with_classes(len(names))
    pair = Oasis(config).to(next(source.pair.parameters()).dtype)
    state = source.pair.state_dict()
    new = pair.state_dict()
    readers = {id(conv.weight) for conv in source.pair.generator.label_convolutions()}
    for name, value in source.pair.named_parameters():
        if id(value) in readers:
            state[name] = folded_weight(value, weights, config.noise)
    rows = torch.cat([torch.zeros(1, dtype=torch.long), weights.argmax(0) + 1])
    for name in ("discriminator.end.weight", "discriminator.end.bias"):
        state[name] = state[name][rows]
    pair.load_state_dict({name: state[name] for name in new})
    pair.train(source.pair.training)
    return Source(pair, tuple(names))


def learn_only(generator: nn.Module, part: str) -> None:
    """Let only some weights of an OASIS generator learn: "all", those of "labels" (every layer that reads the label
    map) or of the "first" of these. Raises UserError for another word.
    """
    if part not in PARTS:
        raise UserError(f"'{part}' names no weights to learn; choose from {', '.join(PARTS)}")
    generator.requires_grad_(part == "all")
    readers = generator.label_convolutions()  # type: ignore[operator]
    for conv in {"all": [], "labels": readers, "first": readers[:1]}[part]:
        conv.requires_grad_(True)


PARTS = ("all", "labels", "first")
