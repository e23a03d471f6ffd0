"""The judge that recomputes equations: wrong ones found, words and names left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.base.records import Question
from qrdistill.verdicts.judges.arithmetic import ArithmeticJudge, ArithmeticJudgeConfig, equations

QUESTION = Question(id="q", split="train", task="t", family="f", kind="number", question="?", gold=None)


def vote(text: str) -> tuple[str, str | None]:
    found = ArithmeticJudge(ArithmeticJudgeConfig(), seed=0).judge(QUESTION, text, 0)
    return found.outcome, found.quote


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("So 3 + 4 = 8.", "3 + 4 = 8"),
        (
            "A = ((-6 + 5 - -9 * -8) + (2 - 5)) = (-67) + (-3) = -70.",
            "((-6 + 5 - -9 * -8) + (2 - 5)) = (-67) + (-3) = -70",
        ),
        ("First 1 + 1 = 2, then 2 * 3 = 5, then 1 = 2.", "2 * 3 = 5"),
        ("it costs $32 - $20 = $300 in all", "$32 - $20 = $300"),
        ("48/2 = <<48/2=25>>25 clips", "48/2=25"),
        ("1,000 + 1 = 1,002", "1,000 + 1 = 1,002"),
        ("7 \u00d7 8 = 54", "7 \u00d7 8 = 54"),
        ("7 x 8 = 54", "7 x 8 = 54"),
        ("2^3 = 9", "2^3 = 9"),
        ("2 / 3 = 0.7", None),
        ("2 / 3 = 0.66", None),
        ("2 / 3 = 0.68", "2 / 3 = 0.68"),
    ],
)
def test_a_wrong_equation_is_the_first_wrong_step(text: str, wrong: str | None) -> None:
    assert vote(text) == (("drop", wrong) if wrong else ("keep", None))


@pytest.mark.parametrize(
    "text",
    [
        "x + 3 = 15",
        "so x - 3 = 12",
        "2x = 15",
        "5 apples = 15 dollars",
        "5 times 3 = 15",
        "5 x $1.50 = $7.5",
        "half of 10 + 6 = 11",
        "3 + 4 = 7 hundred, 1 + 1 = 7%",
        "1 + 2 = 3x",
        "7 / 2 = 3",
        "1 / 0 = 3",
        "hours*.5 = 20",
        "f(3) = 9",
        "\\frac{1}{2} = 3",
        "n2 = 4",
        "9" * 300 + " = 1",
        "(" * 3000 + "1 = 2",
        "= 5 = ",
        "It is twelve.",
        "",
    ],
)
def test_what_may_mean_something_else_is_left_alone(text: str) -> None:
    assert vote(text) == ("undecided", None)


@given(st.integers(-99, 99), st.integers(-99, 99), st.integers(-99, 99), st.sampled_from("+-*"), st.integers(-3, 3))
def test_sums_as_a_calculator_has_them(a: int, b: int, c: int, sign: str, off: int) -> None:
    text = f"({a}) {sign} {b} - {c} = {eval(f'({a}) {sign} {b} - {c}') + off}"
    [found] = equations(f"So {text}, done")
    assert (found.holds, found.quote) == (off == 0, text)


@given(st.text(alphabet="0123456789+-*/^().,=$ xa%\n\u2212\u00d7", max_size=60))
def test_no_text_breaks_it_and_every_quote_stands_in_the_text(text: str) -> None:
    for found in equations(text):
        assert found.quote in text


def test_it_says_what_it_did(tmp_path: Path) -> None:
    found = ArithmeticJudge(ArithmeticJudgeConfig(), seed=0).judge(QUESTION, "1 + 1 = 2 = 3 - 1", 0)
    assert found.reason == "2 equations hold"
