"""The one choice of a student's best style: training, own paths and scores all choose by it.

Asked are the dev questions of `dev_sample`, greedily, with the token limit of `evaluate.max_tokens`. The style with
most right answers wins. Equals are told apart by the student's own completions: the lower mean NLL per character
wins, what it writes with more confidence; then the style named first. No teacher writes for dev questions, so there
is no path whose loss could be compared there. A student that has learnt in one style holds on to it, unless another is
better beyond chance (`style_change`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qrdistill.answers.check import check
from qrdistill.base.draws import uniform
from qrdistill.base.records import Question
from qrdistill.base.statistics import mcnemar
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.paths.styles import Style, student_prompt
from qrdistill.students.engines.engine import Writer
from qrdistill.students.engines.local import LocalWriter

if TYPE_CHECKING:  # who only counts answers, `qrdistill show` say, waits for no torch
    from qrdistill.students.student import Student

_QUESTIONS = 100  # at most so many choose a style
LEVEL = 0.05
"""A change of style needs a smaller p."""


@dataclass(frozen=True)
class StyleTrial:
    """One student's dev answers in one style. outcomes: `1` or `0` per question, undecided is not right; nll: nats per
    character of its completions."""

    outcomes: str
    nll: float

    @property
    def right(self) -> int:
        return self.outcomes.count("1")

    @property
    def n(self) -> int:
        return len(self.outcomes)

    @property
    def accuracy(self) -> float:
        return self.right / max(1, self.n)


def read_trials(path: Path) -> dict[str, dict[str, StyleTrial]]:
    """Student -> style -> how it did, as sampling left it."""
    found = read_json(path)
    return {name: {style: StyleTrial(**one) for style, one in own.items()} for name, own in found.items()}


@dataclass(frozen=True)
class StyleChange:
    """Whether a student leaves `before` for `best`, what dev answers prefer now.

    only_before, only_best: of `n` dev questions those that it has right in that one of the two styles alone; p: of the
    exact McNemar test, two-sided, times the number of other styles, since dev picked the best of these (Bonferroni).
    """

    student: str
    before: str
    best: str
    style: str  # what it goes on with
    n: int
    right_before: int
    right_best: int
    only_before: int
    only_best: int
    p: float

    def sentence(self) -> str:
        """What was decided, by which numbers."""
        what = f"changes from {self.before} to {self.best}" if self.style == self.best else f"stays with {self.before}"
        numbers = (
            f"{self.best} has {self.right_best} of {self.n} dev questions right for {self.right_before}, "
            f"{self.only_best} only there for {self.only_before} only here"
        )
        if self.style == self.best:
            return f"{self.student} {what}: {numbers} (p = {self.p:.2g}, below {LEVEL})"
        return (
            f"{self.student} {what}: {numbers}, which may be chance (p = {self.p:.2g}, not below {LEVEL}); raise "
            "questions.dev for a choice that says more"
        )


def style_change(student: str, before: str, best: str, trials: Mapping[str, StyleTrial]) -> StyleChange:
    """A student keeps its style unless the same dev questions show another to be better, beyond chance.

    What it has learnt it has learnt in that style: a change costs that for sure, and gains what may be chance.
    """
    now, then = trials[best], trials[before]
    test = mcnemar([mark == "1" for mark in then.outcomes], [mark == "1" for mark in now.outcomes])
    p = min(1.0, test.p * (len(trials) - 1))
    better = test.only_second > test.only_first and p < LEVEL
    return StyleChange(
        student,
        before,
        best,
        best if better else before,
        now.n,
        then.right,
        now.right,
        test.only_first,
        test.only_second,
        p,
    )


@dataclass(frozen=True)
class StyleChoice:
    """What was chosen, by what. tied: the styles with as many right answers as dev's best, itself included; held: the
    style that the student had before; change: what was decided where dev prefers another."""

    student: str
    style: str
    trials: Mapping[str, StyleTrial]
    tied: tuple[str, ...]
    held: str | None = None
    change: StyleChange | None = None

    def warning(self) -> str | None:
        """A sentence where the number of right answers alone did not decide, or another style than before is in question."""
        if self.held:
            return self.change.sentence() if self.change else None
        if len(self.tied) < 2:
            return None
        best = self.trials[self.style]
        what = "no style gives a right answer" if not best.right else f"{', '.join(self.tied)} are equally good"
        return (
            f"{self.student}: {what} on {best.n} dev questions ({best.right} right), so {self.style} is chosen by the "
            f"lower loss of its own answers ({best.nll:.3f} nats per character); raise questions.dev for a choice that "
            "says more"
        )


def choose_style(student: str, trials: Mapping[str, StyleTrial], held: str | None = None) -> StyleChoice:
    """The style with most right answers; among equals that of the lower loss, then the one named first. A style that
    the student has learnt in is `held`, unless the best is better beyond chance.

    >>> choice = choose_style("ada", {"x": StyleTrial("110", 0.2), "y": StyleTrial("011", 0.1), "z": StyleTrial("100", 0.0)})
    >>> choice.style, choice.tied
    ('y', ('x', 'y'))
    """
    most = max(trial.right for trial in trials.values())
    tied = tuple(style for style, trial in trials.items() if trial.right == most)
    best = min(tied, key=lambda style: trials[style].nll)
    if held is None or held not in trials:
        return StyleChoice(student, best, trials, tied)
    if held in tied:
        return StyleChoice(student, held, trials, tied, held)
    change = style_change(student, held, best, trials)
    return StyleChoice(student, change.style, trials, tied, held, change)


def dev_sample(questions: Iterable[Question]) -> list[Question]:
    """The dev questions that choose styles: at most 100, by lot, the same everywhere; in their order."""
    dev = [question for question in questions if question.split == "dev"]
    lots = sorted((uniform(0, "best style", question.id), index) for index, question in enumerate(dev))
    return [dev[index] for index in sorted(index for _, index in lots[:_QUESTIONS])]


def trial(checked: Iterable[tuple[bool, float, str]]) -> StyleTrial:
    """Of (right, summed log-probability in nats, text) of each greedy answer."""
    rows = list(checked)
    characters = sum(len(text) for _, _, text in rows)
    outcomes = "".join("1" if right else "0" for right, _, _ in rows)
    return StyleTrial(outcomes, -sum(logprob for _, logprob, _ in rows) / max(1, characters))


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
