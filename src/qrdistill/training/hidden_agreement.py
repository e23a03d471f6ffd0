"""Mutual-student distillation: students' hidden states compared span by span in one shared space.

Tokenizers cut text differently, so positions cannot be compared; characters can. A span (a line of
the path, or a word) pools every token that overlaps it, weighted by the overlap in characters.

Tensor suffixes: S students, B paths, K spans, T tokens, H hidden width, D shared dimensions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qrdistill.base.draws import seed_of
from qrdistill.training.config import MutualConfig
from qrdistill.training.losses import competence_loss, mutual_mse

_DECAY = 0.9  # per step, of the sums behind each shared dimension's mean and spread
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


@dataclass(frozen=True)
class Agreement:
    """One micro-batch's part of the step's two mutual losses."""

    mse: Tensor
    competence: Tensor


class Mutual(nn.Module):
    """Projectors, and the competence net that weighs the ensemble.

        z_s = rms_norm((P_s h_s - mean_s) / sd_s)         per span; mean and sd are running, detached
        c   = softmax_s(g_s(mean over spans of z_s))       per path, trained on who has the lower NLL
        target = sum_s c_s z_s                             detached; `better_peer`: the best peer's z

    Without the standardisation a projector could make every span alike and the error zero; with it,
    whatever becomes constant is taken out and what is left is scaled up again. The competence net
    reads detached z and learns from its own loss only, so it cannot flatter itself by moving the
    students. Source: arXiv 2508.16861, mutual-student distillation; there hidden states are compared
    position by position and without normalisation.
    """

    def __init__(
        self, students: Sequence[tuple[str, int]], config: MutualConfig, *, seed: int, device: str = "cpu"
    ) -> None:
        """`students`: name and hidden width of each, in the order of their names."""
        super().__init__()
        self.config = config
        size = config.dimension
        self.projectors = nn.ModuleList(_linear(width, size, seed, "projector", n) for n, width in students)
        self.competence = nn.ModuleList(
            nn.Sequential(
                _linear(size, size, seed, "competence", name, bias=True),
                nn.GELU(),
                _linear(size, 1, seed, "competence out", name, bias=True),
            )
            for name, _ in students
        )
        count = len(students)
        # decayed n, sum x and sum x^2 per student and dimension; `pending` is the current step's part
        self.register_buffer("sums_3SD", torch.zeros(3, count, size, dtype=torch.float64))
        self.register_buffer("pending_3SD", torch.zeros(3, count, size, dtype=torch.float64), persistent=False)
        self.to(device)

    def project(self, index: int, pooled_KH: Tensor) -> Tensor:
        """z [K, D] of student `index`: standardised per dimension, root mean square 1 per span."""
        raw_KD = self.projectors[index](pooled_KH)
        count_D, total_D, square_D = self.get_buffer("sums_3SD")[:, index]
        if count_D[0] > 0:
            mean_D = total_D / count_D
            variance_D = (square_D / count_D - mean_D.square()).clamp_min(1e-12)
            centred_KD = (raw_KD - mean_D.to(raw_KD)) / variance_D.sqrt().to(raw_KD)
        else:
            centred_KD = raw_KD
        detached_KD = raw_KD.detach().double()
        self.get_buffer("pending_3SD")[:, index] += torch.stack(
            [torch.full_like(count_D, len(raw_KD)), detached_KD.sum(0), detached_KD.square().sum(0)]
        )
        return centred_KD / (centred_KD.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    def forward(
        self,
        pooled: Sequence[Tensor],
        owner_K: Tensor,
        nll_BS: Tensor,
        *,
        num_spans: float,
        num_paths: float,
    ) -> Agreement:
        """`pooled`: per student [K, H]. `owner_K`: the path of each span. `nll_BS`: nats per character,

        detached. `num_spans`, `num_paths`: the whole step's, so that micro-batches add up.
        """
        z_SKD = torch.stack([self.project(index, pooled_KH) for index, pooled_KH in enumerate(pooled)])
        nll_BS = nll_BS.detach().to(z_SKD)
        logits_BS = self._logits(z_SKD.detach(), owner_K, len(nll_BS))
        nll_SK = nll_BS.T[:, owner_K]
        if self.config.gate == "better_peer":
            best_K = nll_SK.argmin(0)
            target_KD = z_SKD[best_K, torch.arange(len(best_K), device=best_K.device)]
            pulled_SK = (nll_SK > nll_SK.min(0).values).to(z_SKD)
        else:
            weight_SK1 = logits_BS.softmax(-1).T[:, owner_K].unsqueeze(-1)
            target_KD = (weight_SK1 * z_SKD).sum(0)
            pulled_SK = torch.ones_like(nll_SK)
        mse = mutual_mse(z_SKD, target_KD.detach().expand_as(z_SKD), pulled_SK, num_spans)
        return Agreement(mse, competence_loss(logits_BS, nll_BS, num_paths))

    def _logits(self, z_SKD: Tensor, owner_K: Tensor, num_paths: int) -> Tensor:
        count_B1 = z_SKD.new_zeros(num_paths, 1).index_add(0, owner_K, z_SKD.new_ones(len(owner_K), 1))
        columns: list[Tensor] = []
        for net, z_KD in zip(self.competence, z_SKD, strict=True):
            total_BD = z_KD.new_zeros(num_paths, z_KD.shape[1]).index_add(0, owner_K, z_KD)
            columns.append(net(total_BD / count_B1.clamp_min(1)))
        return torch.cat(columns, dim=1)

    def finish_step(self) -> None:
        """Folds the step's sums in: only now, so that cutting a step into micro-batches changes nothing."""
        pending_3SD, sums_3SD = self.get_buffer("pending_3SD"), self.get_buffer("sums_3SD")
        if pending_3SD[0].any():
            sums_3SD.mul_(_DECAY).add_(pending_3SD)
            pending_3SD.zero_()


def _linear(inputs: int, outputs: int, seed: int, *keys: str | int, bias: bool = False) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    generator = torch.Generator().manual_seed(seed_of(seed, *keys))
    weight = torch.randn(outputs, inputs, generator=generator) / math.sqrt(inputs)
    layer.weight.data.copy_(weight)
    if bias:
        layer.bias.data.zero_()
    return layer
