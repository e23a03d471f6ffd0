"""The only comparer: what it reads, what it decides, and what it leaves undecided."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.answers.check import answer_format, canonical, check, check_many, extract
from qrdistill.answers.comparer import Checked
from qrdistill.answers.numerals import find_numbers, plain, rounded
from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "math_verify_cases.jsonl").read_text("utf-8").splitlines()
]
DOCS = Path(__file__).parents[2] / "docs" / "answers.md"


def ask(kind: str, gold: str | None, question: str = "What?", **metadata: Any) -> Question:
    return Question(
        id="q", split="test", task="t", family="f", kind=kind, question=question, gold=gold, metadata=metadata
    )


# --- against Math-Verify's published cases ----------------------------------------------------------


def test_math_verify_cases_agree_or_are_argued() -> None:
    questions = [ask("math", case["gold"]) for case in CASES]
    pairs = zip(questions, (case["completion"] for case in CASES), strict=True)
    for case, checked in zip(CASES, check_many(pairs), strict=True):
        assert checked.outcome == case.get("ours", case["expected"]), (case, checked)


def test_every_difference_is_listed_in_the_docs() -> None:
    text = DOCS.read_text("utf-8")
    differing = [case for case in CASES if "ours" in case]
    assert f"{len(CASES)} of them" in text
    assert f"{len(CASES) - len(differing)} agree" in text
    for case in differing:
        assert case["because"] in text, case
    contrary = [case for case in differing if case["ours"] != "undecided"]
    assert len(contrary) == 5  # where both decide and disagree: three precisions, one font, one inequality


# --- the public implementation's mistakes -----------------------------------------------------------


def test_known_holds_no_no_and_every_branch_returns() -> None:
    question = ask("yes_no", "no")
    assert check(question, "The answer is unknown.").outcome == "undecided"
    assert check(question, "It is well known and noted by now.").outcome == "undecided"
    for text in ("", "{}", "The answer is", "\\boxed{}", "The answer is .", "42"):
        checked = check(question, text)
        assert checked.outcome == "undecided"
        assert checked.reason


def test_the_last_stated_answer_wins() -> None:
    question = ask("number", "7")
    assert check(question, "The answer is 5. Wait. The answer is 7.").outcome == "correct"
    assert check(question, "\\boxed{7} ... no, \\boxed{5}").outcome == "wrong"
    assert check(question, 'The answer is 5.\n{"answer": 7}').outcome == "correct"
    assert extract(question, "The answer is 7.<|im_end|>\nThe answer is 5.").answer == "7"


# --- numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "text", "outcome"),
    [
        ("1080", "The answer is $1,080.00.", "correct"),
        ("1080", "The answer is 1.08 x 10^3 meters", "correct"),
        ("-3/4", "The answer is minus 0.75", "correct"),
        ("2.5", "The answer is 2 1/2 hours.", "correct"),
        ("1/3", "The answer is 0.333333", "correct"),
        ("1/3", "The answer is 0.3333", "wrong"),
        ("18", "The answer is eighteen.", "correct"),
        ("18", "The answer is 18 or 20.", "undecided"),
        ("18", "The answer is 3 + 15.", "undecided"),
        ("18", "The answer is x = 3 + 15 = 18 apples (6 more than before).", "correct"),
        ("18", "The answer is not 18.", "undecided"),
        ("18", "She sold 12 and has 6 left.", "undecided"),
        ("18", "Is it 18?", "undecided"),
        ("5", "#### Step 5", "undecided"),
        ("0.00000001", "The answer is 0.00000002", "wrong"),
        ("9007199254740993", "The answer is 9007199254740992", "wrong"),
    ],
)
def test_numbers(gold: str, text: str, outcome: str) -> None:
    assert check(ask("number", gold), text).outcome == outcome


def test_a_percent_sign_counts_where_the_question_asks_for_it() -> None:
    asked = ask("number", "28", "What percentage is left?")
    assert check(asked, "The answer is 28%.").outcome == "correct"
    assert check(asked, "The answer is 0.28.").outcome == "wrong"
    assert check(ask("number", "28"), "The answer is 28%.").outcome == "undecided"
    assert check(ask("number", "0.28"), "The answer is 28%.").outcome == "correct"


def test_a_tolerance_is_the_users_own() -> None:
    assert check(ask("number", "3.14", tolerance=0.01), "The answer is 3.1416").outcome == "correct"
    assert check(ask("number", "3.14"), "The answer is 3.1416").outcome == "wrong"


@given(st.fractions(max_denominator=10_000), st.fractions(max_denominator=10_000))
def test_canonical_numbers_are_equal_exactly_where_checked_equal(left: Any, right: Any) -> None:
    question = ask("number", plain(left))
    equal = check(question, f"The answer is {plain(right)}.").outcome == "correct"
    assert equal == (rounded(left) == rounded(right)) or left != right
    assert canonical(question, plain(left)) == canonical(question, str(left))


@given(st.integers(-(10**15), 10**15))
def test_integers_are_read_in_every_grouping(value: int) -> None:
    for text in (str(value), f"{value:,}", f"{value:_}".replace("_", " "), f"{value:,}".replace(",", "{,}")):
        assert [number.value for number in find_numbers(text)] == [value], text


# --- choices, labels, words -------------------------------------------------------------------------


def test_ambiguous_choices_are_undecided() -> None:
    question = ask("choice", "B", options={"A": "red", "B": "dark red", "C": "blue", "D": "blue"})
    assert check(question, "The answer is dark red.").outcome == "correct"
    assert check(question, "The answer is red.").outcome == "wrong"
    assert "same text" in check(question, "The answer is blue.").reason
    assert "two options" in check(question, "The answer is A or B.").reason
    assert "does not exist" in check(question, "The answer is (F).").reason
    assert "stands with the text" in check(question, "The answer is (B) red.").reason
    assert check(question, "The answer is (B). Not A.").outcome == "correct"
    assert "denied" in check(question, "The answer is (B). Wait, the answer is not (B).").reason


def test_words_are_compared_whole() -> None:
    question = ask("text", "Marie Curie", aliases=["Curie, Marie"])
    assert check(question, "The answer is marie curie.").outcome == "correct"
    assert check(question, 'The answer is "Curie, Marie".').outcome == "correct"
    assert check(question, "The answer is Pierre Curie.").outcome == "wrong"
    assert check(question, "The answer is Marie Curie or her daughter.").outcome == "undecided"


# --- mathematics ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "text", "outcome"),
    [
        (r"\{1,2\}", r"\boxed{1}", "wrong"),
        ("1", r"\boxed{1,2}", "wrong"),
        ("(1,2)", r"\boxed{(2,1)}", "wrong"),
        ("(1,2]", r"\boxed{(1,2)}", "wrong"),
        ("1,2", r"\boxed{2} and \boxed{1}", "correct"),
        (r"\frac{\sqrt{2}}{2}", r"\boxed{\frac{1}{\sqrt2}}", "correct"),
        ("x^2+2x+1", r"\boxed{(x+1)^2}", "correct"),
        ("x^2+2x+1", r"\boxed{x^2+\foo{2}x+1}", "undecided"),
        ("x^2+2x+1", r"\boxed{x^2+2x+1", "undecided"),
        ("2x", r"\boxed{2}", "wrong"),
    ],
)
def test_mathematics(gold: str, text: str, outcome: str) -> None:
    assert check(ask("math", gold), text).outcome == outcome


# --- streams, functions, formats --------------------------------------------------------------------


def test_check_many_keeps_order_and_reads_no_further_than_it_must() -> None:
    taken = 0

    def pairs() -> Iterator[tuple[Question, str]]:
        nonlocal taken
        for number in range(3000):
            taken += 1
            gold = r"\sqrt{8}" if number % 50 == 0 else str(number)
            text = r"\boxed{2\sqrt{2}}" if number % 50 == 0 else f"The answer is {number + number % 2}."
            yield ask("math" if number % 50 == 0 else "number", gold), text

    stream = check_many(pairs())
    first = next(stream)
    assert taken < 300
    outcomes = [first.outcome, *(checked.outcome for checked in stream)]
    assert outcomes == ["correct" if n % 50 == 0 or n % 2 == 0 else "wrong" for n in range(3000)]


def judge(question: Question, completion: str) -> Any:
    if "raise" in completion:
        raise KeyError("oops")
    if "checked" in completion:
        return Checked("correct", "mine", "")
    return {"right": True, "wrong": False, "open": None}.get(completion, "nonsense")


def test_a_users_function_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "own_checker.py").write_text(
        "def agree(question, completion):\n    return {'yes': True, 'no': False}.get(completion)\n"
        "def fail(question, completion):\n    raise KeyError('oops')\n"
        "def odd(question, completion):\n    return 3\nnot_callable = 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    question = ask("own_checker:agree", "yes")
    assert [check(question, text).outcome for text in ("yes", "no", "hm")] == [
        "correct",
        "wrong",
        "undecided",
    ]
    assert "KeyError" in check(ask("own_checker:fail", "x"), "y").reason
    assert "returned 3" in check(ask("own_checker:odd", "x"), "y").reason
    with pytest.raises(ConfigError, match="is not a function"):
        check(ask("own_checker:not_callable", "x"), "y")
    with pytest.raises(ConfigError, match="PYTHONPATH"):
        check(ask("no_such_module:f", "x"), "y")


def test_answer_formats_name_the_line_that_is_read() -> None:
    assert answer_format("number") == "End with: The answer is N."
    assert answer_format("math") == "End with: The answer is \\boxed{...}."
    assert answer_format("choice") == "End with: The answer is (letter)."
    with pytest.raises(ConfigError, match="did you mean 'yes_no'"):
        answer_format("yesno")


def test_votes_are_counted_on_canonical_answers() -> None:
    number = ask("number", "0.5")
    assert len({canonical(number, text) for text in ("0.5", "1/2", "0.50", "5e-1")}) == 1
    lists = ask("math", "1,2")
    assert canonical(lists, "2, 1") == canonical(lists, "1,2")
    assert canonical(lists, "(2, 1)") != canonical(lists, "(1,2)")
    assert canonical(number, None) is None
