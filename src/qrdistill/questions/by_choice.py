"""Answers by option: a letter or the option's own text; two options, or none that exists, is undecided."""

from __future__ import annotations

import re

from qrdistill.questions.by_text import bare, folded
from qrdistill.questions.comparer import NOTHING, Comparer, Reading, Same
from qrdistill.questions.numbers import close, parse_number
from qrdistill.questions.statements import Closing, Statement
from qrdistill.records import Question

_LEAD = re.compile(r"^(?:the\s+)?(?:option|choice|letter|answer)\s*:?\s*", re.IGNORECASE)
_LETTER = re.compile(
    r"^(?:[(\[]\s*(?P<in>[A-Za-z])\s*[)\]]|(?P<bare>[A-Z])(?=$|\s*[).:,;\]]|\s+[-–—(=]|\s+(?:because|since|as|which|and|or|is)\b)|(?P<low>[a-z])(?=$|\)))"
    r"[\s).:,;\]–—=-]*(?P<rest>.*)$",
    re.DOTALL,
)
_SECOND = re.compile(r"^(?:and|or|&|/|,)\s*(?:option\s+)?[(\[]?([A-Z])\b(?!')")
_NEGATED = re.compile(
    r"\b(?:not|isn't|cannot|can't|except|neither|nor|none|rather than|instead of|wrong)\b", re.IGNORECASE
)
_PARENTHESISED = re.compile(r"\(([A-Z])\)|\b(?:option|choice|answer)\s+([A-Z])\b", re.IGNORECASE)
_REASON = re.compile(r"\s*(?:,?\s*\b(?:because|since|as it|as they|which|given that)\b|;)")


def read(question: Question, statement: Statement) -> Reading:
    options: dict[str, str] = question.metadata.get("options", {})
    text = bare(statement.text)
    if len(text) > 1 and text in options.values():
        return _by_text(text, options)
    if re.match(r"not\b", text, re.IGNORECASE):
        return Reading(None, f"an option is denied: {text[:60]!r}", final=True)
    text = bare(_LEAD.sub("", text))
    text = re.sub(r"^\\(?:text|textbf|mathrm|mathbf)\s*\{\s*(\(?[A-Za-z]\)?)\s*\}", r"\1", text)
    if match := _LETTER.match(text):
        letter = (match["in"] or match["bare"] or match["low"]).upper()
        rest = bare(match["rest"])
        if match["low"] and rest:
            return _by_text(text, options)
        if not rest and statement.how == "gold" and letter not in options:
            return Reading(
                None, f"option {letter} does not exist; there are {', '.join(options) or 'none'}", final=True
            )
        return _by_letter(letter, rest, options)
    return _by_text(_REASON.split(text, maxsplit=1)[0], options)


def _by_letter(letter: str, rest: str, options: dict[str, str]) -> Reading:
    second = _SECOND.match(rest)
    if second and second[1] != letter and second[1] in options:
        return Reading(None, f"two options are named: {letter} and {second[1]}", final=True)
    if letter not in options:
        return Reading(None, f"option {letter} does not exist; there are {', '.join(options)}", final=True)
    if rest:
        named = [other for other, text in options.items() if folded(text) == folded(rest)]
        if named and letter not in named:
            return Reading(None, f"letter {letter} stands with the text of {named[0]}", final=True)
    return Reading(letter)


def _by_text(text: str, options: dict[str, str]) -> Reading:
    given = folded(text)
    if not given:
        return NOTHING
    exact = [letter for letter, option in options.items() if folded(option) == given]
    if not exact and (number := parse_number(text)) is not None:
        values = {letter: parse_number(option) for letter, option in options.items()}
        exact = [
            letter
            for letter, value in values.items()
            if value is not None and value.percent == number.percent and close(value, number)
        ]
    if len(exact) == 1:
        return Reading(exact[0])
    if len(exact) > 1:
        return Reading(None, f"options {' and '.join(exact)} have the same text", final=True)
    held = {
        letter: folded(option) for letter, option in options.items() if f" {folded(option)} " in f" {given} "
    }
    held = {
        a: text for a, text in held.items() if not any(a != b and text in other for b, other in held.items())
    }
    if not held:
        return NOTHING
    if len(held) > 1:
        return Reading(None, f"several options are named: {', '.join(held)}", final=True)
    if _NEGATED.search(text):
        return Reading(None, f"the option is not asserted: {text[:60]!r}", final=True)
    return Reading(next(iter(held)))


def read_closing(question: Question, end: Closing) -> Reading:
    """The last line or its bold words, else a last sentence that names exactly one option."""
    options: dict[str, str] = question.metadata.get("options", {})
    for text in (end.line, end.bold or ""):
        stripped = bare(text)
        if re.fullmatch(r"\(?[A-Za-z]\)?", stripped) or any(
            folded(o) == folded(stripped) for o in options.values()
        ):
            return read(question, Statement(stripped, "line", 0, 0))
        if re.match(r"\(?[A-Z][).:]\s", stripped):
            return read(question, Statement(stripped, "line", 0, 0))
    if end.sentence.endswith("?"):
        return Reading(None, "the completion ends in a question")
    letters = {
        (match[1] or match[2])
        for match in _PARENTHESISED.finditer(end.sentence)
        if (match[1] or match[2]).isupper()
    }
    if len(letters) == 1 and not _NEGATED.search(end.sentence):
        return _by_letter(letters.pop(), "", options)
    if letters:
        return Reading(None, f"several options, or none, are asserted: {end.sentence[:60]!r}")
    reading = _by_text(end.sentence, options)
    return reading if reading != NOTHING else Reading(None, "no option is named")


def same(question: Question, gold: str, answer: str) -> Same:
    if gold == answer:
        return Same("correct")
    options: dict[str, str] = question.metadata.get("options", {})
    if gold in options and answer in options and folded(options[gold]) == folded(options[answer]):
        return Same("undecided", f"options {gold} and {answer} have the same text")
    return Same("wrong", f"{answer} is not {gold}")


def canonical(question: Question, answer: str) -> str:
    return answer


CHOICE = Comparer(read, read_closing, same, canonical, "The answer is ({}).", "letter")
