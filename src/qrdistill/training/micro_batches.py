"""Who reads which paths of a step, cut into forwards that fit the memory limit.

Tensor suffixes: B paths of the step, S students.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded

EncodedAt = Callable[[int, int], Encoded]  # (student, path of the step) -> its tokens


@dataclass(frozen=True)
class Work:
    """One micro-batch: its graphs are freed together by one backward.

    reads: student index -> indices of the step's paths. shared: those of them that every student
    reads, for the mutual loss; they stand first in each student's list. train: False for a
    gradient-free measurement. idle: read for nothing, to keep step with processes that have more to read.
    """

    reads: dict[int, list[int]]
    shared: list[int]
    train: bool = True
    idle: bool = False


def share_out(
    train_BS: Tensor,
    peek_BS: Tensor,
    shared: Sequence[int],
    encoded: EncodedAt,
    students: Sequence[Student],
    *,
    max_tokens: int,
    shared_prefix: bool,
    at_once: bool = True,
) -> list[Work]:
    """Cuts a step's reading into micro-batches of at most `max_tokens` tokens each.

    `train_BS` and `peek_BS` (bool) say who learns from and who only measures a path. Shared paths
    need the graphs of all students at once, so the limit holds for their sum. Where the whole step
    fits, it is one micro-batch: fewer, fuller forwards; not so with `at_once` False, where each student's own paths
    stay apart.
    """
    common = sorted(shared)
    own = {s: [b for b in train_BS[:, s].nonzero().flatten().tolist() if b not in shared] for s in range(len(students))}
    every = {s: [*common, *own[s]] for s in own if common or own[s]}
    if at_once and _tokens(every, encoded) <= max_tokens:
        works = [Work(every, common)] if every else []
    else:
        works: list[Work] = []
        part: list[int] = []
        for path in common:
            if part and _tokens({s: [*part, path] for s in own}, encoded) > max_tokens:
                works.append(Work(dict.fromkeys(own, part), part))
                part = []
            part = [*part, path]
        if part:
            works.append(Work(dict.fromkeys(own, part), part))
        for s, paths in own.items():
            works += [Work({s: part}, []) for part in _split(s, paths, encoded, students, max_tokens, shared_prefix)]
    for s in range(len(students)):
        paths = [b for b in peek_BS[:, s].nonzero().flatten().tolist() if b not in shared]
        works += [
            Work({s: part}, [], train=False) for part in _split(s, paths, encoded, students, max_tokens, shared_prefix)
        ]
    return works


def _tokens(reads: dict[int, list[int]], encoded: EncodedAt) -> int:
    return sum(encoded(s, path).num_tokens for s, paths in reads.items() for path in paths)


def _split(
    s: int,
    paths: list[int],
    encoded: EncodedAt,
    students: Sequence[Student],
    max_tokens: int,
    shared_prefix: bool,
) -> list[list[int]]:
    if not paths:
        return []
    parts = students[s].split([encoded(s, path) for path in paths], max_tokens, shared_prefix=shared_prefix)
    return [[paths[index] for index in part] for part in parts]
