"""Paths into batches without padding: who shares a prefix, what is concatenated, where labels stand.

Legend: B paths, T tokens that a forward reads, N labels of all paths.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qrdistill.students.attention import Plan, Segment
from qrdistill.students.tokens import Encoded

_GROUP_LIMIT = 64  # paths that one prefix may serve

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Paths whose first `prefix` tokens are the same and computed once (0: nothing is shared)."""

    members: tuple[int, ...]
    prefix: int


@dataclass(frozen=True)
class Batch:
    """One forward over concatenated paths; labels are in path order.

    rows_N: the token whose hidden state predicts each label. lengths_B: labels per path.
    segment_B: which of the plan's segments ends each path.
    """

    tokens_T: Tensor
    positions_T: Tensor
    plan: Plan
    rows_N: Tensor
    labels_N: Tensor
    lengths_B: tuple[int, ...]
    segment_B: tuple[int, ...]


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    limit = min(len(left), len(right))
    if left[:limit] == right[:limit]:
        return limit
    low, high = 0, limit  # the first `low` tokens agree, the first `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if left[low:middle] == right[low:middle] else (low, middle)
    return low


def group_by_prefix(encoded: Sequence[Encoded], *, share: bool = True) -> list[Group]:
    """The grouping that saves most tokens, found exactly over paths in the order of their prompts.

    A prefix ends before its shortest prompt does: the last prompt token predicts the first label, so
    every path keeps at least that one for itself.

    >>> paths = [Encoded((5, 6, 7, last), (8, 2), [(0, 1)]) for last in (1, 3)]
    >>> group_by_prefix(paths)
    [Group(members=(0, 1), prefix=3)]
    """
    count = len(encoded)
    if not share or count == 1:
        return [Group((index,), 0) for index in range(count)]
    order = sorted(range(count), key=lambda index: encoded[index].prompt_ids)
    usable = [len(encoded[index].prompt_ids) - 1 for index in order]
    common = [
        min(_common(encoded[left].prompt_ids, encoded[right].prompt_ids), usable[at], usable[at + 1])
        for at, (left, right) in enumerate(itertools.pairwise(order))
    ]
    best, start_of, prefix_of = [0], [0], [0]  # over the first n paths: tokens saved, and the last group
    for end in range(1, count + 1):
        saved, start, prefix, running = best[end - 1], end - 1, 0, 1 << 30
        for first in range(end - 2, max(-1, end - 1 - _GROUP_LIMIT), -1):
            running = min(running, common[first])
            if running == 0:
                break
            candidate = best[first] + running * (end - 1 - first)
            if candidate > saved:
                saved, start, prefix = candidate, first, running
        best.append(saved)
        start_of.append(start)
        prefix_of.append(prefix)
    groups: list[Group] = []
    end = count
    while end:
        groups.append(Group(tuple(order[start_of[end] : end]), prefix_of[end]))
        end = start_of[end]
    return groups[::-1]


def split(encoded: Sequence[Encoded], max_tokens: int | None, *, share: bool = True) -> list[list[int]]:
    """Indices of the paths of each forward: at most `max_tokens` computed tokens in each, few forwards.

    First-fit decreasing over prefix groups. A group that is too large is cut; one path above the limit
    is a forward of its own (it must be computed somewhere).
    """
    if max_tokens is None:
        return [list(range(len(encoded)))] if encoded else []
    pieces: list[tuple[int, tuple[int, ...]]] = []
    for group in group_by_prefix(encoded, share=share):
        total, members = group.prefix, list[int]()
        for index in group.members:
            own = encoded[index].num_tokens - group.prefix
            if members and total + own > max_tokens:
                pieces.append((total, tuple(members)))
                total, members = group.prefix, list[int]()
            total += own
            members.append(index)
        pieces.append((total, tuple(members)))
    pieces.sort(key=lambda piece: (-piece[0], piece[1]))
    filled: list[int] = []
    batches: list[list[int]] = []
    for total, members in pieces:
        for at, used in enumerate(filled):
            if used + total <= max_tokens:
                filled[at] += total
                batches[at].extend(members)
                break
        else:
            filled.append(total)
            batches.append(list(members))
    return [sorted(batch) for batch in batches]


def build(encoded: Sequence[Encoded], *, share: bool, device: torch.device, capture: bool = False) -> Batch:
    """Concatenates paths: each group's prefix once, then every member's own tokens.

    capture: keep keys and values of every layer in `plan.captured`.
    """
    tokens: list[int] = []
    positions: list[Indices] = []
    segments: list[Segment] = []
    first_row = [0] * len(encoded)  # of each path: the row of its last prompt token
    segment_of = [0] * len(encoded)
    for group in group_by_prefix(encoded, share=share):
        prefix_start = len(tokens)
        if group.prefix:
            tokens += encoded[group.members[0]].prompt_ids[: group.prefix]
            positions.append(np.arange(group.prefix))
            segments.append(Segment(prefix_start, 0, prefix_start, group.prefix))
        for index in group.members:
            path, start = encoded[index], len(tokens)
            tokens += path.prompt_ids[group.prefix :]
            first_row[index] = len(tokens) - 1
            tokens += path.response_ids[:-1]
            positions.append(np.arange(group.prefix, path.num_tokens))
            segment_of[index] = len(segments)
            segments.append(Segment(prefix_start, group.prefix, start, len(tokens) - start))
    rows = [np.arange(first, first + path.num_targets) for first, path in zip(first_row, encoded, strict=True)]
    labels = [label for path in encoded for label in path.response_ids]

    def tensor(values: Indices | list[int]) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.int64)).to(device)

    return Batch(
        tokens_T=tensor(tokens),
        positions_T=tensor(np.concatenate(positions)),
        plan=Plan(tuple(segments), device, [] if capture else None),
        rows_N=tensor(np.concatenate(rows)),
        labels_N=tensor(labels),
        lengths_B=tuple(path.num_targets for path in encoded),
        segment_B=tuple(segment_of),
    )


def joined(parts: Sequence[Batch]) -> Batch:
    """Batches one after the other, as one; no path sees those of another part."""
    starts = [0, *itertools.accumulate(len(part.tokens_T) for part in parts)]
    counts = [0, *itertools.accumulate(len(part.plan.segments) for part in parts)]
    placed = list(zip(parts, starts, counts, strict=False))
    segments = [
        Segment(start + one.prefix_start, one.prefix, start + one.start, one.length)
        for part, start, _ in placed
        for one in part.plan.segments
    ]
    return Batch(
        tokens_T=torch.cat([part.tokens_T for part in parts]),
        positions_T=torch.cat([part.positions_T for part in parts]),
        plan=Plan(tuple(segments), parts[0].plan.device),
        rows_N=torch.cat([part.rows_N + start for part, start, _ in placed]),
        labels_N=torch.cat([part.labels_N for part in parts]),
        lengths_B=tuple(length for part in parts for length in part.lengths_B),
        segment_B=tuple(count + at for part, _, count in placed for at in part.segment_B),
    )
