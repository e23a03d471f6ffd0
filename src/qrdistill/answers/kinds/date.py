"""Answers that are one day: 05/01/2021, 2021-05-01, May 1st, 2021, 1 May 2021.

Extracted and compared as MM/DD/YYYY, month first as in the United States; `metadata.day_first` turns
that round. A day that does not exist, a date without its year and a two-digit year are not dates.
"""

from __future__ import annotations

import datetime
import re

from qrdistill.answers.asides import claims, without_aside
from qrdistill.answers.comparer import NOTHING, Comparer, Reading, Same
from qrdistill.answers.numerals import plain_characters
from qrdistill.answers.statements import Closing, Statement
from qrdistill.base.records import Question

_NAMES = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTHS = (
    {name: n for n, name in enumerate(_NAMES, 1)} | {name[:3]: n for n, name in enumerate(_NAMES, 1)} | {"sept": 9}
)
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATE = re.compile(
    rf"""(?<![\d/.-])(?<!\d\D)(?:
        (?P<y>\d{{4}})\s?[-/.]\s?(?P<m>\d{{1,2}})\s?[-/.]\s?(?P<d>\d{{1,2}})
      | (?P<a>\d{{1,2}})\s?[/.-]\s?(?P<b>\d{{1,2}})\s?[/.-]\s?(?P<y2>\d{{4}})
      | \b(?P<name>{_MONTH})(?:\.?\s+(?:the\s+)?|\.?-|/)(?P<d3>\d{{1,2}})(?:st|nd|rd|th)?(?:\s*,\s*|\s+(?:of\s+)?|[-/])(?P<y3>\d{{4}})
      | (?P<d4>\d{{1,2}})(?:st|nd|rd|th)?(?:\s+(?:of\s+)?|[-/])(?P<name4>{_MONTH})\b\.?(?:\s*,\s*|\s+(?:of\s+)?|[-/])(?P<y4>\d{{4}})
      | (?P<y5>\d{{4}})(?:\s*,\s*|\s+|[-/])(?P<name5>{_MONTH})\b(?:\.?\s+|\.?-|/)(?P<d5>\d{{1,2}})(?:st|nd|rd|th)?
    )(?![\d/]|(?!T\d)[^\W_]|[^\w\s]\d|\s?-\s?\d|\s\d(?!\d?:\d))""",
    re.VERBOSE | re.IGNORECASE,
)
_LEADING_REASON = re.compile(r"^\W*(?:(?:so|and|but)\s+)?(?:since|because|as|given that)\b[^,]*,", re.IGNORECASE)
_NEGATED = re.compile(r"\b(?:not|cannot|can't|isn't|unknown|neither)\b|n't\b", re.IGNORECASE)


def find_dates(text: str, *, day_first: bool = False) -> list[str]:
    """Every day in a text as MM/DD/YYYY.

    >>> find_dates("from May 1st, 2021 to 25/12/2021; 02/30/2021 is no day")
    ['05/01/2021', '12/25/2021']
    """
    found: list[str] = []
    for match in _DATE.finditer(plain_characters(text)):
        part = match.groupdict()
        year = int(next(part[name] for name in ("y", "y2", "y3", "y4", "y5") if part[name]))
        if part["y"]:
            month, day = int(part["m"]), int(part["d"])
        elif part["y2"]:
            month, day = int(part["a"]), int(part["b"])
            if day_first or (month > 12 and day <= 12):
                month, day = day, month
        else:
            month = _MONTHS[(part["name"] or part["name4"] or part["name5"]).lower()]
            day = int(part["d3"] or part["d4"] or part["d5"])
        try:
            found.append(datetime.date(year, month, day).strftime("%m/%d/") + f"{year:04}")
        except ValueError:
            continue
    return found


def _one(question: Question, text: str) -> Reading:
    day_first = bool(question.metadata.get("day_first"))
    part, rest = without_aside(text)
    days = find_dates(part, day_first=day_first)
    if not days:
        part, days = text, find_dates(text, day_first=day_first)
    if not days:
        return NOTHING
    claimed = find_dates(claims(rest), day_first=day_first)
    if len({*days, *claimed}) > 1:
        return Reading(None, f"several dates are stated: {', '.join([*days, *claimed])}", final=True)
    if _NEGATED.search(_LEADING_REASON.sub("", part)):
        return Reading(None, f"the date is not asserted: {text[:60]!r}", final=True)
    return Reading(days[0])


def read(question: Question, statement: Statement) -> Reading:
    return _one(question, statement.text)


def read_closing(question: Question, end: Closing) -> Reading:
    if end.sentence.endswith("?"):
        return Reading(None, "the completion ends in a question")
    for text in (end.bold or "", end.sentence):
        reading = _one(question, text)
        if reading.answer is not None or reading.final:
            return reading
    return Reading(None, "no date is stated")


def same(question: Question, gold: str, answer: str) -> Same:
    return Same("correct") if gold == answer else Same("wrong", f"{answer} is not {gold}")


def canonical(question: Question, answer: str) -> str:
    return answer


DATE = Comparer(read, read_closing, same, canonical, "The answer is {}.", "MM/DD/YYYY")
