"""Answers by option: a letter or the option's own text; two options, or none that exists, is undecided."""

from __future__ import annotations

import re

from qrdistill.answers.asides import claims, without_aside
from qrdistill.answers.comparer import NOTHING, Comparer, Reading, Same
from qrdistill.answers.kinds.text import bare, folded
from qrdistill.answers.numerals import close, parse_number
from qrdistill.answers.statements import Closing, Statement
from qrdistill.base.records import Question

_LEAD = re.compile(r"^(?:the\s+)?(?:option|choice|letter|answer)\s*:?\s*", re.IGNORECASE)
_LETTER = re.compile(
    r"^(?:[(\[]\s*(?P<in>[A-Za-z])\s*[)\]]|(?P<bare>[A-Z])(?=$|\s*[).:,;\]]|\s+[-–—(=]|\s+(?:because|since|as|which|and|or|is)\b)|(?P<low>[a-z])(?=$|\)))"
    r"[\s).:,;\]–—=-]*(?P<rest>.*)$",
    re.DOTALL,
)
_SECOND = re.compile(
    r"[\s).\]]*(?:(?:and|or|&|/)\s*(?:option\s+)?[(\[]?([A-Z])\b(?!')|,\s*[(\[]?([A-Z])(?=\s*(?:$|[).,;\]])))"
)
_NEGATED = re.compile(
    r"\b(?:not|isn't|cannot|can't|except|neither|nor|none|rather than|instead of|wrong)\b", re.IGNORECASE
)
_PARENTHESISED = re.compile(r"\(([A-Z])\)|\b(?:option|choice|answer)\s+([A-Z])\b", re.IGNORECASE)
_JOINING = (
    " is are was were be would will can may has have does do and or but in on at of for to by from with as than that "
    "this it they he she you we so if when where while who whose because since due during after before through into "
    "instead rather the a an option answer choice "
)  # words that may follow an option's text without making it another thing ("heart disease")


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
        second = _SECOND.match(text, match.end("in") if match["in"] else match.end("bare"))
        other = second and (second[1] or second[2])
        if other and other != letter and other in options:
            return Reading(None, f"two options are named: {letter} and {other}", final=True)
        return _by_letter(letter, rest, options)
    part, rest = without_aside(text)
    reading = _by_text(part, options)
    claimed = _by_text(claims(rest), options)
    if reading.answer and claimed.answer not in (None, reading.answer):
        return Reading(None, f"several options are named: {reading.answer}, {claimed.answer}", final=True)
    return reading


def _by_letter(letter: str, rest: str, options: dict[str, str]) -> Reading:
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
    held = {letter: folded(option) for letter, option in options.items() if f" {folded(option)} " in f" {given} "}
    held = {a: text for a, text in held.items() if not any(a != b and text in other for b, other in held.items())}
    if not held:
        return NOTHING
    if len(held) > 1:
        return Reading(None, f"several options are named: {', '.join(held)}", final=True)
    if _NEGATED.search(text):
        return Reading(None, f"the option is not asserted: {text[:60]!r}", final=True)
    letter, option = next(iter(held.items()))
    following = re.search(r"\b" + r"[\W_]+".join(map(re.escape, option.split())) + r"\s+(\w+)", text.casefold())
    if following and f" {following[1]} " not in _JOINING:
        return Reading(None, f"the option stands among other words: {text[:60]!r}", final=True)
    return Reading(letter)


_SAYS = re.compile(r"\s*[\]).:,]*\s*(?:is|are|was|would|seems|can|does|has)\b", re.IGNORECASE)


def read_closing(question: Question, end: Closing) -> Reading:
    """The last line or its bold words, else a last sentence that names exactly one option; where the
    first line is an option by itself and the end says another, undecided."""
    last, first = _last(question, end), _alone(question, end.opening)
    if first is None or first.answer is None:
        return last
    if last.answer not in (None, first.answer):
        return Reading(None, f"option {first.answer} is stated first and {last.answer} last")
    return first if last.answer is None else last


def _alone(question: Question, text: str) -> Reading | None:
    """A line that is an option by itself: "B", "(B) the heart", "the heart"; None for any other."""
    options: dict[str, str] = question.metadata.get("options", {})
    stripped = bare(text)
    if re.fullmatch(r"[(\[]?[A-Za-z][)\]]?", stripped) or any(folded(o) == folded(stripped) for o in options.values()):
        return read(question, Statement(stripped, "line", 0, 0))
    if (match := re.match(r"\(?[A-Z][).:]\s", stripped)) and not _SAYS.match(stripped, match.end() - 1):
        return read(question, Statement(stripped, "line", 0, 0))
    return None


def _last(question: Question, end: Closing) -> Reading:
    options: dict[str, str] = question.metadata.get("options", {})
    for text in (end.line, end.bold or ""):
        if (reading := _alone(question, text)) is not None:
            return reading
    if end.sentence.endswith("?"):
        return Reading(None, "the completion ends in a question")
    letters = {
        (match[1] or match[2]) for match in _PARENTHESISED.finditer(end.sentence) if (match[1] or match[2]).isupper()
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
