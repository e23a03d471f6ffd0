from __future__ import annotations

import pytest

from qrdistill.verdicts.checks.form import language, leak, over_long, scripts
from qrdistill.verdicts.open_case import Case


@pytest.fixture
def outcome(make_question, make_path):
    def outcome(check, text, **question):
        [finding] = check([Case(make_question(**question), make_path(text))])
        return finding.outcome

    return outcome


def test_length_limit_is_inclusive(outcome) -> None:
    assert outcome(over_long(5), "12345") == "keep"
    assert outcome(over_long(5), "123456") == "drop"


ENGLISH = "Anna has three apples and buys four more, so she has seven apples."
RUSSIAN = "У Анны три яблока, она покупает ещё четыре, всего семь яблок."
CHINESE = "安娜有三个苹果，她又买了四个苹果，所以她现在一共有七个苹果。因此最后的答案就是七。"
JAPANESE = "アンナはりんごを三つ持っていて、さらに四つ買いました。合わせて七つです。"


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        (ENGLISH, ENGLISH, "keep"),
        (ENGLISH, RUSSIAN, "drop"),
        (ENGLISH, CHINESE, "drop"),
        (RUSSIAN, ENGLISH, "drop"),
        (CHINESE, ENGLISH, "drop"),
        (JAPANESE, JAPANESE, "keep"),
        (JAPANESE, RUSSIAN, "drop"),
        (ENGLISH, ENGLISH + " Как говорится, α + β = π.", "keep"),  # a few foreign words
        (
            CHINESE,
            "```python\nnumber_of_apples_altogether = 3 + 4\nprint(number_of_apples)\n```" + CHINESE,
            "keep",
        ),
        (CHINESE, "x = 3 + 4 = 7", "keep"),  # too little to tell
        ("3 + 4 = ?", RUSSIAN, "keep"),  # a question without words has no language
    ],
)
def test_language_is_told_by_script(outcome, question, text, expected) -> None:
    assert outcome(language, text, question=question) == expected


def test_code_and_formulas_have_no_script() -> None:
    assert scripts("`abc` $x + y$ \\(z\\) ```\nprint\n``` да") == {"CYRILLIC": 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is 7. Because 3 + 4 is 7.\nThe answer is 7.", "drop"),
        ("The answer is 7.", "drop"),
        ("**Answer:** 7\n\nAnna has three and gets four.", "drop"),
        ("3 + 4 = 7.\nThe answer is 7.", "keep"),
        ("3 + 4 = 7, so the answer is 7.", "keep"),
        ("Anna has three apples and gets four more. The answer is 7.", "keep"),
        ("The answer is 5? Check: 3 + 4 = 7.\nThe answer is 7.", "keep"),  # another one: a guess, corrected
        ("Seven apples.", "keep"),  # nothing stated
    ],
)
def test_an_answer_before_its_reasons_leaks(outcome, text, expected) -> None:
    assert outcome(leak, text) == expected
