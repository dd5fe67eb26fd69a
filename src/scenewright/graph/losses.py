"""What a factor is trained on beside the noise loss: which conditions are null, and the teacher's attention."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

NULL = 0.2  # share of rows in which some conditions are null (FG-DM, section 4; absent from its release)
UNSAID = 0.1  # share of rows whose caption is dropped, besides


def kept(rng: np.random.Generator, rows: int, conditions: Sequence[str], caption: str = "caption") -> dict:
    """Which of a factor's conditions each row keeps: name -> (rows,) bool.

    In a fifth of the rows a random non-empty proper subset of the conditions is null; independently the caption is, in
    a tenth. A single condition has no such subset.
    """
    keep = np.ones((rows, len(conditions)), bool)
    for row in np.flatnonzero(rng.random(rows) < NULL) if len(conditions) > 1 else ():
        count = int(rng.integers(1, len(conditions)))
        keep[row, rng.permutation(len(conditions))[:count]] = False
    if caption in conditions:
        keep[:, conditions.index(caption)] &= rng.random(rows) >= UNSAID
    return {name: keep[:, i] for i, name in enumerate(conditions)}


def attention_kl(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """KL(teacher || student) of attention, mean over layers, rows and queries (FG-DM eq. 7-8, a softmax per query).

    Each layer's shares are (N, queries, keys) and sum to 1 over the keys. The release flattens maps into one softmax
    and cuts the student's graph, so its term teaches nothing; here the gradient reaches the student.
    """
    terms = []
    for wanted, given in zip(teacher, student, strict=True):
        wanted, given = wanted.detach().float().clamp_min(1e-8), given.float().clamp_min(1e-8)
        terms.append((wanted * (wanted.log() - given.log())).sum(-1).mean())
    return torch.stack(terms).mean()
