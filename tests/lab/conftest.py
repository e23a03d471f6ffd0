from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.records import Question
from qrdistill.lab.config import LabTeacher
from qrdistill.lab.pretraining import Recipe
from qrdistill.lab.questions import load
from qrdistill.lab.teacher import LabTeacherImplementation
from qrdistill.paths.styles import STYLES
from qrdistill.paths.teachers import Draft
from qrdistill.questions.config import QuestionsConfig

Written = list[tuple[Question, str, Draft]]


def train_questions(number: int, scenario: str = "even", seed: int = 0) -> list[Question]:
    config = QuestionsConfig(train=number, dev=0, test=0, options={"scenario": scenario})
    return list(load(config, seed=seed, base_dir=Path()))


@pytest.fixture(scope="session")
def ask() -> Callable[..., Written]:
    """Has the scripted teacher write every style for some train questions."""

    def written(number: int = 600, scenario: str = "even", seed: int = 0, **settings: object) -> Written:
        questions = train_questions(number, scenario)
        teacher = LabTeacherImplementation(
            LabTeacher.model_validate(settings), base_dir=Path(), seed=seed, questions=questions
        )
        return [
            (question, style.name, draft)
            for question in questions
            for style in STYLES.values()
            if (draft := teacher.path(question, style, 0)) is not None
        ]

    return written


@pytest.fixture
def one_tokenizer_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Students of one recipe share a tokenizer, which takes longer to build than a short training."""
    from qrdistill.lab import make_students

    build, built = make_students._tokenizer, dict[tuple[str, str], Any]()

    def once(recipe: Recipe) -> Any:
        if (recipe.family, recipe.size) not in built:
            built[recipe.family, recipe.size] = build(recipe)
        return built[recipe.family, recipe.size]

    monkeypatch.setattr(make_students, "_tokenizer", once)


@pytest.fixture(scope="session")
def even(ask: Callable[..., Written]) -> Written:
    return ask(1000)
