"""Loading questions: the registry of tasks, and what every task's questions have to satisfy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from qrdistill.answers import check as answers
from qrdistill.base.errors import ConfigError, DataError
from qrdistill.base.plugins import registry
from qrdistill.base.records import Question, Split
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.splits import not_enough

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


class Loader(Protocol):
    def __call__(self, config: QuestionsConfig, *, seed: int, base_dir: Path) -> Iterable[Question]: ...


def find_loader(task: str) -> Loader:
    """The loader of a task: `name` or, where one loader serves many, `name:what`; or `module:function`."""
    family = task.partition(":")[0]
    return registry.find("tasks", family if registry.knows("tasks", family) else task, key="questions.task")


def load_questions(config: QuestionsConfig, *, seed: int, base_dir: Path) -> list[Question]:
    """The questions of a run: train, then dev, then test, each checked to be askable and answerable.

    `base_dir` is the config file's folder; relative paths start there. Raises ConfigError and
    DataError with the place, the value and the mend.
    """
    loader = find_loader(config.task)
    questions = list(loader(config, seed=seed, base_dir=base_dir))
    where = f"task {config.task}"
    _check_unique(questions, where)
    for question in questions:
        problem = gold_problem(question, require_gold=config.require_gold)
        if problem:
            raise DataError(f"question {question.id!r} ({where}): {problem}")
    counts = Counter(question.split for question in questions)
    for split in SPLITS:
        asked = getattr(config, split)
        if asked is not None and counts[split] != asked:
            raise not_enough(split, asked, counts[split], where)
    if not questions:
        keys = ("file", "train_file", "dev_file", "test_file", "hub")
        named = next((key for key in keys if getattr(config, key)), "task")
        raise ConfigError(
            f"no question was found in {getattr(config, named)} ({where}); name a source that holds some",
            key=f"questions.{named}",
        )
    return [question for split in SPLITS for question in questions if question.split == split]


def _check_unique(questions: list[Question], where: str) -> None:
    repeated = [key for key, count in Counter(question.id for question in questions).items() if count > 1]
    if repeated:
        shown = ", ".join(map(repr, repeated[:3])) + (" ..." if len(repeated) > 3 else "")
        raise DataError(
            f"{where}: {len(repeated)} ids occur more than once ({shown}); give every question an id of its own"
        )


def gold_problem(question: Question, *, require_gold: bool = True) -> str | None:
    """What is wrong with a question's gold answer, in words; None where nothing is.

    A gold answer has to survive its own comparer: written in the closing line that teachers are asked
    for, it must be read back as itself.
    """
    needs_gold = answers.comparer(question.kind).needs_gold
    if question.gold is None or not question.gold.strip():
        if not (require_gold and needs_gold):
            return None
        return "it has no gold answer; add one, or set questions.require_gold: false"
    extracted = answers.extract(question, answers.render(question.kind, question.gold))
    if extracted.answer is None:
        return f"its gold answer {question.gold!r} is not one of kind {question.kind}: {extracted.reason or 'nothing is read from it'}"
    same = answers.comparer(question.kind).same(question, question.gold, extracted.answer)
    if same.outcome != "correct":
        return f"its gold answer {question.gold!r} does not equal itself as {question.kind}: {same.reason}; use another kind"
    return None
