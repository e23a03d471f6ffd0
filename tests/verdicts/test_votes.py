from __future__ import annotations

from itertools import product

import pytest

from qrdistill.base.records import Outcome
from qrdistill.verdicts.judges.votes import Rule, combine

S, P, U = "keep", "drop", "undecided"


@pytest.mark.parametrize(
    ("votes", "rule", "expected"),
    [
        ([S], "majority", S),
        ([P], "majority", P),
        ([U], "majority", U),
        ([S, P], "majority", U),  # a tie is nobody's majority
        ([S, S, P], "majority", S),
        ([P, S, P], "majority", P),
        ([S, P, U], "majority", U),
        ([S, U, U], "majority", U),  # one sound vote of three does not pass
        ([S, S, S], "all", S),
        ([S, S, U], "all", U),
        ([S, U, P], "all", P),
        ([P, P, S], "any", S),
        ([P, P, P], "any", P),
        ([P, P, U], "any", U),
    ],
)
def test_rules_on_counted_votes(votes: list[Outcome], rule: Rule, expected: Outcome) -> None:
    assert combine(votes, rule) == expected


@pytest.mark.parametrize("rule", ["all", "majority", "any"])
def test_stopping_early_never_changes_the_outcome(rule: Rule) -> None:
    for total in range(1, 5):
        for votes in product((S, P, U), repeat=total):
            final = combine(votes, rule)
            for asked in range(total):
                early = combine(votes[:asked], rule, missing=total - asked)
                assert early in (None, final), (votes, asked)


def test_open_outcomes_stay_open() -> None:
    assert combine([], "majority", missing=3) is None
    assert combine([S], "majority", missing=2) is None
    assert combine([S, P], "majority", missing=1) is None
    assert combine([P], "any", missing=1) is None


def test_a_settled_outcome_buys_no_more_votes() -> None:
    assert combine([S, S], "majority", missing=1) == S
    assert combine([P], "all", missing=2) == P
    assert combine([S], "any", missing=2) == S
    assert combine([U, U], "majority", missing=1) == U
