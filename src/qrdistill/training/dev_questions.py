"""Dev questions in training: what rules measure before it, and what chooses the best weights during it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from qrdistill.base.draws import uniform
from qrdistill.base.errors import InputError
from qrdistill.base.records import Question
from qrdistill.routing.gates import DevAccuracy
from qrdistill.students.best_style import StyleChoice, StyleTrial, choose_style, dev_sample, try_styles
from qrdistill.students.engines.local import LocalWriter
from qrdistill.students.student import Student
from qrdistill.training.mesh.ranks import Ranks
from qrdistill.training.plan import TrainData, TrainPlan


class DevQuestions:
    """Asks the students as they are now; `styles` are those that were chosen before the first step, `choices` those
    that dev answers chose then."""

    def __init__(self, data: TrainData, plan: TrainPlan, seed: int, ranks: Ranks | None = None) -> None:
        self._data, self._plan, self._ranks = data, plan, ranks or Ranks()
        lots = sorted((uniform(seed, "dev", question.id), index) for index, question in enumerate(data.dev))
        chosen = sorted(index for _, index in lots[: plan.train.eval_questions])
        self._watched = [data.dev[index] for index in chosen]  # while training: train.eval_questions of them
        self._base: dict[str, dict[str, StyleTrial]] = {}
        self.choices: list[StyleChoice] = []
        self.styles: dict[str, str] = {}

    def due(self, step: int) -> bool:
        """Whether the students are evaluated after so many steps."""
        every = self._plan.train.eval_every
        return bool(every and self._watched and step % every == 0)

    def accuracy(self, students: Sequence[Student]) -> DevAccuracy:
        """Per student and style of the config, as the students are now."""
        return _shares(self._try(students, self._watched, list(self._data.styles)))

    def base_accuracy(self, students: Sequence[Student], styles: Sequence[str]) -> DevAccuracy:
        """Per student and each of these styles, before training, on the questions that choose styles."""
        return _shares(self._before(students, styles))

    def best_styles(self, students: Sequence[Student], styles: Sequence[str]) -> Mapping[str, str]:
        """Student -> its best of these styles before training: the one that was chosen, or what dev answers say now."""
        names = [student.name for student in students if student.name not in self._plan.router.styles]
        self.styles = {name: self._data.chosen[name] for name in names if self._data.chosen.get(name) in styles}
        if left := [name for name in names if name not in self.styles]:
            found = self._before(students, styles)
            self.choices = [choose_style(name, found[name]) for name in left]
            self.styles |= {choice.student: choice.style for choice in self.choices}
        return self.styles

    def _before(self, students: Sequence[Student], styles: Sequence[str]) -> dict[str, dict[str, StyleTrial]]:
        given = self._data.trials
        if not self._base and all(style in given.get(student.name, {}) for student in students for style in styles):
            self._base = {student.name: {style: given[student.name][style] for style in styles} for student in students}
        self._base = self._base or self._try(students, dev_sample(self._data.dev), styles)
        return self._base

    def _try(
        self, students: Sequence[Student], questions: Sequence[Question], styles: Sequence[str]
    ) -> dict[str, dict[str, StyleTrial]]:
        if not questions:
            raise InputError(
                f"router.kind {self._plan.router.kind} needs dev questions; set questions.dev, or router.styles"
            )
        known = {style: self._data.styles.get(style) for style in styles}
        limit, stop = self._plan.dev_tokens, self._plan.dev_stop
        own = (student for s, student in enumerate(students) if self._ranks.owns(s))
        return self._ranks.everyone(
            {
                student.name: student.around(
                    partial(try_styles, LocalWriter(student), questions, known, max_tokens=limit, stop=stop)
                )
                for student in own
            }
        )


def _shares(trials: Mapping[str, Mapping[str, StyleTrial]]) -> DevAccuracy:
    return {name: {style: one.accuracy for style, one in own.items()} for name, own in trials.items()}
