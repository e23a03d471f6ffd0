"""Completions as models write them, each with the outcome that a careful reader would give it."""

from __future__ import annotations

from typing import Any

import pytest

from qrdistill.answers.check import check
from qrdistill.base.records import Question


def outcome(kind: str, gold: str, text: str, question: str = "What?", **metadata: Any) -> str:
    asked = Question(
        id="q", split="test", task="t", family="f", kind=kind, question=question, gold=gold, metadata=metadata
    )
    return check(asked, text).outcome


@pytest.mark.parametrize(
    ("gold", "text", "expected"),
    [
        ("118", "The answer is one hundred and eighteen.", "correct"),
        ("2521", "The answer is two thousand, five hundred and twenty-one.", "correct"),
        ("25", "The answer is twenty five.", "correct"),
        ("18", "The answer is 18, not 20.", "correct"),
        ("5", "The answer is **5** apples (2 + 3).", "correct"),
        ("40", "Answer:\n\n- 40", "correct"),
        ("624", "James writes 12*52=<<12*52=624>>624 pages a year", "correct"),
        ("3", "The answer is 3 quarters.", "correct"),
        ("2", "The answer is 2 and a half hours.", "undecided"),
        ("1", "The answer is one half.", "undecided"),
        ("3", "The answer is three quarters.", "undecided"),
        ("1", "The answer is one of the following", "undecided"),
        ("18", "The answer is more than 18.", "undecided"),
        ("1.2", "The answer is $1.2M", "undecided"),
        ("10", "The answer is 10^2", "undecided"),
        ("4", "The answer is √4", "undecided"),
        ("2", "The answer is 2π", "undecided"),
        ("5", "The answer is 5x", "undecided"),
        ("5", "The answer is 5 squared", "undecided"),
        ("5", "The answer is the square root of 5", "undecided"),
        ("3", "Therefore x = 7, y = 3.", "undecided"),
        ("5", "\\boxed{5; 6}", "undecided"),
        ("-5", "Answer - 5", "undecided"),
        ("5", "There weren't 5 apples left.", "undecided"),
        ("5", "The answer is none of these; 5 is wrong", "undecided"),
        ("20", "The wrong answer would be 20; the right one is 40.", "undecided"),
        ("20", "The answer is 20? No, the answer is 40.", "wrong"),
        ("6", "$\\boxed{5}$ and not $\\boxed{6}$", "wrong"),
    ],
)
def test_numbers(gold: str, text: str, expected: str) -> None:
    assert outcome("number", gold, text) == expected


def test_a_long_unit_is_read_in_time_that_its_length_is_worth() -> None:
    assert outcome("number", "5", f"The answer is 5 {'ab/ ' * 100}#") == "correct"


@pytest.mark.parametrize(
    ("gold", "text", "expected"),
    [
        (r"2\sqrt{3}", "The answer is 2√3.", "correct"),
        (r"\frac{\pi}{4}", "The answer is π/4.", "correct"),
        (r"[-2,2]", r"\boxed{-2 \leq x \leq 2}", "correct"),
        (r"[-2,2]", r"\boxed{-2 < x \leq 2}", "wrong"),
        (r"4210_7", r"\boxed{4210_{7}}", "correct"),
        (r"4210_7", r"\boxed{4211_7}", "wrong"),
        (r"4210_7", r"\boxed{4210_8}", "wrong"),
        (r"101_2", r"\boxed{101}", "undecided"),
        (r"5", "$ $", "undecided"),
        (r"1\frac{4}{5}", r"\boxed{1 \cdot \frac{4}{5}}", "wrong"),
        (r"1\frac{4}{5}", r"\boxed{\frac{9}{5}}", "correct"),
        (r"-1", r"\boxed{i^2}", "correct"),
        (r"e^{i\pi/4}", r"\boxed{\frac{\sqrt2}{2}+\frac{\sqrt2}{2}i}", "correct"),
        (r"6+9i", r"\boxed{6-9i}", "wrong"),
        (r"\text{June 20}", r"\boxed{June 20}", "correct"),
        (r"\text{no}", r"\boxed{\text{on}}", "wrong"),
        (r"5", r"\boxed{\text{five}}", "correct"),
        (r"\emptyset", r"\boxed{\{\}}", "correct"),
        (r"0", r"\boxed{\text{none}}", "undecided"),
        (r"10", "The answer is 10 cm^2.", "correct"),
        (r"10", r"\boxed{10m}", "wrong"),
    ],
)
def test_mathematics(gold: str, text: str, expected: str) -> None:
    assert outcome("math", gold, text) == expected


def test_a_numeral_without_its_base_counts_where_the_question_names_one() -> None:
    assert outcome("math", "101_2", r"\boxed{101}", "Write five in base 2.") == "correct"


OPTIONS = {"A": "the lungs", "B": "the heart", "C": "bank", "D": "all of the above"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The correct option is B.", "correct"),
        ("(A) is wrong because the lungs breathe. (B) is correct.", "correct"),
        ("B\n\nThe heart pumps; nothing else does.", "correct"),
        ("The best answer is B, the heart.", "correct"),
        ("[B]", "correct"),
        ("B\nThe lungs.", "undecided"),
        ('{"answer": ["A", "B"]}', "undecided"),
        ("The answer is B, C.", "undecided"),
        ("The answer is heart disease.", "undecided"),
        ("So the correct answer is option A) the lungs, not B) the heart.", "wrong"),
    ],
)
def test_choices(text: str, expected: str) -> None:
    assert outcome("choice", "B", text, options=OPTIONS) == expected


@pytest.mark.parametrize(
    ("kind", "gold", "text", "expected"),
    [
        ("yes_no", "no", "So the final answer (yes or no) is no.", "correct"),
        ("yes_no", "yes", "No\n\nSo the statement is true.", "undecided"),
        ("nli", "entailment", "non-entailment", "undecided"),
        ("nli", "entailment", "The answer is that the premise fails to entail the hypothesis", "undecided"),
        ("nli", "contradiction", "Contradiction\n\nNothing in the premise speaks for it.", "correct"),
        ("nli", "entailment", "Contradiction\n\nThe premise entails the hypothesis.", "undecided"),
        ("nli", "contradiction", "The premise entails the opposite.", "undecided"),
        ("date", "05/01/2021", "It's 05/01/2021?", "undecided"),
        ("text", "10:30 A.M.", "The answer is 10:30 am", "correct"),
        ("text", "10:30 A.M.", "The answer is 10:30 P.M.", "wrong"),
        ("text", "St. Louis", "The answer is St. Louis. It lies on a river.", "correct"),
        ("text", "C#", "The answer is C.", "wrong"),
    ],
)
def test_labels_dates_and_words(kind: str, gold: str, text: str, expected: str) -> None:
    assert outcome(kind, gold, text) == expected
