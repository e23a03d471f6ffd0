"""A step's reading, dealt to the processes of a column so that all of them do the same number of forwards.

Sharded weights are gathered by all processes of a column at once: who has no path left reads one for nothing.

Tensor suffixes: B paths of the step, S students.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from qrdistill.training.micro_batches import Work

Dealt = tuple[int, Work]  # a micro-batch with its number in the step, after which its dropout is named


def own_part(works: Sequence[Work], students: Sequence[int]) -> list[Dealt]:
    """What a column's students read of all micro-batches, under the numbers that these have in one process."""
    parts = [(index, _only(work, students)) for index, work in enumerate(works)]
    return [(index, work) for index, work in parts if work.reads]


def in_step(shares: Sequence[Sequence[Dealt]], place: int, sharded: Sequence[int], tokens: TokensOf) -> list[Dealt]:
    """The micro-batches of one process, in the order in which the whole column goes through them.

    `shares`: those of every process. Where a process has fewer of a kind (the same students, learning or measuring)
    than another, it reads the shortest path of the other's with every `sharded` student, for nothing.

    >>> one, two = (0, Work({0: [0, 1]}, [])), (1, Work({0: [2]}, []))
    >>> [work for _, work in in_step([[one, two], []], 1, [0], lambda s, b: 9 - b)]
    [Work(reads={0: [1]}, shared=[], train=True, idle=True), Work(reads={0: [2]}, shared=[], train=True, idle=True)]
    """
    kinds = dict.fromkeys(_kind(work) for share in shares for _, work in share)
    dealt: list[Dealt] = []
    for kind in kinds:
        queues = [[one for one in share if _kind(one[1]) == kind] for share in shares]
        for turn in range(max(map(len, queues))):
            if turn < len(queues[place]):
                dealt.append(queues[place][turn])
                continue
            index, other = next(queue[turn] for queue in queues if turn < len(queue))
            reads = {s: [min(paths, key=lambda b: tokens(s, b))] for s, paths in other.reads.items() if s in sharded}
            if reads:
                dealt.append((index, Work(reads, [], other.train, idle=True)))
    return dealt


def round_robin(works: Sequence[Dealt], places: int) -> list[list[Dealt]]:
    """Whole micro-batches, turn by turn within each kind."""
    shares: list[list[Dealt]] = [[] for _ in range(places)]
    turns: dict[object, int] = {}
    for one in works:
        kind = _kind(one[1])
        shares[turns.get(kind, 0) % places].append(one)
        turns[kind] = turns.get(kind, 0) + 1
    return shares


TokensOf = Callable[[int, int], int]  # (student, path of the step) -> its tokens


def places(read_BS: Tensor, shared: Sequence[int], tokens: TokensOf, count: int) -> Tensor:
    """Which of `count` processes reads each pair, int64 [B, S]; -1 where nobody does.

    Each student's paths, and those that all read at once, are cut into runs of about as many tokens: neighbours stay
    together, so that the paths of one question go on sharing their prefix.

    >>> places(torch.tensor([[True], [True], [False], [True]]), [], lambda s, b: 10, 2).flatten().tolist()
    [0, 1, -1, 1]
    """
    place_BS = torch.full(read_BS.shape, -1, dtype=torch.int64)
    students = range(read_BS.shape[1])
    for s in students:
        paths = [b for b in read_BS[:, s].nonzero().flatten().tolist() if b not in shared]
        for b, place in zip(paths, _runs([tokens(s, b) for b in paths], count), strict=True):
            place_BS[b, s] = place
    sizes = [sum(tokens(s, b) for s in students) for b in shared]
    for b, place in zip(shared, _runs(sizes, count), strict=True):
        place_BS[b] = place
    return place_BS


def _runs(sizes: Sequence[int], count: int) -> list[int]:
    """The run of each item: where its middle stands in the whole."""
    total, before, runs = sum(sizes), 0, list[int]()
    for size in sizes:
        runs.append(min(count - 1, int((before + size / 2) * count / max(1, total))))
        before += size
    return runs


def _only(work: Work, students: Sequence[int]) -> Work:
    return Work({s: paths for s, paths in work.reads.items() if s in students}, work.shared, work.train)


def _kind(work: Work) -> object:
    return tuple(sorted(work.reads)), bool(work.shared), work.train
