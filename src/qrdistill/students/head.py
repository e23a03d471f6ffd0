"""The language-model head at label positions only, never a whole vocabulary times a whole batch.

Legend: N labels, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MAX_LOGITS = 1 << 26  # logits held at once: 256 MiB in float32


def label_nll(logits: Callable[[Tensor], Tensor], states_NH: Tensor, labels_N: Tensor, *, vocabulary: int) -> Tensor:
    """-log p(label) of each label in nats [N], in float32; `logits` maps [n, H] to [n, V].

    More than MAX_LOGITS logits are computed in chunks of rows, and again in backward, so that memory stays
    bounded for any vocabulary (one more product with the head's weights is the price).
    """

    def chunk_nll(states: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits(states), labels, reduction="none")

    rows = max(1, MAX_LOGITS // vocabulary)
    if len(labels_N) <= rows:
        return chunk_nll(states_NH, labels_N)
    pieces = zip(states_NH.split(rows), labels_N.split(rows), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([chunk_nll(states, labels) for states, labels in pieces])
    return torch.cat([_tensor(checkpoint(chunk_nll, states, labels, use_reentrant=False)) for states, labels in pieces])


def _tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value
