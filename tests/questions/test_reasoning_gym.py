"""reasoning_gym tasks: distinct questions, scored by the data set's own scorer from the record alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qrdistill.answers.check import check, extract, render
from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question
from qrdistill.base.store import read_table, write_table
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.load import load_questions


def load(name: str, **settings: Any) -> list[Question]:
    config = QuestionsConfig(**{"task": f"reasoning_gym:{name}", "train": 6, "dev": 2, "test": 2, **settings})
    return load_questions(config, seed=3, base_dir=Path())


@pytest.mark.parametrize(
    "name", ["gsm_symbolic", "basic_arithmetic", "rearc", "countdown", "mini_sudoku", "propositional_logic"]
)
def test_records_alone_are_enough_to_score(name: str, tmp_path: Path) -> None:
    write_table(tmp_path / "questions.parquet", Question, load(name))
    for question in read_table(tmp_path / "questions.parquet", Question):
        assert check(question, "<answer>certainly not this</answer>").outcome != "correct"
        if question.gold is not None:
            assert check(question, "I think so.\n" + render("reasoning_gym", question.gold)).outcome == "correct"
            assert extract(question, render("reasoning_gym", question.gold)).answer == question.gold.strip()


def test_no_question_stands_in_two_splits_and_seeds_repeat() -> None:
    questions = load("basic_arithmetic", train=60, dev=20, test=20)
    assert len({question.question for question in questions}) == 100
    assert questions == load("basic_arithmetic", train=60, dev=20, test=20)


def test_options_reach_the_data_set() -> None:
    questions = load("basic_arithmetic", options={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1})
    assert all(len(question.question) < 40 for question in questions)
    with pytest.raises(ConfigError, match="refuses its options"):
        load("basic_arithmetic", options={"terms": 2})
    with pytest.raises(ConfigError, match="seed follows from"):
        load("basic_arithmetic", options={"seed": 2})


def test_unknown_and_exhausted_data_sets_are_named() -> None:
    with pytest.raises(ConfigError, match="no data set 'gsm_symbolical'; nearest: gsm_symbolic"):
        load("gsm_symbolical")
    with pytest.raises(ConfigError, match="no more distinct ones"):
        load(
            "basic_arithmetic",
            train=500,
            options={
                "min_terms": 2,
                "max_terms": 2,
                "min_digits": 1,
                "max_digits": 1,
                "operators": ["+"],
                "allow_negation": False,
                "allow_parentheses": False,
            },
        )
