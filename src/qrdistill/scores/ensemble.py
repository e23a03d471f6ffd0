"""Several answers to one question become one: votes across students, styles and samples.

An answer that could not be read does not vote. Equal answers are counted together by
`answers.check.canonical`. Ties go to the answer that was voted for first; voters stand in the
order of their dev accuracy, so that is the best voter's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from qrdistill.base.records import Answer, Question

_ROUNDING = 1e-9  # sums of weights that differ by less are equal


class Ballot(NamedTuple):
    """One voter's answer to one question. `answer` is canonical; None does not vote."""

    answer: str | None
    correct: bool | None
    logprob: float  # summed over the completion, nats
    tokens: int
    text: str = ""


class Vote(NamedTuple):
    """The result: `answer` None where nobody could be read; `decodes` and `tokens` are what it cost."""

    answer: str | None
    correct: bool | None
    decodes: int
    tokens: int


Table = dict[tuple[str, str, int], dict[str, Ballot]]  # (student, style, sample) -> question id -> ballot


def ballots(answers: Iterable[Answer], questions: Mapping[str, Question]) -> Table:
    """Answers as ballots, their texts made comparable."""
    from qrdistill.answers.check import canonical

    seen: dict[tuple[str, str], str | None] = {}
    table: Table = {}
    for answer in answers:
        form: str | None = None
        if answer.answer is not None:
            key = (answer.question_id, answer.answer)
            if key not in seen:
                seen[key] = canonical(questions[answer.question_id], answer.answer)
            form = seen[key]
        ballot = Ballot(form, answer.correct, answer.logprob, answer.tokens, answer.text)
        table.setdefault((answer.student, answer.style, answer.sample), {})[answer.question_id] = ballot
    return table


def vote(voters: Sequence[Ballot], weights: Sequence[float], *, early_stop: bool = False) -> Vote:
    """The answer with the greatest sum of weights.

    With `early_stop` voters are asked in order until the answers still to come cannot change the
    winner; the result is the same, `decodes` counts only those who were asked. Weights are >= 0.
    """
    assert all(weight >= 0 for weight in weights), "a vote's weight is never negative"
    totals: dict[str, float] = {}
    correct: dict[str, bool | None] = {}
    asked, tokens, rest = 0, 0, math.fsum(weights)
    for ballot, weight in zip(voters, weights, strict=True):
        asked, tokens, rest = asked + 1, tokens + ballot.tokens, rest - weight
        if ballot.answer is not None:
            totals[ballot.answer] = totals.get(ballot.answer, 0.0) + weight
            correct.setdefault(ballot.answer, ballot.correct)
        if early_stop and _settled(totals, rest):
            break
    if not totals:
        return Vote(None, None, asked, tokens)
    winner = _leader(totals)
    return Vote(winner, correct[winner], asked, tokens)


def _leader(totals: Mapping[str, float]) -> str:
    best = max(totals.values())
    return next(answer for answer, total in totals.items() if total >= best - _ROUNDING)


def _settled(totals: Mapping[str, float], rest: float) -> bool:
    """Whether `rest`, all given to one other answer, would still leave the leader in front."""
    if not totals:
        return False
    leader = _leader(totals)
    others = max((total for answer, total in totals.items() if answer != leader), default=0.0)
    return totals[leader] - others > rest + 2 * _ROUNDING


def majority_weights(voters: Sequence[Ballot]) -> list[float]:
    return [1.0] * len(voters)


def probability_weights(voters: Sequence[Ballot]) -> list[float]:
    """exp(logprob / tokens): the geometric mean of the token probabilities, in (0, 1].

    Per token, since a sum of log-probabilities would mostly compare lengths, and students with
    different tokenizers would not be comparable at all.
    """
    return [math.exp(min(0.0, ballot.logprob / max(1, ballot.tokens))) for ballot in voters]


Check = Callable[[Sequence[tuple[Question, str]]], list[bool]]


def fallback(questions: Sequence[Question], voters: Sequence[Sequence[Ballot]], check: Check) -> list[Vote]:
    """Per question the first voter whose path passes `check`; if none does, the first voter's answer.

    All questions' first voters are checked together, then the second voters of those left, and so on.
    Decodes are counted up to the accepted one: voters after it are never asked.
    """
    found: dict[int, Vote] = {}
    for turn in range(max(map(len, voters), default=0)):
        waiting = [
            row
            for row, ballots in enumerate(voters)
            if row not in found and turn < len(ballots) and ballots[turn].answer is not None
        ]
        passed = check([(questions[row], voters[row][turn].text) for row in waiting]) if waiting else []
        for row, sound in zip(waiting, passed, strict=True):
            if sound:
                tokens = sum(ballot.tokens for ballot in voters[row][: turn + 1])
                found[row] = Vote(voters[row][turn].answer, voters[row][turn].correct, turn + 1, tokens)
    return [found.get(row) or _first(ballots) for row, ballots in enumerate(voters)]


def _first(voters: Sequence[Ballot]) -> Vote:
    first = voters[0] if voters else Ballot(None, None, 0.0, 0)
    return Vote(first.answer, first.correct, len(voters), sum(ballot.tokens for ballot in voters))
