"""The one choice of a student's best style: training, own paths and scores all choose by it.

Asked are the dev questions of `dev_sample`, greedily, with the token limit of `evaluate.max_tokens`. The style with
most right answers wins. Equals are told apart by the student's own completions: the lower mean NLL per character
wins, what it writes with more confidence; then the style named first. No teacher writes for dev questions, so there
is no path whose loss could be compared there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qrdistill.answers.check import check
from qrdistill.base.draws import uniform
from qrdistill.base.records import Question
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.paths.styles import Style, student_prompt
from qrdistill.students.engines.engine import Writer
from qrdistill.students.engines.local import LocalWriter

if TYPE_CHECKING:  # who only counts answers, `qrdistill show` say, waits for no torch
    from qrdistill.students.student import Student

_QUESTIONS = 100  # at most so many choose a style


@dataclass(frozen=True)
class StyleTrial:
    """One student's dev answers in one style. nll: nats per character of its completions; undecided is not right."""

    right: int
    n: int
    nll: float

    @property
    def accuracy(self) -> float:
        return self.right / max(1, self.n)


def read_trials(path: Path) -> dict[str, dict[str, StyleTrial]]:
    """Student -> style -> how it did, as sampling left it."""
    found = read_json(path)
    return {name: {style: StyleTrial(**one) for style, one in own.items()} for name, own in found.items()}


@dataclass(frozen=True)
class StyleChoice:
    """What was chosen, by what. tied: the styles with as many right answers as the chosen one, itself included."""

    student: str
    style: str
    trials: Mapping[str, StyleTrial]
    tied: tuple[str, ...]

    def warning(self) -> str | None:
        """A sentence where the number of right answers alone did not decide."""
        if len(self.tied) < 2:
            return None
        best = self.trials[self.style]
        what = "no style gives a right answer" if not best.right else f"{', '.join(self.tied)} are equally good"
        return (
            f"{self.student}: {what} on {best.n} dev questions ({best.right} right), so {self.style} is chosen by the "
            f"lower loss of its own answers ({best.nll:.3f} nats per character); raise questions.dev for a choice that "
            "says more"
        )


def choose_style(student: str, trials: Mapping[str, StyleTrial]) -> StyleChoice:
    """The style with most right answers; among equals that of the lower loss, then the one named first.

    >>> choice = choose_style("ada", {"x": StyleTrial(3, 9, 0.2), "y": StyleTrial(3, 9, 0.1), "z": StyleTrial(1, 9, 0.0)})
    >>> choice.style, choice.tied
    ('y', ('x', 'y'))
    """
    most = max(trial.right for trial in trials.values())
    tied = tuple(style for style, trial in trials.items() if trial.right == most)
    return StyleChoice(student, min(tied, key=lambda style: trials[style].nll), trials, tied)


def dev_sample(questions: Iterable[Question]) -> list[Question]:
    """The dev questions that choose styles: at most 100, by lot, the same everywhere; in their order."""
    dev = [question for question in questions if question.split == "dev"]
    lots = sorted((uniform(0, "best style", question.id), index) for index, question in enumerate(dev))
    return [dev[index] for index in sorted(index for _, index in lots[:_QUESTIONS])]


def trial(checked: Iterable[tuple[bool, float, str]]) -> StyleTrial:
    """Of (right, summed log-probability in nats, text) of each greedy answer."""
    rows = list(checked)
    characters = sum(len(text) for _, _, text in rows)
    return StyleTrial(
        sum(right for right, _, _ in rows), len(rows), -sum(logprob for _, logprob, _ in rows) / max(1, characters)
    )


def try_styles(
    write: Writer,
    questions: Sequence[Question],
    styles: Mapping[str, Style | None],
    *,
    max_tokens: int,
    stop: Sequence[str] = (),
) -> dict[str, StyleTrial]:
    """Greedy answers to `questions` in every style, in the order of `styles`.

    All are asked at once: a question is read once for its styles, and rows that end early make place for more.
    """
    prompts = [student_prompt(question.question, style) for style in styles.values() for question in questions]
    completions = iter(write(prompts, max_tokens=max_tokens, stop=stop))
    answered = {name: [(question, next(completions)[0]) for question in questions] for name in styles}
    return {
        name: trial(
            (check(question, one.text, cut=one.finish_reason == "length").outcome == "correct", one.logprob, one.text)
            for question, one in rows
        )
        for name, rows in answered.items()
    }


def try_all(
    students: Sequence[Student],
    questions: Sequence[Question],
    styles: Mapping[str, Style | None],
    *,
    max_tokens: int,
    stop: Sequence[str] = (),
) -> dict[str, dict[str, StyleTrial]]:
    """`try_styles` of several students, by name."""
    return {
        student.name: try_styles(LocalWriter(student), questions, styles, max_tokens=max_tokens, stop=stop)
        for student in students
    }
