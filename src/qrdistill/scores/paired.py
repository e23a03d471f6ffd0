"""Two solvers, the same questions."""

from __future__ import annotations

from collections.abc import Mapping

from qrdistill.scores.scores_file import Difference
from qrdistill.scores.statistics import mcnemar, paired_difference


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
    interval, test = (
        paired_difference(a, b),
        mcnemar([x > y for x, y in zip(a, b, strict=True)], [y > x for x, y in zip(a, b, strict=True)]),
    )
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
