"""Two solvers, the same questions: in one run, and over runs that differ by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Literal

from qrdistill.base.records import Record
from qrdistill.scores.scores_file import Difference
from qrdistill.scores.statistics import established, mcnemar, over_questions, over_seeds, paired_difference


def difference(
    first_name: str, second_name: str, first: Mapping[str, float], second: Mapping[str, float]
) -> Difference | None:
    """first - second over the questions that both answered; None if there are none.

    Outcomes are 0 or 1 per question id, or shares (of several students, or of samples): then p is the
    sign test's, over the questions in which one side is ahead.

    >>> difference("a", "b", {"q1": True, "q2": True}, {"q1": True, "q2": False, "q3": True}).difference
    0.5
    """
    shared = [question for question in first if question in second]
    if not shared:
        return None
    a, b = [first[question] for question in shared], [second[question] for question in shared]
    interval = paired_difference(a, b)
    test = mcnemar([x > y for x, y in zip(a, b, strict=True)], [y > x for x, y in zip(a, b, strict=True)])
    return Difference(
        first=first_name,
        second=second_name,
        n=interval.n,
        difference=interval.estimate,
        low=interval.low,
        high=interval.high,
        only_first=test.only_first,
        only_second=test.only_second,
        p=test.p,
    )


class SeedDifference(Record):
    """first - second, a share, paired by seed; `low` and `high` are None where nothing gives an interval."""

    n: int
    """Seeds."""
    positive: int
    """Seeds in which the first is ahead."""
    difference: float
    """Mean over the seeds, between -1 and 1."""
    low: float | None
    high: float | None
    over: Literal["seeds", "questions"] | None
    """What the interval is over: seeds (Student's t), or the questions of these very seeds (bootstrap)."""
    by_seed: tuple[float, ...]

    @property
    def claim(self) -> Literal[-1, 0, 1]:
        """1 or -1 where other seeds are shown to give the same sign; an interval over questions shows no such thing."""
        return established(self.low, self.high) if self.over == "seeds" else 0


def difference_over_seeds(
    pairs: Sequence[tuple[float, float]],
    questions: Sequence[tuple[Mapping[str, float], Mapping[str, float]]] = (),
) -> SeedDifference | None:
    """The mean of first - second over seeds; None for no pair.

    `pairs`: both figures per seed. `questions`: both sides' outcome per question, seed by seed, read where the
    seeds are too few, or too much the same, for an interval of their own.

    >>> difference_over_seeds([(0.5, 0.25), (1.0, 0.5)]).difference
    0.375
    """
    if not pairs:
        return None
    differences = [first - second for first, second in pairs]
    found, over = over_seeds(differences, bounds=(-1.0, 1.0)), "seeds"
    if not isfinite(found.low) and len(questions) == len(pairs):
        rows = [{name: a[name] - b[name] for name in a if name in b} for a, b in questions]
        found, over = over_questions(rows), "questions"
    shown = isfinite(found.low) and found.high - found.low > 1e-9
    return SeedDifference(
        n=len(pairs),
        positive=sum(value > 0 for value in differences),
        difference=sum(differences) / len(differences),
        low=found.low if shown else None,
        high=found.high if shown else None,
        over=over if shown else None,
        by_seed=tuple(differences),
    )
