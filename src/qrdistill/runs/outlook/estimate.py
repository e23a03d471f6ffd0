"""What a training will compute, before it starts: tokens per student, forward and backward.

A token that is learnt from costs a forward and a backward (as much as two forwards); one that is
only measured costs a forward. So token-equivalents = measured + 3 * trained, in units of one forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qrdistill.routing.config import RouterConfig
from qrdistill.students.config import StudentConfig
from qrdistill.training.config import MutualConfig, TrainConfig

_MEASURES_BASE = ("fixed_loss", "balanced")  # rules that read every path once with the base students


@dataclass(frozen=True)
class CostRow:
    """Expected tokens of one student.

    trained: forward and backward. measured: forward only. equivalents: in tokens of one gradient-free
    forward. ratio: equivalents over those of plain routed training (losses from the ledger, no mutual
    part).
    """

    student: str
    trained: int
    measured: int
    equivalents: int
    ratio: float


def cost_plan(
    students: Sequence[StudentConfig],
    router: RouterConfig,
    mutual: MutualConfig,
    config: TrainConfig,
    *,
    num_paths: int,
    lengths: Sequence[float],
    shares: Mapping[str, float] | None = None,
) -> list[CostRow]:
    """Expected cost of a training, in the order of `students`.

    num_paths: of the pool. lengths: tokens of prompt and path, the mean of each student. shares: per student, its expected share
    of the paths; equal shares unless given (a learned router is held near them by its balance term).
    A shared prefix makes the true figure smaller.

    >>> two = [StudentConfig(name=name, model="m") for name in "ab"]
    >>> rows = cost_plan(two, RouterConfig(warm="none"), MutualConfig(weight=0.1), TrainConfig(steps=10, paths_per_step=8),
    ...                  num_paths=100, lengths=[100, 100])
    >>> [(row.trained, row.ratio) for row in rows]  # half of the paths, and half of the quarter that all read
    [(5000, 1.25), (5000, 1.25)]
    """
    drawn = config.num_steps * min(config.paths_per_step, num_paths)
    learned = router.kind == "learned"
    everyone = router.kind == "all" or (learned and router.peer_loss == "dense")
    fresh = learned and router.peer_loss == "fresh"
    rows: list[CostRow] = []
    for student, length in zip(students, lengths, strict=True):
        share = 1.0 if everyone else (shares or {}).get(student.name, 1 / len(students))
        shared = mutual.share if mutual.weight > 0 and len(students) > 1 else 0.0
        read = drawn * (share + (1 - share) * shared)
        measured = drawn - read if fresh else 0.0
        if config.num_steps and router.kind in _MEASURES_BASE:
            measured += num_paths
        elif config.num_steps and learned:
            measured += router.num_warm(num_paths)
        trained = 0.0 if student.frozen else read
        measured += read if student.frozen else 0.0
        equivalents = length * (3 * trained + measured)
        plain = length * drawn * share * (1 if student.frozen else 3)
        rows.append(
            CostRow(
                student.name,
                round(length * trained),
                round(length * measured),
                round(equivalents),
                equivalents / plain if plain else 1.0,
            )
        )
    return rows
