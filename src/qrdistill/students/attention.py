"""Attention over concatenated paths: each token sees its own path, and nothing else.

Registered with transformers under the name ATTENTION, so that projections, rotary positions, norms and
everything else stay the model's own. How it is computed, first that applies:

1. CPU: one SDPA call per segment on views, keys of a shared prefix in front of its own. Faster than one
   padded block (1.4 to 1.6 times on a tiny student) and than a mask over everything (which pays T squared).
2. CUDA: torch's variable-length flash kernel, where it can run: bfloat16 or float16 (weights or autocast), no
   soft-capping, a GPU from Ampere on, torch from 2.11 on, head widths that are multiples of 8 up to 256.
3. Otherwise: right-padded blocks of similar length, one SDPA call each.

Soft-capped scores (Gemma 2), which none of these kernels has, are computed by hand inside 1 and 3.
Without a plan the function is transformers' SDPA, masks included.

Legend: T tokens of the batch, R rows of a padded block, S queries and L keys of one segment, H query heads, G key heads, D head width.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ATTENTION = "qrdistill"

_HONOURED = frozenset({"scaling", "dropout", "sliding_window", "softcap", "position_ids", "use_cache"})
_BLOCK_RATIO = 0.7  # a row shorter than this share of its block's longest opens a new block


class Segment(NamedTuple):
    """`length` tokens at `start` that see each other causally and the whole prefix before them."""

    prefix_start: int
    prefix: int
    start: int
    length: int


class Block(NamedTuple):
    """Paths of similar length as one right-padded block: a causal row never looks to its right, so
    padding there needs no mask. A shared prefix is read by every row that continues it."""

    tokens_RL: Tensor  # flat [R * L]: which token of T stands there (padding: any)
    rows: int
    length: int


class Rules(NamedTuple):
    """window w: a token sees itself and the w - 1 before it. softcap c: scores become c tanh(score / c)."""

    scaling: float
    dropout: float = 0.0
    window: int | None = None
    softcap: float | None = None


class AttentionPlan(Protocol):
    """Computes one layer's attention: query [., H, S, D], key and value [., G, L, D] -> [., S, H, D]."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor: ...


@dataclass(frozen=True)
class Plan:
    """Who sees whom in one batch. `segments` cover the T tokens in order, prefixes included.

    captured: where given, every layer's keys and values [1, G, T, D] are left there: a prompt's reading
        is the start of its decoding.
    """

    segments: tuple[Segment, ...]
    device: torch.device
    captured: list[tuple[Tensor, Tensor]] | None = None

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
        if self.captured is not None:
            self.captured.append((key, value))
        query, key, value = lowered(query, key, value)
        if query.is_cuda and rules.softcap is None and rules.dropout == 0 and _kernel_takes(query, value):
            return _varlen(query, key, value, self, rules)
        compute = _blocks if query.is_cuda else _segments
        return compute(query, *all_heads(query, key, value), self, rules)

    @functools.cached_property
    def sizes(self) -> list[int]:
        return [segment.length for segment in self.segments]

    @functools.cached_property
    def masks(self) -> dict[tuple[int | None, torch.dtype], Tensor]:
        """Additive masks, made once and used by every layer; see `_mask`."""
        return {}

    @functools.cached_property
    def rows(self) -> list[np.ndarray]:
        """Per segment, the tokens of the path up to its end."""
        return [
            np.concatenate(
                (np.arange(s.prefix_start, s.prefix_start + s.prefix), np.arange(s.start, s.start + s.length))
            )
            for s in self.segments
        ]

    @functools.cached_property
    def blocks(self) -> tuple[list[Block], Tensor]:
        """Padded blocks, and each token's place in them when they are joined."""
        rows = self.rows
        order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))
        owner = np.empty(sum(self.sizes), np.int64)
        blocks: list[Block] = []
        first = base = 0
        while first < len(order):
            length = len(rows[order[first]])
            last = first + 1
            while last < len(order) and len(rows[order[last]]) >= _BLOCK_RATIO * length:
                last += 1
            block = np.zeros((last - first, length), np.int64)
            for at, index in enumerate(order[first:last]):
                segment = self.segments[index]
                block[at, : len(rows[index])] = rows[index]
                place = base + at * length + segment.prefix
                owner[segment.start : segment.start + segment.length] = np.arange(place, place + segment.length)
            blocks.append(Block(torch.from_numpy(block.reshape(-1)).to(self.device), *block.shape))
            base += block.size
            first = last
        return blocks, torch.from_numpy(owner).to(self.device)

    @functools.cached_property
    def varlen(self) -> tuple[Tensor, Tensor, Tensor | None, int, int]:
        """Cumulative query and key lengths, key tokens (None: all, in order), and the two longest."""

        def cumulative(lengths: Sequence[int]) -> Tensor:
            return torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32, device=self.device)

        keys = [segment.prefix + segment.length for segment in self.segments]
        tokens = None
        if any(segment.prefix for segment in self.segments):
            tokens = torch.from_numpy(np.concatenate(self.rows)).to(self.device)
        return cumulative(self.sizes), cumulative(keys), tokens, max(self.sizes), max(keys)


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    plan: AttentionPlan | None = None,
    **settings: Any,
) -> tuple[Tensor, Tensor | None]:
    """The signature is transformers'; see AttentionPlan for shapes.

    Raises ValueError for what no plan honours (attention sinks, position biases): to leave it out would be
    wrong without a word. `packing.proof` finds it, and the student keeps its own, padded attention.
    """
    if plan is None:
        return _without_plan(module, query, key, value, attention_mask, **settings)
    unknown = [key for key, given in settings.items() if given is not None and key not in _HONOURED]
    if unknown:
        raise ValueError(f"packed attention does not know {', '.join(unknown)}")
    scaling: float | None = settings.get("scaling")
    rules = Rules(
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        dropout=settings.get("dropout", 0.0),
        window=settings.get("sliding_window"),
        softcap=settings.get("softcap"),
    )
    return plan.attend(query, key, value, rules), None


