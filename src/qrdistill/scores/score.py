"""Answers in, every figure of scores.json out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qrdistill.answers.statements import own_turn
from qrdistill.base.records import FREE, Answer, Question, Score, Split
from qrdistill.scores.confidence import calibrations
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.ensemble import Check, Table, ballots
from qrdistill.scores.paired import difference
from qrdistill.scores.scores_file import (
    ChosenStyle,
    Difference,
    Headline,
    PassAtK,
    Scores,
)
from qrdistill.scores.statistics import CONFIDENCE, bootstrap_mean, pass_at_k
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
    check: Check | None = None,
) -> dict[str, Any]:
    """Every figure of a run as plain JSON data; `summary.Scores` documents and validates its shape.

    Pure: the same answers give the same figures, bootstrap included. Styles and voters are chosen on
    dev, everything is reported on `config.split`. `check`, a judge of (question, text) pairs that sees no
    gold answer, adds the fallback ensemble: the next best pair is asked where a path does not pass.
    """
    rows = list(answers)
    split: Split = config.split
    counted = count_all(rows, questions)
    dev = dev_scores(counted)
    choices = style_choices(rows, questions)
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
        ensembles=all_ensembles(table, dev, config, questions, best, check=check) if config.vote else [],
        pass_at_k=_pass_at_k(table),
        calibration=calibrations(table, dev_table),
        free_use=_free_use(rows, split),
        rambled=_rambled(rows, split),
        warnings=_warnings(counted, best, split),
    ).model_dump(mode="json")


def _headline(student: str, scores: Sequence[Score], best: Mapping[str, str], table: Table, split: Split) -> Headline:
    def find(style: str | None) -> Score | None:
        wanted = (student, split, style, "all")
        return next((s for s in scores if (s.student, s.split, s.style, s.family) == wanted), None)

    def gain(style: str | None, base_style: str | None) -> Difference | None:
        base = trained_name(student) + BASE
        own, other = table.get((student, style or "", 0)), table.get((base, base_style or "", 0))
        if is_base(student) or own is None or other is None:
            return None
        return difference(
            str(Pair(student, style or "")),
            str(Pair(base, base_style or "")),
            {question: ballot.correct is True for question, ballot in own.items()},
            {question: ballot.correct is True for question, ballot in other.items()},
        )

    style = best.get(student)
    return Headline(
        student=student,
        base=is_base(student),
        style=style,
        styled=find(style),
        free=find(FREE),
        styled_gain=gain(style, best.get(trained_name(student) + BASE)),
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
