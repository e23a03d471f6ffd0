"""What a teacher is told, per family and style."""

from __future__ import annotations

from typing import get_args

import pytest

from qrdistill.answers.check import answer_format
from qrdistill.base.records import Question
from qrdistill.paths.prompts import INSTRUCTIONS, Family, family, instruction, teacher_messages
from qrdistill.paths.styles import STYLES, Style, student_prompt

KINDS = {
    "number": "math",
    "math": "math",
    "choice": "choice",
    "yes_no": "yes_no",
    "nli": "nli",
    "text": "general",
}


def question(kind: str, **changes: object) -> Question:
    fields = {"id": "q", "split": "train", "task": "t", "family": "f", "question": "Why?", "gold": "x"}
    return Question.model_validate(fields | {"kind": kind} | changes)


def test_every_family_words_every_style():
    assert set(INSTRUCTIONS) == set(get_args(Family)) - {"general"}
    for name, wordings in INSTRUCTIONS.items():
        assert list(wordings) == list(STYLES), name
        assert len(set(wordings.values())) == len(STYLES)


@pytest.mark.parametrize(("kind", "expected"), KINDS.items())
def test_the_kind_decides_the_family(kind: str, expected: str):
    assert family(question(kind)) == expected


def test_a_table_decides_before_the_kind():
    assert family(question("number", task="tabmwp")) == "table"
    assert family(question("choice", metadata={"table": "a | b"})) == "table"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", STYLES.values(), ids=lambda style: style.name)
def test_a_prompt_is_question_then_instruction_then_closing_line(kind: str, style: Style):
    [(role, content)] = teacher_messages(question(kind), style)
    parts = content.split("\n")
    assert role == "user"
    assert parts[0] == "Why?"
    assert parts[2] == instruction(question(kind), style)
    assert parts[-1] == answer_format(kind)
    assert content.count(answer_format(kind)) == 1
    assert style.hint not in content or style.hint in instruction(question(kind), style)


def test_a_system_prompt_comes_first():
    roles = [role for role, _ in teacher_messages(question("number"), STYLES["facts"], "Be kind.")]
    assert roles == ["system", "user"]


def test_a_users_own_style_is_used_word_for_word_also_under_a_built_in_name():
    own = Style("facts", "Only my words.", "Mine.", "")
    assert instruction(question("number"), own) == "Only my words."


def test_the_students_prompt_shares_its_prefix_over_styles():
    prompts = [student_prompt("Why?", style) for style in STYLES.values()]
    assert all(prompt.startswith("Why?\n") for prompt in prompts)
    assert student_prompt("Why?", None) == "Why?\n"