def lowered(*states: Tensor) -> tuple[Tensor, ...]:
    """What autocast makes of them before its own attention: rotary positions raise queries and keys to float32."""
    kind = states[0].device.type
    if not torch.is_autocast_enabled(kind):
        return states
    return tuple(each.to(torch.get_autocast_dtype(kind)) for each in states)


def all_heads(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values repeated for the query heads that share them."""
    groups = query.shape[1] // key.shape[1]
    if groups == 1:
        return key, value
    return key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)


def _segments(query: Tensor, key: Tensor, value: Tensor, plan: Plan, rules: Rules) -> Tensor:
    queries, keys, values = (states.split(plan.sizes, dim=2) for states in (query, key, value))
    at = {segment.start: index for index, segment in enumerate(plan.segments)}
    outputs: list[Tensor] = []
    for segment, q, k, v in zip(plan.segments, queries, keys, values, strict=True):
        if segment.prefix:
            shared = at[segment.prefix_start]
            k, v = torch.cat((keys[shared], k), dim=2), torch.cat((values[shared], v), dim=2)
        outputs.append(_causal(q, k, v, plan, rules))
    return torch.cat(outputs, dim=2).transpose(1, 2)


def _blocks(query: Tensor, key: Tensor, value: Tensor, plan: Plan, rules: Rules) -> Tensor:
    blocks, owner_T = plan.blocks
    flat = [states[0].transpose(0, 1) for states in (query, key, value)]
    outputs: list[Tensor] = []
    for tokens_RL, rows, length in blocks:
        q, k, v = (
            states.index_select(0, tokens_RL).view(rows, length, *states.shape[1:]).transpose(1, 2) for states in flat
        )
        outputs.append(_causal(q, k, v, plan, rules).transpose(1, 2).reshape(rows * length, *flat[0].shape[1:]))
    return torch.cat(outputs).index_select(0, owner_T).unsqueeze(0)


@functools.cache
def _kernel(device: torch.device) -> frozenset[str]:
    """The settings that torch's variable-length kernel knows; empty where it cannot run at all."""
    if torch.cuda.get_device_capability(device) < (8, 0) or not torch.backends.cuda.is_flash_attention_available():
        return frozenset()
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return frozenset()
    return frozenset(inspect.signature(varlen_attn).parameters)


def _kernel_takes(query: Tensor, value: Tensor) -> bool:
    width = query.shape[-1]
    return (
        query.dtype in (torch.bfloat16, torch.float16)
        and width == value.shape[-1]
        and width <= 256
        and width % 8 == 0
        and {"scale", "window_size"} <= _kernel(query.device)
    )


def _varlen(query: Tensor, key: Tensor, value: Tensor, plan: Plan, rules: Rules) -> Tensor:
    """The kernel aligns the S queries of a segment with the last of its L keys, as `_causal` does."""
    from torch.nn.attention import varlen

    cumulative_q, cumulative_k, tokens, longest_q, longest_k = plan.varlen
    grouped = query.shape[1] != key.shape[1]
    settings: dict[str, Any] = {}
    if grouped and "enable_gqa" in inspect.signature(varlen.varlen_attn).parameters:
        settings["enable_gqa"] = True
    elif grouped:  # torch 2.11
        key, value = all_heads(query, key, value)
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    if tokens is not None:
        k, v = k.index_select(0, tokens), v.index_select(0, tokens)
    out = varlen.varlen_attn(
        q,
        k,
        v,
        cumulative_q,
        cumulative_k,
        longest_q,
        longest_k,
        scale=rules.scaling,
        window_size=(-1 if rules.window is None else rules.window - 1, 0),
        **settings,
    )
    assert isinstance(out, Tensor)
    return out.unsqueeze(0)


def _causal(q: Tensor, k: Tensor, v: Tensor, plan: Plan, rules: Rules) -> Tensor:
    """The S queries are the last of L keys: [., H, S, D] over [., H, L, D]."""
    num_queries, num_keys = q.shape[2], k.shape[2]
    window = rules.window if rules.window is not None and num_keys > rules.window else None
    if rules.softcap is None:
        if window is None and num_queries == num_keys:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=rules.scaling, dropout_p=rules.dropout)
        mask = _mask(plan, num_queries, num_keys, window, q)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=rules.scaling, dropout_p=rules.dropout)
    return softcapped(q, k, v, _mask(plan, num_queries, num_keys, window, q), rules)


