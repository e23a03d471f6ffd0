"""What used to be guessed: each case was called correct, or read from its middle, before."""

from __future__ import annotations

from typing import Any

import pytest

from qrdistill.answers.check import canonical, check
from qrdistill.base.records import Question


def ask(kind: str, gold: str, **metadata: Any) -> Question:
    return Question(
        id="q", split="test", task="t", family="f", kind=kind, question="What?", gold=gold, metadata=metadata
    )


@pytest.mark.parametrize(
    ("gold", "answer", "outcome"),
    [
        ("&&", "||", "wrong"),
        (":)", ":(", "wrong"),
        ("*", "**", "wrong"),
        ("x²", "x2", "undecided"),
        ("1½", "11/2", "wrong"),
        ("[1,2]", "(1,2)", "undecided"),
        ("a & b", "a | b", "undecided"),
        ("Vitamin A", "Vitamin", "undecided"),
        ("की", "का", "undecided"),
        ("−5 apples", "5 apples", "wrong"),
        ("5 cats", "5 dogs", "undecided"),
        ("$5", "€5", "undecided"),
        ("H₂O", "H2O", "correct"),
        ("AT&T", "AT & T", "correct"),
        ("Paris (France)", "paris, France", "correct"),
        ("May 1, 2021", "may 1 2021", "correct"),
    ],
)
def test_signs_are_not_folded_away(gold: str, answer: str, outcome: str) -> None:
    question = ask("text", gold)
    assert check(question, f"<answer>{answer}</answer>").outcome == outcome
    assert (canonical(question, gold) == canonical(question, answer)) == (outcome == "correct")


@pytest.mark.parametrize(
    ("gold", "text", "outcome"),
    [
        ("5", "The answer is 5 boxes and since each holds 4 there are 20.", "undecided"),
        ("5", "The answer is 5 boxes and as each holds 4 there are 20.", "undecided"),
        ("5", "The answer is 5 but given that each holds 4, there are 20.", "undecided"),
        ("5", "The answer is 5, since each holds 4, there are 20.", "undecided"),
        ("5", "The answer is 5 dozen, which is 60.", "undecided"),
        ("5", "The answer is 5; the total is 20.", "undecided"),
        ("5", "The answer is 5 if it rains and 20 if it does not.", "undecided"),
        ("5", "The answer is 5 (boxes) times 4.", "undecided"),
        ("5", "The answer is 5 (or 20).", "undecided"),
        ("16", "The answer is sqrt(16).", "undecided"),
        ("18", "The answer is -(18).", "undecided"),
        ("18", "The answer is |-18|.", "undecided"),
        ("5", "The answer is 5, because each of 4 boxes holds 5 / 4.", "correct"),
        ("18", "The answer is 18 apples since there were 20 and 2 are gone.", "correct"),
        ("18", "The answer is 18 (6 more than before) after 3 days.", "correct"),
        ("18", "The answer is 18, which is 20% more than before.", "correct"),
        ("18", "The answer is 18, not 20.", "correct"),
    ],
)
def test_no_clause_is_cut_in_its_middle(gold: str, text: str, outcome: str) -> None:
    assert check(ask("number", gold), text).outcome == outcome


def test_a_second_option_after_a_joint_counts() -> None:
    question = ask("choice", "A", options={"A": "the lungs", "B": "the heart"})
    assert check(question, "The answer is the lungs, but given that it pumps it is the heart.").outcome == "undecided"
    assert check(question, "The answer is the lungs, because they breathe.").outcome == "correct"


@pytest.mark.parametrize(
    ("gold", "answer", "outcome"),
    [
        ("7^{-30}", "7^{-31}", "wrong"),
        ("7^{-30}", r"\frac{1}{7^{30}}", "correct"),
        (r"\frac{1}{19!}", r"\frac{1}{20!}", "wrong"),
        (r"\frac{1}{19!}", r"\frac{20}{20!}", "correct"),
        ("1/19!", "1/20!", "wrong"),
        ("e^{-50}", "e^{-51}", "wrong"),
        ("7^{-300}", "7^{-301}", "wrong"),
        ("1+7^{-30}", "1+7^{-31}", "wrong"),
        ("10^{-8}", "0.00000002", "wrong"),
        ("10^{-8}", "0.00000001", "correct"),
        (r"\{7^{-30},1\}", r"\{7^{-31},1\}", "wrong"),
        ("[0,7^{-30}]", "[0,7^{-31}]", "wrong"),
        ("x^2=7^{-30}", "x^2=7^{-31}", "wrong"),
        (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5+2\sqrt{6}}", "correct"),
        (r"\frac{1}{3}", "0.333333", "correct"),
        (r"\{1/1000000001,2\}", r"\{1/1000000002,2\}", "wrong"),
        (r"\sqrt{2}", r"\sqrt{2_3}", "undecided"),
        ("(1,8)", r"\{1,8\}", "wrong"),
    ],
)
def test_tiny_exact_numbers_stay_apart(gold: str, answer: str, outcome: str) -> None:
    assert check(ask("math", gold), rf"\boxed{{{answer}}}").outcome == outcome


