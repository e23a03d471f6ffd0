"""The large mix: longer questions over larger numbers, for the same teacher, judge and students' recipe."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from qrdistill.answers import check as answers
from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question
from qrdistill.lab.config import LabTeacher
from qrdistill.lab.judge import examine
from qrdistill.lab.mixes import FAMILIES, MIXES
from qrdistill.lab.pretraining import RECIPES, TINY, Shape
from qrdistill.lab.questions import load, word_runs
from qrdistill.lab.teacher import WEAK, LabTeacherImplementation
from qrdistill.lab.templates import LEGS, Problem, apply
from qrdistill.paths.styles import STYLES
from qrdistill.questions.config import QuestionsConfig
from qrdistill.runs.load_config import load_config

LARGE = MIXES["large"]


def loaded(seed: int = 0, **settings: int) -> list[Question]:
    config = QuestionsConfig.model_validate({"options": {"size": "large"}, **settings})
    return list(load(config, seed=seed, base_dir=Path()))


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return loaded(train=1500, dev=100, test=400)


def test_ten_families_that_are_not_the_small_mixs(questions: list[Question]) -> None:
    assert len(LARGE.families) == 10
    assert len(set(FAMILIES)) == 15
    assert Counter(q.family for q in questions) == dict.fromkeys(LARGE.families, 200)


def test_three_to_six_steps_lead_from_stated_numbers_to_the_gold_answer(questions: list[Question]) -> None:
    lengths: Counter[int] = Counter()
    highest = 0
    for question in questions:
        problem = Problem.from_json(question.family, question.question, question.metadata)
        stated = {int(number) for number in re.findall(r"\d+", question.question)}
        stated |= {LEGS[animal] for animal in problem.animals}
        lengths[len(problem.steps)] += 1
        for index, step in enumerate(problem.steps):
            assert apply(step.operator, step.left, step.right) == step.result
            for value, source in ((step.left, step.left_from), (step.right, step.right_from)):
                if source is None:
                    assert value in stated, question
                else:
                    assert source < index
                    assert value == problem.steps[source].result
            highest = max(highest, step.left, step.right, step.result)
            assert min(step.left, step.right, step.result) >= 0
        assert question.gold == str(problem.gold)
    assert set(lengths) == {3, 4, 5, 6}
    assert 0.7 < (lengths[5] + lengths[6]) / lengths.total() < 0.8  # hard: 0.75
    assert 90 < highest <= 99


def test_every_step_of_a_question_counts(questions: list[Question]) -> None:
    """But for the last, each result is an operand of a later step: no step is there for show."""
    for question in questions:
        problem = Problem.from_json(question.family, question.question, question.metadata)
        used = {source for step in problem.steps for source in (step.left_from, step.right_from)}
        assert used >= set(range(len(problem.steps) - 1)), question


def test_equations_are_solved_by_their_gold_answer(questions: list[Question]) -> None:
    for question in questions:
        if question.family == "bracket":
            body = re.sub(r"^(Solve|Find x if) |\.$", "", question.question)
            left, right = re.sub(r"(\d+) (x|\()", r"\1 * \2", body).split(" = ")
            names = {"x": int(question.gold or "")}
            assert eval(left, {}, names) == eval(right, {}, names), question


def test_train_shares_no_thirteen_words_with_dev_or_test(questions: list[Question]) -> None:
    held_out = {run for q in questions if q.split != "train" for run in word_runs(q.question)}
    assert not any(word_runs(q.question) & held_out for q in questions if q.split == "train")


def test_the_teacher_writes_what_it_says_and_the_judge_reads_it(questions: list[Question]) -> None:
    train = questions[:300]
    teacher = LabTeacherImplementation(LabTeacher(), base_dir=Path(), seed=0, questions=train)
    verdicts: Counter[tuple[str, str]] = Counter()
    for question in train:
        for style in STYLES.values():
            draft = teacher.path(question, style, 0)
            assert draft is not None
            assert draft.truth is not None
            right = answers.check(question, draft.text).outcome == "correct"
            assert right == (draft.truth[0] != "wrong")
            assert all(int(number) <= 99 for number in re.findall(r"\d+", draft.text))
            verdicts[draft.truth[0], examine(question.question, draft.text).outcome] += 1
    assert verdicts["sound", "drop"] == verdicts["sound", "undecided"] == 0
    assert verdicts["spurious", "keep"] < 0.06 * verdicts["spurious", "drop"]


def test_each_style_is_weak_in_four_of_the_ten_families_where_the_teacher_is_uneven() -> None:
    for weak in WEAK.values():
        assert len(set(weak) & set(LARGE.families)) == 4


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="small, large"):
        list(load(QuestionsConfig(options={"size": "huge"}), seed=0, base_dir=Path()))


def test_the_recipes_of_the_large_students_are_of_the_stated_size() -> None:
    from transformers import GemmaConfig, MistralConfig

    for name, low, high in (("mistral-large", 25e6, 28e6), ("gemma-large", 40e6, 43e6)):
        shape = RECIPES[name].shape
        assert isinstance(shape, Shape)
        weights = 4 * shape.hidden * shape.heads * shape.head_dim + 3 * shape.hidden * shape.intermediate
        assert low < shape.layers * weights + RECIPES[name].entries * shape.hidden < high
        assert shape.heads * shape.head_dim == shape.hidden
    assert {MistralConfig.model_type, GemmaConfig.model_type} == {RECIPES[n].family for n in RECIPES}
    assert all(name.endswith(("-tiny", "-tiny-2")) for name in TINY)


@pytest.mark.usefixtures("one_tokenizer_of_each")
def test_a_large_student_is_made_and_found_where_the_work_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from qrdistill.lab import MADE, student_folder
    from qrdistill.lab.make_students import make_student

    small = Shape(hidden=32, intermediate=64, layers=2, heads=2, head_dim=16, spread=0.05)
    recipe = replace(RECIPES["mistral-large"], shape=small, batch=4, readers=2, longest=12)
    monkeypatch.setitem(RECIPES, "mistral-large", recipe)
    monkeypatch.chdir(tmp_path)
    weights: list[bytes] = []
    for place in (MADE, Path("again")):
        torch.manual_seed(1)  # whatever came before
        make_student("mistral-large", place / "mistral-large", tokens=2000, dev=2, looks=1)
        weights.append((place / "mistral-large" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]  # two reading processes, one order
    assert student_folder("mistral-large") == tmp_path / MADE / "mistral-large"
    assert student_folder("mistral-tiny").parent.name == "students"


def test_the_example_is_a_config_for_it() -> None:
    config = load_config(Path("examples/lab-large.yaml"))
    assert config.questions.options["size"] == "large"
    assert [student.model for student in config.students] == ["lab:mistral-large", "lab:gemma-large"]
    # the longest sound path must fit into what an answer may have
    assert config.evaluate.max_tokens >= RECIPES["gemma-large"].longest
