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


def test_sizes_order_and_distinct_texts() -> None:
    questions = loaded()
    assert [q.split for q in questions] == ["train"] * 1200 + ["dev"] * 100 + ["test"] * 400
    assert len({q.id for q in questions}) == len({q.question for q in questions}) == 1700
    assert all(sum(q.family == family for q in questions) == 340 for family in SMALL)


def test_same_seed_same_questions_and_another_seed_others() -> None:
    assert loaded(seed=5) == loaded(seed=5)
    assert not {q.question for q in loaded(seed=5, dev=0, test=0)} >= {q.question for q in loaded(dev=0, test=0)}


def test_more_train_questions_extend_fewer() -> None:
    assert [q.question for q in loaded(train=90)][:90] == [q.question for q in loaded(train=300)][:90]


def test_no_text_is_in_two_splits_whatever_the_seeds() -> None:
    seen: dict[str, str] = {}
    for seed in range(3):
        for question in loaded(seed=seed):
            assert seen.setdefault(question.question, question.split) == question.split


def test_pretraining_reads_no_question_of_a_split() -> None:
    asked = {q.question for seed in range(3) for q in loaded(seed=seed)}
    for name in TINY:
        recipe = RECIPES[name]
        for document in islice(documents(recipe, recipe.seed), 3000):
            if len(document) == 2:  # a question and its path; a drill has more pieces
                text = document[0].text.splitlines()[0]
                assert part_of(text) == "pretraining", name
                assert text not in asked


def test_train_shares_no_thirteen_words_with_dev_or_test() -> None:
    questions = loaded(train=1000)
    held_out = {run for q in questions if q.split != "train" for run in word_runs(q.question)}
    assert held_out
    assert not any(word_runs(q.question) & held_out for q in questions if q.split == "train")


def test_the_steps_lead_to_the_gold_answer_within_the_range() -> None:
    for question in loaded():
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


def test_equations_are_solved_by_their_gold_answer() -> None:
    for question in loaded():
        if question.family == "equation":
            body = re.sub(r"^(Solve|Find x if) |\.$", "", question.question)
            left, right = re.sub(r"(\d+) x", r"\1 * x", body).split(" = ")
            names = {"x": int(question.gold or "")}
            assert eval(left, {}, names) == eval(right, {}, names)


def test_the_scenario_changes_no_question() -> None:
    even, uneven = loaded(), loaded(options={"scenario": "uneven"})
    assert [q.question for q in even] == [q.question for q in uneven]
    assert {q.metadata["scenario"] for q in uneven} == {"uneven"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"options": {"scenario": "odd"}}, "even, uneven"),
        ({"options": {"colour": 3}}, "unknown option 'colour'"),
        ({"dev": 100_000}, "ask for fewer"),
    ],
)
def test_what_cannot_be_is_refused_with_the_mend(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        loaded(**settings)


def test_hard_share_of_pretraining_is_a_fifth() -> None:
    drawn = list(islice(problems("pretraining", 0, hard=0.2), 2000))
    hard = sum(len(p.steps) == 3 for p in drawn if p.family != "chain") / sum(p.family != "chain" for p in drawn)
    assert 0.16 < hard < 0.24
