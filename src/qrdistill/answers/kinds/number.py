"""Answers that are one number: with units, currency, separators, percent, fractions, words."""

from __future__ import annotations

import re

from qrdistill.answers.asides import claims, without_aside, without_reason
from qrdistill.answers.comparer import NOTHING, Comparer, Reading, Same
from qrdistill.answers.numerals import (
    Number,
    close_values,
    find_numbers,
    is_part,
    is_unclear,
    parse_number,
    plain_characters,
    rounded,
)
from qrdistill.answers.statements import Closing, Statement
from qrdistill.base.records import Question

_EQUALS = re.compile(r"(?<![<>!])=|≈|\\approx|\\equiv|\bequals\b")
_BARE = re.compile(r"(?:[^\d=+*/^×·÷-]*[\s(])?[\s$*#]*(-?[\d.,]+)[\s$*]*")  # "it is 5", to be set equal to 18
_UNSURE = re.compile(
    r"\b(?:not|cannot|can't|isn't|unknown|undefined|undetermined|unclear|impossible|never|neither|either|none|is wrong|is incorrect)\b|n't\b",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"\b(?:step|option|question|part|line|example|case|equation|problem|method|approach|figure)\s*#?$",
    re.IGNORECASE,
)
_OPERATOR_BEFORE = re.compile(
    r"\w\(\s*$|[-+*/^×·÷√±—―]\s*$|[-+/^×·÷√±—―](?!-*>)[^\w\s]+\s*$|\\(?:times|cdot|div|sqrt|pm)\s*\{?\s*$"
)
_OPERATOR_AFTER = re.compile(r"\s*(?:[-+*/^×·÷±]\s*[\w(\\]|\\(?:times|cdot|div|pi|sqrt|pm)|\^|!|\()")
_BOUND_BEFORE = re.compile(
    r"\b(?:more|less|greater|fewer|higher|lower|larger|smaller|bigger|other) than\s*[$€£]?$|(?:<|(?<![-=>])>|[≤≥≠])\s*$"
    r"|\b(?:half|double|twice|triple|root|square|cube|reciprocal|inverse|negative|opposite)(?:\s+of)?\s*$",
    re.IGNORECASE,
)
_DASH = re.compile(r"\w\s+[-–—−]\s$")
_BOLD = r"(?:\*{1,2}|_{1,2})?"
_LIST_NUMBER = re.compile(
    rf"(?:^|(?<=:)\s+){_BOLD}(?:\(?\d{{1,2}}\)|\d{{1,2}}\.(?=[*_])){_BOLD}\s+(?=[A-Z])"
)  # "1) He buys"
_ASSIGNED = r"\b([A-Za-z])\s*=\s*[^=,;]*"
_TWO_NAMES = re.compile(rf"{_ASSIGNED}(?:[,;]|\band\b)(?:\s*and\b)?\s*(?!\1){_ASSIGNED}")
_BESIDE = 40  # characters beside a number that are looked at
_PERCENT = re.compile(r"%|\bper\s?cent|percentage", re.IGNORECASE)


def read(question: Question, statement: Statement) -> Reading:
    if statement.how in ("hashes", "boxed", "json", "tag"):
        number = parse_number(_last_side(statement.text))
        if number is not None:
            return Reading(number.text)
        if statement.how == "hashes":
            return NOTHING  # a heading
    if statement.how == "boxed":
        return read_clause(statement.text, marked=False)  # what a box holds is the answer, all of it
    return read_clause(statement.text)


def read_clause(text: str, *, marked: bool = True) -> Reading:
    """The one number that a clause states.

    >>> read_clause("3 + 15 = 18 dollars (as computed)").answer
    '18'
    >>> read_clause("18 or 20").reason
    'several numbers are stated: 18, 20'
    """
    text = plain_characters(text).strip()
    text = _LIST_NUMBER.sub(" ", text).strip()
    number = parse_number(text)
    if number is not None:
        return Reading(number.text)
    if _TWO_NAMES.search(text):
        return Reading(None, f"several values are stated: {text[:60]!r}", final=True)
    part, rest = without_aside(text) if marked else without_reason(text)  # what an unmarked sentence adds counts
    part = _last_side(part)
    numbers = _spoken(part)
    if _UNSURE.search(part) and (numbers or not rest):
        return Reading(None, f"no number is asserted: {text[:60]!r}", final=bool(numbers) or len(part.split()) <= 6)
    values = {(number.value, number.percent) for number in numbers}
    if not numbers and not find_numbers(part) and re.search(r"\d", part):
        return Reading(None, f"no number can be read: {part[:60]!r}", final=True)
    if not numbers:
        return NOTHING
    if is_unclear(part, numbers):
        return Reading(None, f"an unknown sign stands beside a number: {part[:60]!r}", final=True)
    if len(values) > 1:
        return Reading(None, f"several numbers are stated: {', '.join(n.text for n in numbers[:4])}", final=True)
    number = numbers[-1]
    if any(_BOUND_BEFORE.search(part[max(0, n.start - _BESIDE) : n.start]) for n in numbers):
        return Reading(None, f"a bound, not a number: {part[:60]!r}", final=True)
    if any(_in_expression(part, n) for n in numbers):
        return Reading(None, f"an expression, not a number: {part[:60]!r}", final=True)
    claimed = [n for n in find_numbers(claims(rest)) if n.value != number.value]
    if claimed:
        return Reading(None, f"several numbers are stated: {number.text}, {claimed[0].text}", final=True)
    return Reading(number.text)


