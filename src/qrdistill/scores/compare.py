"""Finished runs side by side, on the questions that they share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from qrdistill.base.errors import InputError
from qrdistill.base.records import FREE, Answer
from qrdistill.base.store import read_table
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.scores.paired import difference
from qrdistill.scores.scores_file import Difference, Scores
from qrdistill.scores.student_style import is_base

Outcomes = dict[str, bool]  # question id -> right
Mode = Literal["styled", "free"]


def compare(runs: Sequence[Path]) -> list[Difference]:
    """Paired differences of the first run and each other one, per student and mode, then over students.

    A student is compared with its namesake, each prompted with the style that its own run chose on dev, and
    free. The mean over students counts a question as the share of the shared students that are right.
    Every run needs `answers.parquet` and `scores.json`.

    Raises InputError where a file is missing, or two runs share no question or no student.
    """
    if len(runs) < 2:
        raise InputError("compare needs two or more run directories")
    names = run_names(runs)
    tables = [outcomes_by_question(run) for run in runs]
    found: list[Difference] = []
    for other in range(1, len(runs)):
        rows = list(_pairs(names[0], names[other], tables[0], tables[other]))
        if not rows:
            raise InputError(
                f"{runs[0]} and {runs[other]} cannot be compared: they share no student, or no scored question"
            )
        found += rows
    return found


def run_names(runs: Sequence[Path]) -> list[str]:
    """The folders' own names, or whole paths where two are the same."""
    short = [run.resolve().name for run in runs]
    return short if len(set(short)) == len(short) else [str(run) for run in runs]


def compared_answers(run: Path) -> dict[tuple[str, Mode], dict[str, Answer]]:
    """(student, "styled" or "free") -> its greedy answers on the scored split, by question id. Raises InputError."""
    try:
        scores = Scores.model_validate(read_json(run / "scores.json", nan=True))
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"{run}: no readable scores.json; run `qrdistill evaluate` there first") from error
    table: dict[tuple[str, Mode], dict[str, Answer]] = {}
    for row in read_table(run / "answers.parquet", Answer):
        if row.split != scores.split or row.sample != 0 or is_base(row.student):
            continue
        styles: dict[Mode, str | None] = {"styled": scores.best_style.get(row.student), "free": FREE}
        for mode, style in styles.items():
            if row.style == style:
                table.setdefault((row.student, mode), {})[row.question_id] = row
    return table


def outcomes_by_question(run: Path) -> dict[tuple[str, Mode], Outcomes]:
    """The same, right or not."""
    found = compared_answers(run)
    return {key: {name: row.correct is True for name, row in rows.items()} for key, rows in found.items()}


def _pairs(
    first_name: str,
    second_name: str,
    first: Mapping[tuple[str, Mode], Outcomes],
    second: Mapping[tuple[str, Mode], Outcomes],
) -> Iterator[Difference]:
    for mode in ("styled", "free"):
        shared = [key for key in first if key in second and key[1] == mode]
        for key in shared:
            what = f"{key[0]}, {mode}"
            row = difference(f"{first_name}: {what}", f"{second_name}: {what}", first[key], second[key])
            if row is not None:
                yield row
        if len(shared) > 1:
            what = f"mean of students, {mode}"
            row = difference(
                f"{first_name}: {what}",
                f"{second_name}: {what}",
                _mean([first[key] for key in shared]),
                _mean([second[key] for key in shared]),
            )
            if row is not None:
                yield row


def _mean(tables: Sequence[Outcomes]) -> dict[str, float]:
    questions = [question for question in tables[0] if all(question in table for table in tables)]
    return {question: sum(table[question] for table in tables) / len(tables) for question in questions}
