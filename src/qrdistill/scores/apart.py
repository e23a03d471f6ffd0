"""Evaluation on workers: one student in one style is one piece of work, whose answers lie where one process keeps them.

A piece is not cut further: completions repeat bit for bit where they are written in the same batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qrdistill.base.progress import Progress, Silent
from qrdistill.base.records import Answer, Question
from qrdistill.compute.workers import Overheard
from qrdistill.scores.evaluate import Asker, Exam, answer_all
from qrdistill.students.engines.engine import Engine

if TYPE_CHECKING:
    from qrdistill.compute.workers import Workers

Piece = tuple[str, str, str, bool]  # student, split, style, sampled


def write_apart(exam: Exam, workers: Workers, progress: Progress) -> None:
    """Has workers write all answers that are asked for and not there; three times at most: dev decides what comes next."""
    while pieces := [piece for name in exam.students for piece in _lacking(exam, name)]:
        heard = Overheard()
        for _ in workers.map(_Write(exam), pieces, progress=heard, gpu=True):
            progress.advance(0)
        for how, message in dict.fromkeys(heard.said):  # several workers load one student
            (progress.warn if how == "warn" else progress.log)(message)


def _lacking(exam: Exam, name: str) -> list[Piece]:
    looking = _Looking(name, _unasked, exam.config, exam.styles, exam.seed, Silent(), exam.students[name][1])
    try:
        for _ in answer_all(looking, exam.questions):
            pass
    except _Lacking as lacking:
        return lacking.pieces
    return []


def _unasked(*_: object, **__: object) -> Any:
    raise AssertionError("who only looks asks nobody")


class _Lacking(Exception):
    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces = pieces


class _Looking(Asker):
    """Reads what is there; raises at the first question after what is not."""

    def ask(self, questions: Sequence[Question], styles: Sequence[str], *, sampled: bool = False) -> list[Answer]:
        lacking = [style for style in styles if questions and not self.part(questions, style, sampled).exists()]
        if lacking:
            raise _Lacking([(self.name, questions[0].split, style, sampled) for style in lacking])
        return super().ask(questions, styles, sampled=sampled)


class _Write:
    """What a worker does with a piece; it keeps the student that it loaded last."""

    def __init__(self, exam: Exam) -> None:
        self._exam = exam
        self._loaded: tuple[str, Engine] | None = None

    def __call__(self, piece: Piece, progress: Progress) -> None:
        name, split, style, sampled = piece
        if self._loaded is None or self._loaded[0] != name:
            if self._loaded is not None:
                self._loaded[1].__exit__()
            self._loaded = name, self._exam.engine(name, progress)
        asker = self._exam.asker(name, self._loaded[1], progress)
        asker.ask([one for one in self._exam.questions if one.split == split], [style], sampled=sampled)
