"""(student, style) pairs: how answers are counted, and which pairs dev recommends.

Everything that is chosen, a student's style or who may vote, is chosen on dev answers only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from qrdistill.base.records import FREE, Answer, Question, Score, Split
from qrdistill.scores.statistics import wilson
from qrdistill.students.best_style import StyleChoice, StyleTrial, choose_style, dev_sample, trial

BASE = "@base"  # closes the name under which a student's untrained self is scored: "mistral@base"
_CLIP = (0.55, 0.95)  # dev accuracies are clipped to this range before their log-odds are taken


class Pair(NamedTuple):
    """One way to get an answer: a student, prompted with a style (or FREE)."""

    student: str
    style: str

    def __str__(self) -> str:
        return f"{self.student}/{self.style}"


def is_base(student: str) -> bool:
    return student.endswith(BASE)


def trained_name(student: str) -> str:
    """`mistral@base` -> `mistral`; other names stay."""
    return student.removesuffix(BASE)


def count(pair: Pair, answers: Sequence[Answer], split: Split, family: str = "all") -> Score:
    """One accuracy with its Wilson interval; undecided answers stay in n and are stated beside it."""
    correct = sum(answer.correct is True for answer in answers)
    interval = wilson(correct, len(answers))
    return Score(
        student=pair.student,
        split=split,
        style=pair.style,
        family=family,
        n=len(answers),
        correct=correct,
        undecided=sum(answer.correct is None for answer in answers),
        truncated=sum(answer.finish_reason == "length" for answer in answers),
        accuracy=interval.estimate if answers else 0.0,
        low=interval.low,
        high=interval.high,
    )


def count_all(answers: Iterable[Answer], questions: Mapping[str, Question]) -> list[Score]:
    """Scores of the greedy answers per student, split and style: over all families, then one by one."""
    groups: dict[tuple[Split, Pair], list[Answer]] = {}
    for answer in answers:
        if answer.sample == 0:
            groups.setdefault((answer.split, Pair(answer.student, answer.style)), []).append(answer)
    scores: list[Score] = []
    for (split, pair), group in groups.items():
        scores.append(count(pair, group, split))
        families: dict[str, list[Answer]] = {}
        for answer in group:
            families.setdefault(questions[answer.question_id].family, []).append(answer)
        if len(families) > 1:
            scores += [count(pair, families[name], split, name) for name in sorted(families)]
    return scores


def dev_scores(scores: Iterable[Score]) -> dict[Pair, Score]:
    """The dev scores over all families, styled pairs only, in the scores' order."""
    return {
        Pair(score.student, score.style): score
        for score in scores
        if score.split == "dev" and score.family == "all" and score.style != FREE
    }


def ranked(dev: Mapping[Pair, Score]) -> list[Pair]:
    """Pairs from best to worst dev accuracy; equals keep their order."""
    return sorted(dev, key=lambda pair: -dev[pair].accuracy)


def style_choices(
    answers: Iterable[Answer], questions: Mapping[str, Question], held: Mapping[str, str] = {}
) -> dict[str, StyleChoice]:
    """Each student's best style, by its greedy dev answers (`students.best_style`); held: the one it has learnt in."""
    asked = {question.id for question in dev_sample(questions.values())}
    rows: dict[Pair, list[Answer]] = {}
    for row in answers:
        if row.question_id in asked and row.sample == 0 and row.style != FREE:
            rows.setdefault(Pair(row.student, row.style), []).append(row)
    trials: dict[str, dict[str, StyleTrial]] = {}
    for pair, own in rows.items():
        found = trial((row.correct is True, row.logprob, row.text) for row in own)
        trials.setdefault(pair.student, {})[pair.style] = found
    return {student: choose_style(student, own, held.get(student)) for student, own in trials.items()}


def voting_pairs(dev: Mapping[Pair, Score], *, above: float, most: int) -> list[Pair]:
    """The trained students' pairs that dev shows above `above`, at most `most` per student, best first."""
    voters: list[Pair] = []
    for pair in ranked(dev):
        taken = sum(voter.student == pair.student for voter in voters)
        if not is_base(pair.student) and dev[pair].accuracy > above and taken < most:
            voters.append(pair)
    return voters


def log_odds(accuracy: float) -> float:
    """log(p / (1 - p)) of an accuracy clipped to [0.55, 0.95]: a vote's weight, in nats, always positive.

    With independent voters this weighting is the most likely right (two answers). The upper clip keeps
    one lucky pair from overruling all others; the lower one lets weak students, whose wrong answers
    rarely agree with each other, vote equally.

    >>> round(log_odds(0.8), 3), round(log_odds(1.0), 3), round(log_odds(0.2), 3)
    (1.386, 2.944, 0.201)
    """
    clipped = min(max(accuracy, _CLIP[0]), _CLIP[1])
    return math.log(clipped / (1 - clipped))
