"""The checks over windows of whole questions: in this process, or ahead of it on workers.

A worker runs the checks that need no judge. Where no judge is named it closes the cases too and hands back their
verdicts as columns; else it hands back the cases, and the process that asks the judges goes on with them in order:
one process writes the reply cache, so what a dying worker loses was never paid for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from qrdistill.base.progress import Progress, Silent
from qrdistill.base.records import Outcome, Question, ReasoningPath, Verdict, unchecked
from qrdistill.base.store import read_table, schema, temporary_folder, write_table
from qrdistill.verdicts.checks.contamination import Contamination
from qrdistill.verdicts.checks.run_checks import cheap_checks, late_checks
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.open_case import Case, Check, Finding

if TYPE_CHECKING:
    from qrdistill.base.store import TableWriter
    from qrdistill.compute.workers import Workers

# question, task, style, teacher, cost, closed by, outcome, reason
Facts = tuple[str, str, str, str, float, str | None, Outcome, str]
_NO_QUESTION = Question(id="", split="train", task="", family="", kind="", question="", gold=None)
_NO_PATH = ReasoningPath(id="", question_id="", teacher="", style="", sample=0, prompt_hash="", text="", answer=None)


@dataclass(frozen=True)
class Window:
    """Cases of whole questions, what each check found of them in its order, and their verdicts as columns once closed."""

    cases: list[Case]
    booked: list[tuple[str, Outcome]]
    verdicts: pa.RecordBatch | None = None
    facts: Sequence[Facts] = ()  # of each case, in place of the cases themselves on their way from a worker


@dataclass(frozen=True)
class Checks:
    """All that the checks need, the judges aside. `evaluation`: the dev and test questions; `found`: the train questions
    that contain one of them."""

    config: FilterConfig
    evaluation: Sequence[Question]
    found: Mapping[str, tuple[str, float]]
    unsettled: Mapping[str, str]
    seed: int

    @cached_property
    def before(self) -> list[Check]:
        """Those that come before the judges."""
        contamination = Contamination(self.evaluation, self.config, self.found) if self.config.contamination else None
        return cheap_checks(self.config, contamination, self.unsettled)

    @cached_property
    def after(self) -> list[Check]:
        return late_checks(self.config, seed=self.seed)


def run_checks(cases: Sequence[Case], checks: Iterable[Check]) -> list[tuple[str, Outcome]]:
    """Records what each check says of the cases that are open when it comes; returns it in that order."""
    booked: list[tuple[str, Outcome]] = []
    for check in checks:
        waiting = [case for case in cases if case.open]
        for case, finding in zip(waiting, check.run(waiting), strict=True):
            if finding is not None:
                case.record(check.name, finding)
                booked.append((check.name, finding.outcome))
    return booked


def look_at(
    windows: Iterable[list[Case]],
    checks: Checks,
    judging: Sequence[Check],
    *,
    judged: bool,
    out: TableWriter,
    workers: Workers | None,
) -> Iterator[Window]:
    """Runs all checks (`judging`: the judges and what comes after them) and writes every verdict, in order."""
    if workers is None:
        for cases in windows:
            yield _written(cases, run_checks(cases, [*checks.before, *judging]), out)
        return
    with temporary_folder(out.path) as folder:
        work = _Look(checks, closes=not judged)
        for window in workers.map(work, list(_shards(folder, windows)), progress=Silent()):
            if window.verdicts is None:
                yield _written(window.cases, [*window.booked, *run_checks(window.cases, judging)], out)
            else:
                out.write_batch(window.verdicts)
                yield replace(window, cases=[_case(facts) for facts in window.facts])


def _written(cases: list[Case], booked: list[tuple[str, Outcome]], out: TableWriter) -> Window:
    for case in cases:
        case.close()
    out.write_batch(_columns(cases))
    return Window(cases, booked)


def _shards(folder: Path, windows: Iterable[list[Case]]) -> Iterator[tuple[Path, Path]]:
    """A window's questions and its paths, as a table each."""
    for number, cases in enumerate(windows):
        questions, paths = (folder / f"{name}-{number:06d}.parquet" for name in ("questions", "paths"))
        write_table(questions, Question, {case.question.id: case.question for case in cases}.values())
        write_table(paths, ReasoningPath, (case.path for case in cases))
        yield questions, paths


class _Look:
    """What a worker does with a window."""

    def __init__(self, checks: Checks, *, closes: bool) -> None:
        self._checks, self._closes = checks, closes

    def __call__(self, shard: tuple[Path, Path], progress: Progress) -> Window:
        questions = {question.id: question for question in read_table(shard[0], Question)}
        cases = [Case(questions[path.question_id], path) for path in read_table(shard[1], ReasoningPath)]
        if not self._closes:
            return Window(cases, run_checks(cases, self._checks.before))
        booked = run_checks(cases, [*self._checks.before, *self._checks.after])
        for case in cases:
            case.close()
        return Window([], booked, _columns(cases), [_facts(case) for case in cases])


def _facts(case: Case) -> Facts:
    """What the account asks for: no text and no record, which would be most of what crosses the wire."""
    question, path, closing = case.question, case.path, case.closing
    return (
        question.id,
        question.task,
        path.style,
        path.teacher,
        path.cost,
        case.closed_by,
        closing.outcome,
        closing.reason,
    )


def _case(facts: Facts) -> Case:
    """A closed case with these facts, and nothing else of its question and path."""
    id, task, style, teacher, cost, closed_by, outcome, reason = facts
    question = unchecked(Question, {**vars(_NO_QUESTION), "id": id, "task": task})
    path = unchecked(ReasoningPath, {**vars(_NO_PATH), "style": style, "teacher": teacher, "cost": cost})
    return Case(question, path, closed_by=closed_by, closing=Finding(outcome, reason))


def _columns(cases: Iterable[Case]) -> pa.RecordBatch:
    fields = schema(Verdict)
    columns = zip(*(note for case in cases for note in case.notes), strict=True)
    return pa.record_batch([pa.array(values, f.type) for values, f in zip(columns, fields, strict=True)], schema=fields)
