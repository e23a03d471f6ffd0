"""Text spans that students with different tokenizers can be compared on.

Tokenizers cut text differently, so positions cannot be compared; characters can. A span (a line of
the path, or a word) pools every token that overlaps it, weighted by the overlap in characters.

Tensor suffixes: K spans, T tokens, H hidden width, P (token, span) overlaps; 2 is a start and an end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_PATTERNS = {"step": r"[^\n]*\S[^\n]*", "word": r"\S+"}


def text_spans(text: str, kind: str) -> list[tuple[int, int]]:
    """Character ranges that are compared: lines that hold something, or words.

    >>> text_spans("2 + 3 = 5\\n\\nso 5", "step"), text_spans("so 5", "word")
    ([(0, 9), (11, 15)], [(0, 2), (3, 4)])
    """
    return [match.span() for match in re.finditer(_PATTERNS[kind], text)]


@dataclass(frozen=True)
class Pooling:
    """Which token counts how much in which span, as triples; weights of a span add up to 1."""

    span: NDArray[np.int64]
    token: NDArray[np.int64]
    weight: NDArray[np.float32]
    covered: frozenset[int]  # spans that at least one token overlaps


def pooling(tokens: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> Pooling:
    """Overlaps in characters between tokens and spans, both as character ranges.

    >>> pool = pooling([(0, 2), (2, 5)], [(0, 4)])
    >>> pool.token.tolist(), pool.weight.tolist()
    ([0, 1], [0.5, 0.5])
    """
    token_T2 = np.array(tokens, dtype=np.int64).reshape(-1, 2)
    span_K2 = np.array(spans, dtype=np.int64).reshape(-1, 2)
    overlap_KT = np.minimum(span_K2[:, None, 1], token_T2[None, :, 1]) - np.maximum(
        span_K2[:, None, 0], token_T2[None, :, 0]
    )
    overlap_KT = overlap_KT.clip(min=0)
    total_K = overlap_KT.sum(1)
    span, token = np.nonzero(overlap_KT)
    weight = (overlap_KT[span, token] / total_K[span]).astype(np.float32)
    return Pooling(span, token, weight, frozenset(np.flatnonzero(total_K).tolist()))


@dataclass(frozen=True)
class SharedPath:
    """One path that every student reads: a pooling per student over the spans all of them cover."""

    poolings: tuple[Pooling, ...]
    num_spans: int


def share_path(text: str, tokens: Sequence[Sequence[tuple[int, int]]], kind: str) -> SharedPath:
    """`tokens`: per student, the character span of each response token."""
    spans = text_spans(text, kind)
    first = [pooling(own, spans) for own in tokens]
    common = sorted(frozenset.intersection(*(pool.covered for pool in first)))
    if len(common) < len(spans):
        spans = [spans[index] for index in common]
        first = [pooling(own, spans) for own in tokens]
    return SharedPath(tuple(first), len(spans))


def pool_hidden(hidden: Sequence[Tensor], poolings: Sequence[Pooling], num_spans: Sequence[int]) -> Tensor:
    """Span means [K, H] over several paths; `hidden` holds one [T, H] per path."""
    span_offsets = np.concatenate([[0], np.cumsum(num_spans)])
    token_offsets = np.concatenate([[0], np.cumsum([len(states) for states in hidden])])
    span = np.concatenate([pool.span + span_offsets[i] for i, pool in enumerate(poolings)])
    token = np.concatenate([pool.token + token_offsets[i] for i, pool in enumerate(poolings)])
    weight = np.concatenate([pool.weight for pool in poolings])
    joined_TH = torch.cat(list(hidden)).float()
    device = joined_TH.device
    picked_PH = joined_TH[torch.from_numpy(token).to(device)] * torch.from_numpy(weight).to(device)[:, None]
    pooled_KH = joined_TH.new_zeros(int(span_offsets[-1]), joined_TH.shape[1])
    return pooled_KH.index_add(0, torch.from_numpy(span).to(device), picked_PH)
