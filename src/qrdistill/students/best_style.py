"""Dev accuracy per student and style: what rules measure before training, and training watches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from qrdistill.answers.check import check
from qrdistill.base.records import Question
from qrdistill.paths.styles import Style, student_prompt
from qrdistill.students.decode.decode import decode
from qrdistill.students.student import Student


def dev_accuracy(
    students: Sequence[Student],
    questions: Sequence[Question],
    styles: Iterable[str],
    known: Mapping[str, Style],
    *,
    max_tokens: int = 160,
) -> dict[str, dict[str, float]]:
    """Share of `questions` answered right, greedy, per student and style; undecided is not right."""
    accuracy: dict[str, dict[str, float]] = {}
    for student in students:
        accuracy[student.name] = {}
        for style in styles:
            prompts = [student_prompt(question.question, known.get(style)) for question in questions]
            answers = decode(student, prompts, max_tokens=max_tokens)
            right = [
                check(question, completions[0].text).outcome == "correct"
                for question, completions in zip(questions, answers, strict=True)
            ]
            accuracy[student.name][style] = sum(right) / len(right)
    return accuracy