@pytest.mark.parametrize(
    ("gold", "text", "outcome"),
    [
        ("05/01/2021", "The answer is 1/May/2021.", "correct"),
        ("05/01/2021", "May 1,2021", "correct"),
        ("05/01/2021", "2021 May 1", "correct"),
        ("05/01/2021", "1-May-2021", "correct"),
        ("06/01/2021", "Jun. 1, 2021", "correct"),
        ("06/01/2021", "The answer is Jun. 1, 2021.", "correct"),
        ("05/01/2021", "The answer is 05/01/2021, because April does not have 31 days.", "correct"),
        ("05/01/2021", "The answer is 05/01/2021, because 2020 was a leap year and 2021 was not.", "correct"),
        ("05/01/2021", "The answer is 05/01/2021, since yesterday was 04/30/2021.", "correct"),
        ("05/01/2021", "Since April does not have 31 days, it is 05/01/2021.", "correct"),
        ("05/01/2021", "The answer is 05/01/2021, but since today is Monday it is 05/03/2021.", "undecided"),
        ("05/01/2021", "The answer is not 05/01/2021.", "undecided"),
        ("05/01/2021", "The answer is 1 5/01/2021.", "undecided"),
    ],
)
def test_dates(gold: str, text: str, outcome: str) -> None:
    assert check(ask("date", gold), text).outcome == outcome


@pytest.mark.parametrize(
    ("gold", "text", "outcome"),
    [
        ("1", "He wants to see 1", "undecided"),
        ("1", "The answer is 1", "undecided"),
        ("18", "The answer is 18.", "undecided"),  # of 18.5, perhaps
        ("18", "The answer is 18. Wait, the answer is", "undecided"),
        ("1", '{"answer": 1', "undecided"),
        ("18", "The answer is 18. So", "correct"),
        ("18", "\\boxed{18}", "correct"),
        ("18", "The answer is 18\nQuestion: How many are", "correct"),
        ("1", "Answer: 1. Start with", "undecided"),
        ("1", "Answer:\n**1.** Buy", "undecided"),
    ],
)
def test_a_cut_answer_counts_only_where_it_is_whole(gold: str, text: str, outcome: str) -> None:
    assert check(ask("number", gold), text, cut=True).outcome == outcome


@pytest.mark.parametrize(
    ("gold", "text", "outcome"),
    [
        ("1", "Let us go on.\n1.", "undecided"),
        ("1", "1.", "undecided"),
        ("2", "1. Add.\n2.", "undecided"),
        ("1", "The answer is:\n1. 5 apples\n2. 6 pears", "undecided"),
        ("1", "Answer: 1. Add 3 and 4. 2. Take 6 away.", "undecided"),
        ("1", "Answer: 1) Now he buys", "undecided"),
        ("1", "Answer:\n\n1) Compute the cost", "undecided"),
        ("1", "Answer:\n**1.** Buy apples", "undecided"),
        ("1", "Thus:\n(1) He buys apples", "undecided"),
        ("7", "Answer: 1) He has 7", "correct"),
        ("2", "**2.**", "correct"),
        ("5", "The answer is:\n1. 5 apples", "correct"),
        ("18", "18.", "correct"),
        ("1", "The answer is 1.", "correct"),
    ],
)
def test_a_lists_number_is_no_answer(gold: str, text: str, outcome: str) -> None:
    assert check(ask("number", gold), text).outcome == outcome


@pytest.mark.parametrize(
    "opening",
    ["Question:", "Q:", "### Question:", "**Question:**", "<|user|>", "[INST]", "<start_of_turn>user", "User:"],
)
def test_another_question_is_no_part_of_the_answer(opening: str) -> None:
    text = f"3 + 2 = 5. The answer is 5.\n\n{opening} What is 3 + 3?\nThe answer is 6."
    assert check(ask("number", "5"), text).outcome == "correct"
    assert check(ask("number", "6"), text).outcome == "wrong"


def test_a_text_that_asks_itself_goes_on() -> None:
    text = "Q: How many are left?\nA: 5.\nQ: And with 3 more?\nA: 8. The answer is 8."
    assert check(ask("number", "8"), text).outcome == "correct"
