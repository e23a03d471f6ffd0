"""What became of the paths: kept + dropped + undecided = generated, however they are grouped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from qrdistill.base.records import Outcome


@dataclass(frozen=True)
class Tally:
    """How many came in and how they left. For a check, `kept` are those that passed it."""

    generated: int = 0
    kept: int = 0
    dropped: int = 0
    undecided: int = 0

    @classmethod
    def of(cls, outcomes: Counter[Outcome]) -> Tally:
        return cls(outcomes.total(), outcomes["keep"], outcomes["drop"], outcomes["undecided"])


@dataclass(frozen=True)
class FilterCounts:
    """The filter's account. `errors` are judge votes that could not be asked; run again to ask them."""

    generated: int
    kept: int
    dropped: int
    undecided: int
    by_style: Mapping[str, Tally]
    by_teacher: Mapping[str, Tally]
    by_task: Mapping[str, Tally]
    by_check: Mapping[str, Tally]  # in the order in which checks run
    questions: int  # that had at least one path
    emptied: int  # of them, how many lost all their paths
    errors: int = 0
    judge_usd: float = 0.0  # what the judges' replies cost, those of earlier runs included
    agreement: Mapping[str, float] = field(default_factory=dict[str, float])  # judge -> with itself
    repaired: Mapping[str, float] = field(default_factory=dict[str, float])  # judge -> share read at second reading
    warnings: tuple[str, ...] = ()
