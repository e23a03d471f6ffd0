"""Answers that are words: compared without case, articles, quotes and punctuation, nothing fuzzier."""

from __future__ import annotations

import re
import unicodedata

from qrdistill.answers.comparer import NOTHING, Comparer, Reading, Same
from qrdistill.answers.numerals import close, parse_number, rounded
from qrdistill.answers.statements import Closing, Statement
from qrdistill.base.records import Question

_WRAPPER = re.compile(r"^\\(?:text|mbox|mathrm|textbf|textit|mathbf|textnormal)\s*\{(.*)\}$", re.DOTALL)
_UNSURE = re.compile(r"\b(?:do not|don't|cannot|can't|not sure|unsure|unclear|unknown)\b", re.IGNORECASE)
_WORDS_AT_MOST = 12  # of an unmarked last line that can be an answer by itself


def bare(text: str) -> str:
    r"""The text without what is written around an answer: LaTeX text commands, quotes, a full stop.

    >>> bare('**"Paris".**'), bare(r"\text{Evelyn}")
    ('Paris', 'Evelyn')
    """
    before = None
    while text != before:
        before = text
        text = text.strip().strip("*`").rstrip(".,;!").strip()
        if len(text) > 1 and (text[0], text[-1]) in {
            ('"', '"'),
            ("'", "'"),
            ("“", "”"),
            ("‘", "’"),
            ("$", "$"),
        }:
            text = text[1:-1]
        if wrapped := _WRAPPER.match(text):
            text = wrapped[1]
    return text


def folded(text: str) -> str:
    """Case, accents' encoding, articles, punctuation and spaces folded away.

    >>> folded("The  Eiffel-Tower!"), folded("10:30 A.M."), folded("10:30am")
    ('eiffel tower', '10 30 am', '10 30 am')
    """
    text = unicodedata.normalize("NFKC", bare(text)).casefold()
    text = re.sub(r"(?<=\b[a-z])\.(?=[a-z]\b)|(?<=\d)(?=[ap]\.?m\b)", lambda m: "" if m[0] else " ", text)
    text = re.sub(r"[^\w\s%$€£.+/=<>^#-]|(?<!\w)#|(?<!\d)[.]|[.](?!\d)|(?<=\w)-(?=\w)", " ", text)
    words = [word for word in text.split() if word not in ("a", "an", "the")]
    return " ".join(words) or " ".join(text.split())


def read(question: Question, statement: Statement) -> Reading:
    text = bare(statement.text)
    if statement.how == "marker" and re.match(r"not\s", text, re.IGNORECASE):
        return Reading(None, f"an answer is denied: {text[:60]!r}", final=True)
    return Reading(text) if text else NOTHING


def read_closing(question: Question, end: Closing) -> Reading:
    """The bold words of the last line, or a completion that is one short line."""
    if end.bold:
        return Reading(bare(end.bold))
    alone = end.line == end.opening == end.sentence and len(end.line.split()) <= _WORDS_AT_MOST
    if not alone or end.line.endswith("?") or not bare(end.line):
        return Reading(None, "no answer is stated")
    if _UNSURE.search(end.line):
        return Reading(None, f"nothing is asserted: {end.line[:60]!r}")
    return Reading(bare(end.line))


def same(question: Question, gold: str, answer: str) -> Same:
    given = folded(answer)
    for accepted in (gold, *question.metadata.get("aliases", ())):
        expected = folded(accepted)
        if given == expected:
            return Same("correct")
        left, right = parse_number(accepted), parse_number(answer)
        if left is not None and right is not None and left.percent == right.percent and close(left, right):
            return Same("correct")
        if expected and f" {expected} " in f" {given} ":
            return Same("undecided", f"{answer[:60]!r} holds {accepted!r} among other words")
    return Same("wrong", f"{answer[:60]!r} is not {gold!r}")


def canonical(question: Question, answer: str) -> str:
    number = parse_number(answer)
    if number is not None:
        return rounded(number.value) + ("%" if number.percent else "")
    return folded(answer)


TEXT = Comparer(read, read_closing, same, canonical, "The answer is {}.", "X")
