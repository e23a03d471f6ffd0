"""Teacher `replay`: ready paths from a file (JSONL, CSV, Parquet), such as another run's paths.parquet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from qrdistill.base.errors import DataError
from qrdistill.base.progress import Progress
from qrdistill.base.records import Question
from qrdistill.base.settings import checked_name
from qrdistill.base.thoughts import part
from qrdistill.base.untrusted.remote_file import is_url
from qrdistill.llm.finish_reasons import STOP, recorded
from qrdistill.paths.columns import mapped
from qrdistill.paths.config import ReplayTeacher
from qrdistill.paths.styles import Style
from qrdistill.paths.teachers import Draft
from qrdistill.questions.read_rows import Row, read_source


class ReplayTeacherImplementation:
    """Hands out a file's paths; the rows of one question and style are its samples, in file order.

    A row has `question_id`, `style` and `text`, and may have `teacher` (who wrote it), `thought` (or the
    thought in tags before the text), `finish_reason`, `prompt_tokens`, `completion_tokens` and `cost`. Rows for questions that this run
    does not ask are counted and warned of; a style that the run does not use is an error, because a
    misspelt style would silently lose all its paths. `columns` and `style` of the config read other tools' tables.
    """

    def __init__(self, config: ReplayTeacher, *, base_dir: Path, seed: int, questions: Sequence[Question]) -> None:
        self.name = config.name
        self.file = config.file if is_url(config.file) else str(base_dir / config.file)
        known = {question.id for question in questions}
        self._drafts: dict[tuple[str, str], list[Draft]] = {}
        self._places: dict[str, int] = {}  # style -> the line that first used it
        self._unknown: Counter[str] = Counter()
        columns = {ours: theirs for ours, theirs in config.columns.model_dump().items() if theirs}
        for row in mapped(read_source(base_dir, config.file), columns, config.style, questions):
            question_id, style, draft = _id(row), row.text("style"), _draft(row)
            self._places.setdefault(style, row.line)
            if question_id in known:
                self._drafts.setdefault((question_id, style), []).append(draft)
            else:
                self._unknown[question_id] += 1
        if not self._places:
            raise DataError("holds no paths; one JSON object per line is expected", file=self.file)

    def check_styles(self, names: Sequence[str]) -> None:
        for style, line in self._places.items():
            if style not in names:
                raise DataError(
                    f"unknown style {style!r}; this run's styles are {', '.join(names)}: "
                    "correct it, or add it to paths.styles",
                    file=self.file,
                    line=line,
                )

    def report(self, progress: Progress) -> None:
        if self._unknown:
            first = ", ".join(list(self._unknown)[:3])
            progress.warn(
                f"{self.file}: {self._unknown.total()} of its paths are for {len(self._unknown)} questions "
                f"that this run does not ask (such as {first}); they are left out"
            )

    def samples(self, question: Question, style: Style) -> int:
        return len(self._drafts.get((question.id, style.name), ()))

    def path(self, question: Question, style: Style, sample: int) -> Draft | None:
        drafts = self._drafts.get((question.id, style.name), ())
        return drafts[sample] if sample < len(drafts) else None


def _draft(row: Row) -> Draft:
    value = row.value
    thought = value.get("thought") or ""
    if not isinstance(thought, str):
        raise row.error(f"thought has to be text, not {thought!r:.60}")
    if not (thought and value.get("text") == ""):  # a thought without an answer is a path without one
        row.text("text")
    parts = part(value["text"], thought)  # a text without tags stays as it came, blanks included
    given = value.get("finish_reason")
    teacher = str(value["teacher"]) if value.get("teacher") else None
    try:
        if teacher is not None:
            checked_name(teacher)
    except ValueError as error:
        raise row.error(f"teacher {teacher!r}: {error}") from None
    return Draft(
        text=parts.answer,
        thought=parts.thought,
        finish_reason=STOP if given is None or given == "" else recorded(given),
        prompt_tokens=int(_number(row, "prompt_tokens", whole=True)),
        completion_tokens=int(_number(row, "completion_tokens", whole=True)),
        cost=_number(row, "cost"),
        teacher=teacher,
    )


def _id(row: Row) -> str:
    """Data frames give ids as whole numbers; as text they are the ids that a question file's numbers become."""
    given = row.get("question_id")
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else row.text("question_id")


def _number(row: Row, field: str, *, whole: bool = False) -> float:
    given = row.value.get(field) or 0
    try:
        number = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number < 2**53 or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise row.error(f"{field} has to be {kind} from 0 on, not {given!r:.60}")
    return number
