"""Gold answers as data sets write them: lists, objects, places of options; never Python's text of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qrdistill.answers.check import check
from qrdistill.base.errors import DataError
from qrdistill.base.records import Question
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.load import load_questions


def load(folder: Path, gold: Any, kind: str = "text", *, how: str | None = None, **row: Any) -> Question:
    (folder / "q.jsonl").write_text(json.dumps({"question": "Which?", "gold": gold, **row}) + "\n", encoding="utf-8")
    config = QuestionsConfig(task="jsonl", file="q.jsonl", kind=kind, gold=how, dev=0, test=0)  # type: ignore[arg-type]
    [question] = load_questions(config, seed=0, base_dir=folder)
    return question


@pytest.mark.parametrize(
    "gold",
    [
        {"text": ["Paris", "the city of Paris", "Paris"], "answer_start": [3, 9, 3]},
        {"value": "Paris", "aliases": ["the city of Paris"], "type": "WikipediaEntity"},
        ["Paris", "the city of Paris"],
    ],
)
def test_several_gold_answers_are_aliases(tmp_path: Path, gold: Any) -> None:
    question = load(tmp_path, gold)
    assert (question.gold, question.metadata) == ("Paris", {"aliases": ["the city of Paris"]})
    assert check(question, "The answer is the city of Paris.").outcome == "correct"


def test_a_list_of_one_is_that_one_and_a_text_is_one_alias(tmp_path: Path) -> None:
    assert load(tmp_path, ["18"], "number").gold == "18"
    question = load(tmp_path, "Paris", aliases="Lutetia")
    assert question.metadata == {"aliases": ["Lutetia"]}
    assert check(question, "The answer is t.").outcome == "wrong"


@pytest.mark.parametrize(
    ("gold", "kind", "message"),
    [
        ({"span": "Paris"}, "text", r"q\.jsonl:1: the gold answer is an object with the fields span"),
        (["18", "19"], "number", r"q\.jsonl:1: 2 gold answers \(18, 19\), but kind number compares with one"),
        ([["18"]], "text", r"q\.jsonl:1: a gold answer has to be a text or a number"),
        ({"text": [], "answer_start": []}, "text", r"q\.jsonl:1: the question has no gold answer"),
    ],
)
def test_what_is_no_answer_is_named_with_its_line(tmp_path: Path, gold: Any, kind: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, gold, kind)


NUMBERS = ["1", "2", "3", "4"]


def test_a_number_among_options_is_read_as_the_config_says(tmp_path: Path) -> None:
    assert load(tmp_path, 1, "choice", how="index", options=NUMBERS).gold == "B"
    assert load(tmp_path, 1, "choice", how="text", options=NUMBERS).gold == "A"
    assert load(tmp_path, 0, "choice", how="index", options=["red", "blue"]).gold == "A"
    assert load(tmp_path, "2", "choice", how="label", options={"1": "red", "2": "blue"}).gold == "B"
    assert load(tmp_path, "2", "choice", options={"1": "red", "2": "blue"}).gold == "B"
    assert load(tmp_path, "blue", "choice", options=["red", "blue"]).gold == "B"
    assert load(tmp_path, "B", "choice", options=NUMBERS).gold == "B"
    assert load(tmp_path, "42", "choice", options=["41", "42"]).gold == "B"


@pytest.mark.parametrize(
    "options", [NUMBERS, ["red", "blue", "green"], ["0", "1", "2"], {"1": "3", "2": "1"}, ["1 m", "2 m"]]
)
def test_a_number_that_may_be_a_place_is_refused_with_the_key(tmp_path: Path, options: Any) -> None:
    with pytest.raises(DataError, match=r"q\.jsonl:1: .*questions\.gold: index, label or text"):
        load(tmp_path, 1, "choice", options=options)


@pytest.mark.parametrize("gold", [4, -1, "B", True])
def test_no_place_is_made_up(tmp_path: Path, gold: Any) -> None:
    with pytest.raises(DataError, match="no place from 0 to 3"):
        load(tmp_path, gold, "choice", how="index", options=NUMBERS)
