"""`study thinking`: what of a teacher that thinks first should be taught: its answer, its thought, or both?

Thoughts are long and answers short, so every figure stands beside the length it was bought with.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from qrdistill.base.thoughts import Thinking
from qrdistill.report.study_results import Cell, Part, StudyRecord, StudyResults, Table
from qrdistill.runs.config import Config
from qrdistill.runs.run import Run
from qrdistill.studies.grid.arms import Arm, by_name
from qrdistill.studies.grid.page import finish
from qrdistill.studies.grid.plan import Plan, run_arms_of
from qrdistill.studies.grid.study import Setup, run_name, variants
from qrdistill.studies.grid.workbench import workbench

_ARMS: tuple[tuple[str, str, Thinking], ...] = (
    ("answer", "the answer alone", "drop"),
    ("thought", "the thought alone", "only"),
    ("both", "thought and answer", "keep"),
)
_THIRDS = ("shortest", "middle", "longest")


class Lengths(StudyRecord):
    """One student of one run, asked in its best style."""

    arm: str
    seed: int
    student: str
    lesson: float
    """Characters of a path that trains, on average."""
    trained: int
    """Tokens that it was trained on."""
    written: float
    """Tokens of an answer, on average."""
    cut: float
    """Share of its answers that the limit cut."""
    accuracy: float
    by_third: tuple[float, ...]
    """Accuracy of its shortest, middle and longest answers, a third each; empty below three answers."""


class ThinkingResults(StudyResults):
    lengths: list[Lengths] = Field(default_factory=list)


def thinking(setup: Setup) -> ThinkingResults:
    """Runs the study and writes study.json and report.html."""
    plain = run_arms_of(PLAN, setup)
    lengths = _lengths(setup, plain)
    result = ThinkingResults.model_validate({**dict(plain), "lengths": lengths})
    return finish(setup, result, [_part(result)], caveats=[PLAN.caveat])


def _arms(config: Config) -> list[Arm]:
    everyone = by_name(config)["all"].changes
    scripted = workbench(config.questions.task) is not None
    found: list[Arm] = []
    for name, title, mode in _ARMS:
        changes: dict[str, Any] = {**everyone, "filter.judges": [], "filter.deduplicate": False}
        for index, _ in enumerate(config.teachers):
            changes |= {f"teachers.{index}.thinking": mode, **({f"teachers.{index}.thinks": True} if scripted else {})}
        found.append(Arm(name, title, "extension", changes))
    return found


def _lengths(setup: Setup, result: StudyResults) -> list[Lengths]:
    found: list[Lengths] = []
    variant = PLAN.conditions(setup.config)[0]
    for arm, figures in result.conditions[variant.name].arms.items():
        chosen = {arm: (figures.tuned, None)} if figures.tuned else None
        for seed in setup.seeds:
            found += _of_run(arm, seed, setup.folder / run_name(variant, arm, seed, chosen))
    return found


def _of_run(arm: str, seed: int, folder: Path) -> list[Lengths]:
    run = Run(folder)
    kept = {row.path_id for row in run.verdicts() if row.check == "filter" and row.outcome == "keep"}
    lessons = [len(path.lesson) for path in run.paths() if path.id in kept]
    scores = run.scores
    trained = run.stages["train"]["counts"].get("tokens", {})
    found: list[Lengths] = []
    for head in scores["headlines"]:
        if head["base"]:
            continue
        student, style = head["student"], head["style"]
        answers = [
            row
            for row in run.answers()
            if (row.student, row.style, row.split, row.sample) == (student, style, scores["split"], 0)
        ]
        ordered = sorted(answers, key=lambda row: (row.tokens, row.question_id))
        found.append(
            Lengths(
                arm=arm,
                seed=seed,
                student=student,
                lesson=sum(lessons) / max(1, len(lessons)),
                trained=trained.get(student, 0),
                written=_mean([row.tokens for row in answers]),
                cut=_mean([row.finish_reason == "length" for row in answers]),
                accuracy=_mean([row.correct is True for row in answers]),
                by_third=tuple(_mean([row.correct is True for row in third]) for third in thirds(ordered)),
            )
        )
    return found


def thirds(rows: Sequence[Any]) -> list[Sequence[Any]]:
    """Three parts of nearly equal size, in order; none where there are fewer than three rows.

    >>> thirds([1, 2, 3, 4])
    [[1], [2], [3, 4]]
    """
    if len(rows) < len(_THIRDS):
        return []
    ends = [len(rows) * place // len(_THIRDS) for place in range(len(_THIRDS) + 1)]
    return [rows[start:end] for start, end in itertools.pairwise(ends)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _part(result: ThinkingResults) -> Part:
    titles = result.titles()
    rows: list[list[Cell]] = []
    for one in result.lengths:
        thirds_of = [round(100 * share, 1) for share in one.by_third] or [None] * len(_THIRDS)
        figures = [round(one.lesson), one.trained, round(one.written, 1), round(100 * one.cut, 1)]
        rows.append([titles[one.arm], one.seed, one.student, *figures, round(100 * one.accuracy, 1), *thirds_of])
    table = Table(
        title="Length and accuracy",
        columns=[
            *("trained on", "seed", "student", "characters of a path", "trained tokens", "tokens of an answer"),
            *("cut, %", "accuracy, %", *(f"of its {third} third, %" for third in _THIRDS)),
        ],
        rows=rows,
        note="Answers of the scored split in the student's best style; the thirds are by tokens of the answer, within "
        "a student and run.",
    )
    return Part(title="By length", tables=[table])


PLAN = Plan(
    "thinking",
    "What to teach of a thinking teacher",
    "Should a student learn the answer, the thought, or both?",
    _arms,
    lambda config: variants(config)[:1],
    (
        ("both", "answer", "Does the thought before the answer help?"),
        ("thought", "answer", "Does the thought alone teach more than the answer alone?"),
        ("both", "thought", "Does the answer after the thought add anything?"),
    ),
    "Every arm takes the same paths and steps, so longer lessons train on more tokens; judges and duplicate checks, which "
    "would read another text in every arm, are off.",
)