def unsure(text: str) -> bool:
    """Whether a clause denies or doubts rather than states."""
    return bool(_UNSURE.search(text))


def _last_side(text: str) -> str:
    """What stands after the last equals sign; all of it where bare numbers that differ are equated ("1 = 18")."""
    *sides, last = _EQUALS.split(text)
    number = parse_number(last)
    bare = [parse_number(match[1]) for side in sides if (match := _BARE.fullmatch(side))]
    if any(_OPERATOR_BEFORE.search(side) for side in sides):
        return text
    if number and any(side and not close_values(side.value, number.value, decimal=True) for side in bare):
        return text
    return last


def _spoken(text: str) -> list[Number]:
    """The numbers of a clause; words ("one of them") count only where no numeral stands."""
    numbers = [n for n in find_numbers(text) if not _LABEL.search(text[max(0, n.start - _BESIDE) : n.start])]
    numerals = [n for n in numbers if any(c.isdigit() or not c.isascii() for c in text[n.start : n.end])]
    return numerals or numbers


def _in_expression(text: str, number: Number) -> bool:
    """Whether an operator or a variable stands beside a number: "x + 3", "2x"."""
    before = text[max(0, number.start - _BESIDE) : number.start]
    after = text[number.end : number.end + _BESIDE]
    if _DASH.search(text[max(0, number.start - _BESIDE) : number.start + 2]):
        return True  # "Answer - 5": a dash or a sign
    return bool(_OPERATOR_BEFORE.search(before) or _OPERATOR_AFTER.match(after) or is_part(text, number))


def read_closing(question: Question, end: Closing) -> Reading:
    """An unmarked completion states a number where its last line is one, ends in "= 18", has one bold
    number, or where its last sentence holds exactly one."""
    for text in (end.line, "" if _LIST_NUMBER.match(end.line) else end.bold or ""):
        number = parse_number(text)
        if number is not None:
            return Reading(number.text)
    sentence = end.sentence
    if sentence.endswith("?"):
        return Reading(None, "the completion ends in a question")
    several = _TWO_NAMES.search(sentence)
    side = _last_side(sentence)
    if not several and side != sentence and (number := parse_number(side)) is not None:
        return Reading(number.text)
    reading = read_clause(sentence, marked=False)
    if reading.answer is None and not reading.reason:
        return Reading(None, "no answer is stated")
    return reading


def same(question: Question, gold: str, answer: str) -> Same:
    expected, given = parse_number(gold), parse_number(answer)
    if expected is None or given is None:
        if gold.strip() == answer.strip():
            return Same("correct")
        return Same("undecided", f"{gold if expected is None else answer!r} is not a number")
    tolerance = question.metadata.get("tolerance")
    if tolerance is not None and abs(expected.value - given.value) <= tolerance:
        return Same("correct")
    decimal = expected.decimal or given.decimal
    if expected.percent == given.percent:
        equal = close_values(expected.value, given.value, decimal)
    elif close_values(
        expected.value / (100 if expected.percent else 1),
        given.value / (100 if given.percent else 1),
        decimal=True,
    ):
        equal = True  # 28% is 0.28
    else:
        equal = close_values(expected.value, given.value, decimal)
        if equal and not expected.percent and not asks_percent(question):
            return Same("undecided", f"{answer} against {gold}: the question does not ask for a percentage")
    return Same("correct") if equal else Same("wrong", f"{answer} is not {gold}")


def asks_percent(question: Question) -> bool:
    return bool(_PERCENT.search(question.question))


def canonical(question: Question, answer: str) -> str:
    number = parse_number(answer)
    if number is None:
        return answer.strip()
    return rounded(number.value if not number.percent or asks_percent(question) else number.value / 100)


NUMBER = Comparer(read, read_closing, same, canonical, "The answer is {}.")
