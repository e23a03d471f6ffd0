"""The ensembles that a run reports, each beside a single student at the same decoding cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qrdistill.base.records import FREE, Question, Score
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.ensemble import (
    Ballot,
    Check,
    Table,
    Vote,
    fallback,
    majority_weights,
    probability_weights,
    vote,
)
from qrdistill.scores.paired import difference
from qrdistill.scores.scores_file import Ensemble, Method
from qrdistill.scores.statistics import wilson
from qrdistill.scores.student_style import Pair, is_base, log_odds, ranked, voting_pairs

_Decide = Callable[[str, Sequence[Ballot]], Vote]  # question id, ballots in voting order


@dataclass(frozen=True)
class _Candidate:
    name: str
    method: Method
    members: Sequence[Pair]
    votes: Mapping[str, Vote]  # question id -> result
    weights: Sequence[float] | None = None

    @property
    def decodes(self) -> float:
        return sum(one.decodes for one in self.votes.values()) / max(1, len(self.votes))

    @property
    def right(self) -> dict[str, bool]:
        return {question: one.correct is True for question, one in self.votes.items()}


def all_ensembles(
    table: Table,
    dev: Mapping[Pair, Score],
    config: EvaluateConfig,
    questions: Mapping[str, Question],
    best: Mapping[str, str],
    *,
    check: Check | None = None,
) -> list[Ensemble]:
    """Votes over the students' best styles, over all good pairs, and over free answers.

    Self-consistency joins where answers were sampled, and the fallback where a `check` (a judge of the
    text) is given. Every ensemble is compared with the best pair on dev (one decode), and with that
    pair's self-consistency over at least as many decodes.
    """
    trained = [pair for pair in ranked(dev) if not is_base(pair.student) and (*pair, 0) in table]
    if not trained:
        return []
    first: dict[str, Pair] = {}
    for pair in trained:  # the chosen style, or where that was not asked, the best of those that were
        if pair.student not in first or best[pair.student] == pair.style:
            first[pair.student] = pair
    tops = [pair for pair in trained if first[pair.student] == pair]
    good = voting_pairs(dev, above=config.vote_above, most=config.vote_styles)
    groups = {
        "students": tops,
        "pairs": [pair for pair in good if pair in trained],
        "free": [Pair(pair.student, FREE) for pair in tops if (pair.student, FREE, 0) in table],
    }
    candidates: list[_Candidate] = []
    for label, members in groups.items():
        if len(members) > 1 and (label != "pairs" or members != tops):
            candidates += _votes(label, members, table, dev)
    if check is not None:
        members = groups["pairs"] or tops
        shared, ballots = _ballots(members, table)
        votes = fallback([questions[question] for question in shared], ballots, check)
        candidates.append(_Candidate("judge fallback", "fallback", members, dict(zip(shared, votes, strict=True))))
    single = _candidate("single", "majority", tops[:1], table, _majority)
    sampled = [one for pair in tops for one in _self_consistency(pair, table)]
    return [_ensemble(one, single, sampled) for one in candidates + sampled]


def _votes(label: str, members: Sequence[Pair], table: Table, dev: Mapping[Pair, Score]) -> list[_Candidate]:
    found = [
        _candidate(f"majority, {label}", "majority", members, table, _majority),
        _candidate(f"log-probability, {label}", "logprob", members, table, _by_probability),
    ]
    if any(pair not in dev for pair in members):
        return found  # free answers have no style of their own to look up on dev
    weights = [log_odds(dev[pair].accuracy) for pair in members]
    for early in (False, True):
        found.append(
            _candidate(
                f"weighted by dev, {label}" + (", early stop" if early else ""),
                "weighted",
                members,
                table,
                lambda _, ballots, early=early: vote(ballots, weights, early_stop=early),
                weights=weights,
            )
        )
    return found


def _self_consistency(pair: Pair, table: Table) -> list[_Candidate]:
    """Majority over the first k sampled answers, k = 2 to all."""
    samples = [sample for student, style, sample in table if (student, style) == pair and sample > 0]
    return [
        _candidate(
            f"self-consistency of {pair}, {k} samples",
            "self_consistency",
            [pair],
            table,
            _majority,
            samples=samples[:k],
        )
        for k in range(2, len(samples) + 1)
    ]


def _majority(_: str, ballots: Sequence[Ballot]) -> Vote:
    return vote(ballots, majority_weights(ballots))


def _by_probability(_: str, ballots: Sequence[Ballot]) -> Vote:
    return vote(ballots, probability_weights(ballots))


def _candidate(
    name: str,
    method: Method,
    members: Sequence[Pair],
    table: Table,
    decide: _Decide,
    *,
    samples: Sequence[int] = (0,),
    weights: Sequence[float] | None = None,
) -> _Candidate:
    """Decides every question that all columns answered."""
    shared, rows = _ballots(members, table, samples)
    results = {question: decide(question, row) for question, row in zip(shared, rows, strict=True)}
    return _Candidate(name, method, members, results, weights)


def _ballots(
    members: Sequence[Pair], table: Table, samples: Sequence[int] = (0,)
) -> tuple[list[str], list[list[Ballot]]]:
    """The questions that all columns answered, and each one's ballots in voting order."""
    columns = [table[*pair, sample] for pair in members for sample in samples]
    shared = [question for question in columns[0] if all(question in column for column in columns)]
    return shared, [[column[question] for column in columns] for question in shared]


def _ensemble(one: _Candidate, single: _Candidate, sampled: Sequence[_Candidate]) -> Ensemble:
    results = list(one.votes.values())
    n, correct = len(results), sum(one.right.values())
    interval = wilson(correct, n)
    best = str(single.members[0])
    equal = None  # self-consistency of the best single pair with as many decodes, or one more
    if one.method != "self_consistency":
        budget = math.ceil(one.decodes - 1e-9)
        own = [other for other in sampled if list(other.members) == list(single.members)]
        equal = next((other for other in own if round(other.decodes) == budget), None)
    return Ensemble(
        name=one.name,
        method=one.method,
        members=[str(pair) for pair in one.members],
        weights=list(one.weights) if one.weights is not None else None,
        n=n,
        correct=correct,
        undecided=sum(result.correct is None for result in results),
        accuracy=interval.estimate if n else 0.0,
        low=interval.low,
        high=interval.high,
        decodes=one.decodes,
        tokens=sum(result.tokens for result in results) / max(1, n),
        against_single=difference(one.name, best, one.right, single.right),
        against_equal_cost=difference(one.name, equal.name, one.right, equal.right) if equal else None,
        equal_cost_decodes=equal.decodes if equal else None,
    )
