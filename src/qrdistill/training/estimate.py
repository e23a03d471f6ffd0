"""What a training will compute, before it starts: tokens per student, forward and backward.

A token that is learnt from costs a forward and a backward (as much as two forwards); one that is
only measured costs a forward. So token-equivalents = measured + 3 * trained, in units of one forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qrdistill.routing.config import RouterConfig
from qrdistill.students.config import StudentConfig
from qrdistill.students.size import speed, student_size
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
    prompt_tokens: float,
    path_tokens: float,
    shares: Mapping[str, float] | None = None,
) -> list[CostRow]:
    """Expected cost of a training, in the order of `students`.

    num_paths: of the pool. prompt_tokens, path_tokens: means. shares: per student, its expected share
    of the paths; equal shares unless given (a learned router is held near them by its balance term).
    A shared prefix makes the true figure smaller.

    >>> two = [StudentConfig(name=name, model="m") for name in "ab"]
    >>> rows = cost_plan(two, RouterConfig(warm="none"), MutualConfig(weight=0.1), TrainConfig(steps=10, paths_per_step=8),
    ...                  num_paths=100, prompt_tokens=20, path_tokens=80)
    >>> [(row.trained, row.ratio) for row in rows]  # half of the paths, and half of the quarter that all read
    [(5000, 1.25), (5000, 1.25)]
    """
    drawn = config.num_steps * min(config.paths_per_step, num_paths)
    learned = router.kind == "learned"
    everyone = router.kind == "all" or (learned and router.peer_loss == "dense")
    fresh = learned and router.peer_loss == "fresh"
    rows: list[CostRow] = []
    for student in students:
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
        length = prompt_tokens + path_tokens
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


_MANY_PASSES = 10  # from here on a training mostly repeats what its students know by heart


@dataclass(frozen=True)
class TrainingPlan:
    """What a training takes on this machine; None where a student's files are not here.

    passes: how often the pool is drawn from beginning to end. memory: bytes, all students together.
    """

    passes: float
    minutes: float | None
    memory: int | None
    unknown: list[str]  # the students that are not here

    def warning(self, steps: int) -> str | None:
        if self.passes <= _MANY_PASSES:
            return None
        fewer = max(1, int(steps * _MANY_PASSES / self.passes))
        return (
            f"{self.passes:,.0f} passes over the pool: after about ten students learn it by heart; lower train.steps "
            f"(ten passes: {fewer}), or ask for more questions and paths"
        )


def training_plan(
    students: Sequence[StudentConfig],
    config: TrainConfig,
    rows: Sequence[CostRow],
    *,
    num_paths: int,
    base_dir: Path,
) -> TrainingPlan:
    """Six operations per parameter and trained token, two per measured one, at the speed of this machine."""
    sizes = [student_size(student, base_dir, tokens=config.max_tokens_per_batch) for student in students]
    unknown = [student.name for student, size in zip(students, sizes, strict=True) if size is None]
    passes = config.num_steps * min(config.paths_per_step, num_paths) / num_paths if num_paths else 0.0
    known = [size for size in sizes if size is not None]
    if unknown or not config.num_steps:
        return TrainingPlan(passes, None if unknown else 0.0, None if unknown else 0, unknown)
    operations = sum(size.parameters * 2 * row.equivalents for size, row in zip(known, rows, strict=True))
    memory = sum(size.memory for size in known)
    return TrainingPlan(passes, operations / speed(config.device) / 60, memory, unknown)
