from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import pytest

from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question
from qrdistill.lab.pretraining import RECIPES, TINY, documents
from qrdistill.lab.questions import load, part_of, problems, word_runs
from qrdistill.lab.templates import HIGHEST, LEGS, SMALL, Problem, apply
from qrdistill.questions.config import QuestionsConfig


def loaded(seed: int = 0, **settings: object) -> list[Question]:
    return list(load(QuestionsConfig.model_validate(settings), seed=seed, base_dir=Path()))


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return loaded()


def test_sizes_order_and_distinct_texts(questions: list[Question]) -> None:
    assert [q.split for q in questions] == ["train"] * 1200 + ["dev"] * 100 + ["test"] * 400
    assert len({q.id for q in questions}) == len({q.question for q in questions}) == 1700
    assert all(sum(q.family == family for q in questions) == 340 for family in SMALL)


def test_same_seed_same_questions_and_another_seed_others() -> None:
    one, again, other = (loaded(seed=seed, train=60, dev=10, test=20) for seed in (5, 5, 0))
    assert one == again
    assert not {q.question for q in one} >= {q.question for q in other if q.split == "train"}


def test_more_train_questions_extend_fewer() -> None:
    assert [q.question for q in loaded(train=90)][:90] == [q.question for q in loaded(train=300)][:90]


def test_no_text_is_in_two_splits_or_in_pretraining_whatever_the_seeds(questions: list[Question]) -> None:
    asked: dict[str, str] = {}
    for question in [*questions, *loaded(seed=1)]:
        assert asked.setdefault(question.question, question.split) == question.split
    for name in TINY:
        recipe = RECIPES[name]
        for document in islice(documents(recipe, recipe.seed), 700):
            if len(document) == 2:  # a question and its path; a drill has more pieces
                text = document[0].text.splitlines()[0]
                assert part_of(text) == "pretraining", name
                assert text not in asked


def test_train_shares_no_thirteen_words_with_dev_or_test(questions: list[Question]) -> None:
    held_out = {run for q in questions if q.split != "train" for run in word_runs(q.question)}
    assert held_out
    assert not any(word_runs(q.question) & held_out for q in questions if q.split == "train")


def test_the_steps_lead_to_the_gold_answer_within_the_range(questions: list[Question]) -> None:
    for question in questions:
        problem = Problem.from_json(question.family, question.question, question.metadata)
        stated = {int(number) for number in re.findall(r"\d+", question.question)}
        stated |= {LEGS[animal] for animal in problem.animals}
        assert len(problem.steps) in (2, 3)
        for index, step in enumerate(problem.steps):
            assert apply(step.operator, step.left, step.right) == step.result
            for value, source in ((step.left, step.left_from), (step.right, step.right_from)):
                assert 0 <= value <= HIGHEST
                if source is None:
                    assert value in stated
                else:
                    assert source < index
                    assert value == problem.steps[source].result
            assert 0 <= step.result <= HIGHEST
        assert question.gold == str(problem.steps[-1].result)
        assert question.kind == "number"


def test_equations_are_solved_by_their_gold_answer(questions: list[Question]) -> None:
    for question in questions:
        if question.family == "equation":
            body = re.sub(r"^(Solve|Find x if) |\.$", "", question.question)
            left, right = re.sub(r"(\d+) x", r"\1 * x", body).split(" = ")
            names = {"x": int(question.gold or "")}
            assert eval(left, {}, names) == eval(right, {}, names)


def test_the_scenario_changes_no_question() -> None:
    even, uneven = (loaded(train=60, dev=10, test=20, options={"scenario": one}) for one in ("even", "uneven"))
    assert [q.question for q in even] == [q.question for q in uneven]
    assert {q.metadata["scenario"] for q in uneven} == {"uneven"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"options": {"scenario": "odd"}}, "even, uneven"),
        ({"options": {"colour": 3}}, "unknown option 'colour'"),
        ({"dev": 100_000, "train": 0, "test": 0}, "ask for fewer"),
    ],
)
def test_what_cannot_be_is_refused_with_the_mend(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        loaded(**settings)


def test_hard_share_of_pretraining_is_a_fifth() -> None:
    drawn = list(islice(problems("pretraining", 0, hard=0.2), 2000))
    hard = sum(len(p.steps) == 3 for p in drawn if p.family != "chain") / sum(p.family != "chain" for p in drawn)
    assert 0.16 < hard < 0.24
