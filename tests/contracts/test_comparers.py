"""The contract of every comparer: it accepts its own gold; what differs in order, sign or a character is
not made right by that; what it extracts it extracts again; equal votes are equal answers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrdistill.answers.check import canonical, check, comparer, extract, render
from qrdistill.base.plugins import registry
from qrdistill.base.records import Question

OPTIONS = {"A": "red", "B": "dark red", "C": "blue", "D": "18"}


def ask(kind: str, gold: str, **metadata: Any) -> Question:
    if kind == "choice":
        metadata = {"options": OPTIONS, **metadata}
    return Question(
        id="q", split="test", task="t", family="f", kind=kind, question="What?", gold=gold, metadata=metadata
    )


# per kind: answers that are pairwise different to everyone, two of which share characters in another order or sign
DIFFERENT: dict[str, list[str]] = {
    "number": ["18", "-18", "81", "1.8", "1/8", "8/1", "180", "0.18", "1800000", "1e-9", "2e-9", "18 1/2"],
    "math": [
        "18",
        "-18",
        "81",
        r"\frac{1}{8}",
        r"\frac{-1}{8}",
        "(1,8)",
        "(8,1)",
        "[1,8)",
        r"\{1,8\}",
        "x+1",
        "x-1",
        r"\sqrt{2}",
        "2x",
        r"\text{even}",
    ],
    "choice": ["A", "B", "C", "D"],
    "yes_no": ["yes", "no"],
    "nli": ["entailment", "neutral", "contradiction"],
    "date": ["05/01/2021", "01/05/2021", "05/01/2012", "10/05/2021", "05/10/2021"],
    "text": ["&&", "||", ":)", ":(", "C#", "C++", "C", "Marie Curie", "Curie Marie", "x²", "x2", "की", "का", "Paris"],
}
SAME: dict[str, list[list[str]]] = {
    "number": [["0.5", "1/2", "0.50", "5e-1", "½"], ["1800", "1,800", "1 800", "1\u202f800", "$1,800.00"]],
    "math": [["x^2+2x+1", "(x+1)^2"], [r"\sqrt{8}", r"2\sqrt{2}"], ["1,2", "2, 1"], ["0.5", r"\frac12"]],
    "date": [["05/01/2021"]],
    "text": [["Eiffel-Tower", "the Eiffel Tower!"], ["10:30 A.M.", "10:30am"], ["5", "five", "5.0"]],
}
PAIRS = [
    (kind, gold, other) for kind, answers in DIFFERENT.items() for gold, other in itertools.permutations(answers, 2)
]


def test_every_kind_has_a_contract() -> None:
    assert set(DIFFERENT) == set(registry.bundled("comparers")) - {
        "reasoning_gym"
    }  # which has its own scorers, and tests


@pytest.mark.parametrize("kind", DIFFERENT)
def test_its_own_gold_is_accepted(kind: str) -> None:
    for gold in DIFFERENT[kind]:
        for text in (render(kind, gold), f"First of all: think.\n{render(kind, gold)}", f"\\boxed{{{gold}}}"):
            assert check(ask(kind, gold), text).outcome == "correct", text


@pytest.mark.parametrize("kind", DIFFERENT)
def test_another_order_or_sign_is_not_right(kind: str) -> None:
    for _, gold, other in (pair for pair in PAIRS if pair[0] == kind):
        checked = check(ask(kind, gold), render(kind, other))
        assert checked.outcome != "correct", (gold, other, checked)


@pytest.mark.parametrize("kind", DIFFERENT)
def test_equal_votes_are_equal_answers(kind: str) -> None:
    groups = SAME.get(kind, []) + [[answer] for answer in DIFFERENT[kind]]
    for left, right in itertools.product([answer for group in groups for answer in group], repeat=2):
        question = ask(kind, left)
        equal = comparer(kind).same(question, left, right).outcome == "correct"
        assert equal == (canonical(question, left) == canonical(question, right)), (left, right)
    for group in SAME.get(kind, []):
        assert len({canonical(ask(kind, group[0]), answer) for answer in group}) == 1, group


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_is_extracted_is_extracted_again(kind: str) -> None:
    for answer in DIFFERENT[kind]:
        question = ask(kind, answer)
        first = extract(question, render(kind, answer)).answer
        assert first is not None
        assert extract(question, render(kind, first)).answer == first


# wrong answers that no character anywhere in them turns into the gold answer, unless one is dropped or
# something is read out of their middle
SPOILED = [
    ("number", "18", "-18"),
    ("number", "18", "118"),
    ("number", "18", "182"),
    ("number", "1", "18"),
    ("number", "18", "1.82"),
    ("number", "1/2", "-1/2"),
    ("number", "5", "7.5"),
    ("number", "7", "7.5"),
    ("number", "1234", "-1,234"),
    ("math", "17", "317"),
    ("math", "3", "38"),
    ("math", r"\frac{1}{2}", r"\frac{1}{23}"),
    ("math", "(1,2)", "(2,1)"),
    ("math", "(1,2)", "(1,23)"),
    ("math", r"\sqrt{2}", r"\sqrt{23}"),
    ("math", "2x+1", "2y+1"),
    ("choice", "B", "C"),
    ("choice", "B", "A"),
    ("yes_no", "yes", "no"),
    ("yes_no", "no", "yes"),
    ("nli", "entailment", "contradiction"),
    ("nli", "neutral", "entailment"),
    ("date", "05/01/2021", "05/11/2021"),
    ("date", "05/01/2021", "15/01/2021"),
    ("date", "05/01/2021", "05/01/2020"),
    ("text", "Paris", "Rome"),
    ("text", "5 apples", "-5 apples"),
    ("text", "&&", "||"),
    ("text", "की", "का"),
]
ODD = (
    "\u2010\u2011\u2012\u2013\u2014\u2212\u207b\u2796\ufe63\uff0d\u00ad\u200b\u200d\u2060\ufeff\u2009\u202f\u00a0\u3000"
    "\u0338\u0305\u20e3\ufe0f\u00b2\u2075\u2082\u00bd|!?;:,.'\"`~@#$%^&*()[]{}<>/\\_=+- \n\t\u066b\u066c\u3002\uff0c\u2044"
    "\u221a\u221e\u00b1\u00d7\u00f7\u00b0\u202e\U000e0031"
)
FORMS = ["The answer is {}.", "{}", "\\boxed{{{}}}", "#### {}", "Answer: {}\n", "<answer>{}</answer>", "So it is {}."]


def spoilt(kind: str, gold: str, wrong: str, character: str, place: int, form: str) -> None:
    text = wrong[:place] + character + wrong[place:]
    if character == "\n" or (character in "{}" and "boxed" in form) or "->" in text:
        return  # the statement ends there; an arrow is no sign
    checked = check(ask(kind, gold), form.format(text))
    assert checked.outcome != "correct", (kind, gold, form.format(text), checked)


@pytest.mark.parametrize(("kind", "gold", "wrong"), SPOILED)
def test_no_odd_character_makes_a_wrong_answer_right(kind: str, gold: str, wrong: str) -> None:
    """Each character at each place, in one of the forms: over the places and the answers, in every one."""
    forms = FORMS if kind != "math" else FORMS[:3]
    for (number, character), place in itertools.product(enumerate(ODD), range(len(wrong) + 1)):
        if kind != "math" or character not in "!'":  # a factorial or a derivative
            spoilt(kind, gold, wrong, character, place, forms[(number + place) % len(forms)])


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    case=st.sampled_from([case for case in SPOILED if case[0] != "math"]),
    character=st.characters(exclude_categories=["Cs"]),
    where=st.floats(0, 1),
    form=st.sampled_from(FORMS),
)
def test_no_character_makes_a_wrong_answer_right(
    case: tuple[str, str, str], character: str, where: float, form: str
) -> None:
    kind, gold, wrong = case
    spoilt(kind, gold, wrong, character, round(where * len(wrong)), form)


@pytest.mark.parametrize("minus", "\u2010\u2011\u2012\u2013\u2212\u207b\u2796\ufe63\uff0d")
def test_every_minus_is_one(minus: str) -> None:
    for kind in ("number", "math"):
        assert check(ask(kind, "-18"), f"The answer is {minus}18.").outcome == "correct"
        assert check(ask(kind, "18"), f"The answer is {minus}18.").outcome == "wrong"
    assert check(ask("date", "05/01/2021"), f"It is 2021{minus}05{minus}01.").outcome == "correct"


@pytest.mark.parametrize("space", "\u00a0\u2009\u202f\u2007 ")
def test_every_thin_space_may_part_thousands(space: str) -> None:
    assert check(ask("number", "12345"), f"The answer is 12{space}345.").outcome == "correct"
