"""Dev questions in training: what rules measure before it, and what chooses the best weights during it."""

from __future__ import annotations

from collections.abc import Sequence

from qrdistill.base.draws import uniform
from qrdistill.base.errors import InputError
from qrdistill.routing.gates import DevAccuracy
from qrdistill.students.best_style import dev_accuracy
from qrdistill.students.student import Student
from qrdistill.training.plan import TrainData, TrainPlan


class DevQuestions:
    """A sample of the dev questions, at most `train.eval_questions`, the same throughout a training."""

    def __init__(self, data: TrainData, plan: TrainPlan, seed: int) -> None:
        lots = sorted((uniform(seed, "dev", question.id), index) for index, question in enumerate(data.dev))
        chosen = sorted(index for _, index in lots[: plan.train.eval_questions])
        self._questions = [data.dev[index] for index in chosen]
        self._styles, self._router, self._every = data.styles, plan.router.kind, plan.train.eval_every

    def due(self, step: int) -> bool:
        """Whether the students are evaluated after so many steps."""
        return bool(self._every and self._questions and step % self._every == 0)

    def accuracy(self, students: Sequence[Student], styles: Sequence[str] | None = None) -> DevAccuracy:
        """Per student and style (None: all), as the students are now. Raises InputError without dev questions."""
        if not self._questions:
            raise InputError(f"router.kind {self._router} needs dev questions; set questions.dev, or router.styles")
        return dev_accuracy(students, self._questions, styles or list(self._styles), self._styles)