def _mask(plan: Plan, num_queries: int, num_keys: int, window: int | None, like: Tensor) -> Tensor:
    """Additive [S, L], 0 where a query sees a key: a view of one square per batch."""
    name = (window, like.dtype)
    square = plan.masks.get(name)
    if square is None:
        longest = max(segment.prefix + segment.length for segment in plan.segments)
        hidden = torch.ones(longest, longest, dtype=torch.bool, device=like.device).triu(1)
        if window is not None:
            hidden |= torch.ones_like(hidden).tril(-window)
        square = torch.zeros(longest, longest, dtype=like.dtype, device=like.device)
        plan.masks[name] = square.masked_fill_(hidden, float("-inf"))
    return plan.masks[name][num_keys - num_queries : num_keys, :num_keys]


def softcapped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, rules: Rules) -> Tensor:
    scores = q @ k.transpose(2, 3) * rules.scaling
    if rules.softcap is not None:
        scores = torch.tanh(scores / rules.softcap) * rules.softcap
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    return F.dropout(weights, rules.dropout) @ v


def _without_plan(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **settings: Any
) -> tuple[Tensor, Tensor | None]:
    """transformers' own SDPA; soft-capped scores by hand."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    softcap: float | None = settings.pop("softcap", None)
    if softcap is None:
        return sdpa_attention_forward(module, query, key, value, mask, **settings)
    num_queries, num_keys = query.shape[2], key.shape[2]
    if mask is None and num_queries > 1:
        square = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query.device)
        mask = square.tril(num_keys - num_queries)
    rules = Rules(settings["scaling"], settings.get("dropout", 0.0), None, softcap)
    out = softcapped(query, *all_heads(query, key, value), mask, rules)
    return out.transpose(1, 2).contiguous(), None


def register(*, compiled: bool = False) -> str:
    """Makes the function known to transformers; returns its name. Calling it again changes nothing.

    compiled: for models under torch.compile: they are compiled around the function, whose loop over each
    batch's own segments would otherwise be compiled anew for every batch.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    name = f"{ATTENTION}_uncompiled" if compiled else ATTENTION
    AttentionInterface.register(name, torch.compiler.disable(attention) if compiled else attention)
    AttentionMaskInterface.register(name, sdpa_mask)
    return name
