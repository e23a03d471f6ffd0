"""Answers in, every figure of scores.json out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qrdistill.answers.statements import own_turn
from qrdistill.base.records import FREE, Answer, Question, Score, Split
from qrdistill.scores.confidence import calibrations
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.ensemble import Ballot, Check, Table, ballots
from qrdistill.scores.paired import difference
from qrdistill.scores.scores_file import (
    ChosenStyle,
    Difference,
    Gain,
    Headline,
    PassAtK,
    Scores,
)
from qrdistill.scores.statistics import CONFIDENCE, Interval, bootstrap_mean, pass_at_k, wilson
from qrdistill.scores.student_style import (
    BASE,
    Pair,
    count_all,
    dev_scores,
    is_base,
    style_choices,
    trained_name,
)
from qrdistill.scores.style_of_text import style_of
from qrdistill.scores.voting import all_ensembles

_MANY = 0.05  # a share of truncated or undecided answers above this is worth a warning


def score(
    answers: Iterable[Answer],
    questions: Mapping[str, Question],
    config: EvaluateConfig,
    *,
    held: Mapping[str, str] = {},
    check: Check | None = None,
) -> dict[str, Any]:
    """Every figure of a run as plain JSON data; `summary.Scores` documents and validates its shape.

    Pure: the same answers give the same figures, bootstrap included. Styles and voters are chosen on
    dev (held: the style that a student has learnt in), everything is reported on `config.split`. `check`, a judge of (question, text) pairs that sees no
    gold answer, adds the fallback ensemble: the next best pair is asked where a path does not pass.
    """
    rows = [row if row.training == "trained" else _beside(row) for row in answers]
    split: Split = config.split
    counted = count_all(rows, questions)
    dev = dev_scores(counted)
    choices = style_choices(rows, questions, held)
    best = {student: choice.style for student, choice in choices.items()}
    table = ballots((row for row in rows if row.split == split), questions)
    dev_table = ballots((row for row in rows if row.split == "dev"), questions) if split != "dev" else {}
    students = list(dict.fromkeys(row.student for row in rows))
    return Scores(
        split=split,
        confidence=CONFIDENCE,
        students=students,
        styles=list(dict.fromkeys(row.style for row in rows)),
        scores=counted,
        best_style=best,
        style_choices=[
            ChosenStyle(
                student=student,
                style=choice.style,
                n=choice.trials[choice.style].n,
                accuracy={style: one.accuracy for style, one in choice.trials.items()},
                nll={style: one.nll for style, one in choice.trials.items()},
                tied=list(choice.tied) if len(choice.tied) > 1 else [],
            )
            for student, choice in choices.items()
        ],
        headlines=[_headline(student, counted, best, table, split) for student in students],
        gain=_gain(students, best, table),
        ensembles=all_ensembles(table, dev, config, questions, best, check=check) if config.vote else [],
        pass_at_k=_pass_at_k(table),
        calibration=calibrations(table, dev_table),
        free_use=_free_use(rows, split),
        rambled=_rambled(rows, split),
        warnings=_warnings(counted, best, split),
    ).model_dump(mode="json")


def _beside(row: Answer) -> Answer:
    """An untrained student under a name of its own."""
    return row if is_base(row.student) else row.model_copy(update={"student": row.student + BASE})


def _gain(students: Sequence[str], best: Mapping[str, str], table: Table) -> Gain | None:
    """Of all students that were trained, in their best style where dev chose one, free otherwise."""
    names = [student for student in students if not is_base(student) and student + BASE in students]
    for mode in ("styled", "free"):
        styles = {name: best.get(name, "") if mode == "styled" else FREE for name in names}
        pairs = [_outcomes(table, name, style, best.get(name + BASE, style)) for name, style in styles.items()]
        found = [pair for pair in pairs if pair]
        if not found or len(found) < len(names):
            continue
        shared = [
            question for question in found[0][0] if all(question in one and question in two for one, two in found)
        ]
        trained = {name: sum(one[name] for one, _ in found) / len(found) for name in shared}
        untrained = {name: sum(two[name] for _, two in found) / len(found) for name in shared}
        gain = difference("trained", "untrained", trained, untrained)
        if gain is None:
            continue
        before, after = _share(list(untrained.values()), len(names)), _share(list(trained.values()), len(names))
        return Gain(
            mode=mode,
            students=names,
            n=gain.n,
            untrained=before.estimate,
            untrained_low=before.low,
            untrained_high=before.high,
            trained=after.estimate,
            trained_low=after.low,
            trained_high=after.high,
            gain=gain,
        )
    return None


def _share(right: Sequence[float], students: int) -> Interval:
    """Wilson's interval of one student's share; over the questions for the mean of several."""
    if students == 1:
        return wilson(sum(value > 0 for value in right), len(right))
    return bootstrap_mean(right)


def _outcomes(
    table: Table, student: str, style: str, base_style: str
) -> tuple[dict[str, float], dict[str, float]] | None:
    """Question -> 1 where right: of the trained student, and of its untrained self."""
    own, other = table.get((student, style, 0)), table.get((student + BASE, base_style, 0))
    if own is None or other is None:
        return None

    def right(column: Mapping[str, Ballot]) -> dict[str, float]:
        return {question: float(ballot.correct is True) for question, ballot in column.items()}

    return right(own), right(other)


def _headline(student: str, scores: Sequence[Score], best: Mapping[str, str], table: Table, split: Split) -> Headline:
    def find(style: str | None) -> Score | None:
        wanted = (student, split, style, "all")
        return next((s for s in scores if (s.student, s.split, s.style, s.family) == wanted), None)

    def gain(style: str, base_style: str) -> Difference | None:
        pair = None if is_base(student) else _outcomes(table, student, style, base_style)
        return pair and difference(str(Pair(student, style)), str(Pair(student + BASE, base_style)), *pair)

    style = best.get(student, best.get(trained_name(student)))  # untrained ones are asked what their trained selves are
    return Headline(
        student=student,
        base=is_base(student),
        style=style,
        styled=find(style),
        free=find(FREE),
        styled_gain=gain(style or "", best.get(student + BASE, style or "")),
        free_gain=gain(FREE, FREE),
    )


def _pass_at_k(table: Table) -> list[PassAtK]:
    """k = 1, 2, 4, ... and all, for every (student, style) with sampled answers."""
    figures: list[PassAtK] = []
    sampled = dict.fromkeys(Pair(student, style) for student, style, sample in table if sample > 0)
    for pair in sampled:
        columns = [column for key, column in table.items() if Pair(*key[:2]) == pair and key[2] > 0]
        n = len(columns)
        right = [sum(column[question].correct is True for column in columns) for question in columns[0]]
        for k in sorted({2**power for power in range(n.bit_length()) if 2**power <= n} | {n}):
            interval = bootstrap_mean([pass_at_k(n, correct, k) for correct in right])
            figures.append(
                PassAtK(
                    student=pair.student,
                    style=pair.style,
                    k=k,
                    n=interval.n,
                    value=interval.estimate,
                    low=interval.low,
                    high=interval.high,
                )
            )
    return figures


def _rambled(answers: Sequence[Answer], split: Split) -> dict[str, float]:
    texts: dict[str, list[bool]] = {}
    for row in answers:
        if row.split == split:
            texts.setdefault(row.student, []).append(own_turn(row.text) != row.text)
    return {student: sum(cut) / len(cut) for student, cut in texts.items() if any(cut)}


def _free_use(answers: Sequence[Answer], split: Split) -> dict[str, dict[str, int]]:
    """student -> style -> how many of its free answers are written in it; most used first.

    All styles are looked for, also those that were decoded on dev only.
    """
    rows = [row for row in answers if row.split == split]
    styles = list(dict.fromkeys(row.style for row in answers if row.style != FREE))
    styled: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        if row.style != FREE and row.sample == 0:
            styled.setdefault((row.student, row.question_id), {})[row.style] = row.text
    use: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.style == FREE and row.sample == 0:
            style = style_of(row.text, styles, styled.get((row.student, row.question_id)))
            counts = use.setdefault(row.student, {})
            counts[style] = counts.get(style, 0) + 1
    return {
        student: dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))) for student, counts in use.items()
    }


def _warnings(scores: Sequence[Score], best: Mapping[str, str], split: Split) -> list[str]:
    """One sentence per student whose answers, in its best style or free, are often cut or unreadable."""
    found: list[str] = []
    for what, mend, number in (
        ("were cut by evaluate.max_tokens", "raise it", lambda s: s.truncated),
        ("state no readable answer", "see the column `reason` of answers.parquet", lambda s: s.undecided),
    ):
        for student in dict.fromkeys(score.student for score in scores if not is_base(score.student)):
            bad = [
                f"{number(s)} of {s.n} in style {s.style} ({number(s) / s.n:.0%})"
                for s in scores
                if (s.student, s.split, s.family) == (student, split, "all")
                and s.style in (best.get(student), FREE)
                and number(s) > _MANY * s.n
            ]
            if bad:
                found.append(f"{student}: answers that {what}: {', '.join(bad)}; {mend}")
    return found
