"""Answers that reasoning-gym's own scorer judges; the question's record carries the entry it needs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from qrdistill.answers.comparer import NOTHING, Comparer, Reading, Same
from qrdistill.answers.statements import Closing, Statement
from qrdistill.base.errors import InputError
from qrdistill.base.records import Question


@functools.lru_cache(maxsize=32)
def scorer(dataset: str) -> Callable[[str, dict[str, Any]], float]:
    """The data set's own scoring function: (answer, entry) -> 0 to 1."""
    try:
        from reasoning_gym.factory import get_score_answer_fn
    except ImportError as error:
        raise InputError("reasoning_gym tasks need the package: pip install 'qrdistill[reasoning-gym]'") from error
    found: Any = get_score_answer_fn(dataset)
    return found


def tuples(value: Any) -> Any:
    """JSON's lists as tuples, for the scorers that compare with tuples."""
    if isinstance(value, list):
        return tuple(tuples(part) for part in value)
    if isinstance(value, dict):
        return {key: tuples(part) for key, part in value.items()}
    return value


def score(metadata: dict[str, Any], answer: str) -> float:
    entry = metadata["entry"]
    if metadata.get("tuples"):
        entry = tuples(entry)
    return float(scorer(metadata["dataset"])(answer, entry))


def read(question: Question, statement: Statement) -> Reading:
    text = statement.text.strip()
    return Reading(text) if text else NOTHING


def read_closing(question: Question, end: Closing) -> Reading:
    if end.bold:
        return Reading(end.bold)
    return Reading(end.line) if end.line else Reading(None, "no answer is stated")


def same(question: Question, gold: str, answer: str) -> Same:
    try:
        points = score(question.metadata, answer)
    except InputError:
        raise
    except Exception as error:
        return Same("undecided", f"the scorer failed: {type(error).__name__}")
    if points >= 1.0:
        return Same("correct")
    return Same("wrong", f"the scorer gave {points:g} of 1")


def canonical(question: Question, answer: str) -> str:
    return " ".join(answer.split())


GYM = Comparer(read, read_closing, same, canonical, "<answer>{}</answer>", "your answer", needs_gold=False)
