"""Answers that are words: compared without case, articles, quotes and punctuation, nothing fuzzier.

What only signs tell apart (`&&` from `||`, `x²` from `x2`) is never equal: where nothing but signs is
there the raw texts are compared, and where signs differ beside equal words it is undecided.
"""

from __future__ import annotations

import re
import unicodedata

from qrdistill.answers.comparer import NOTHING, Comparer, Reading, Same
from qrdistill.answers.numerals import CURRENCY, Number, close, parse_number, plain_characters, rounded
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
    before, given = None, text
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
    return text or given.strip()


_QUOTED = re.compile(r"([\"“„«])([^\"”“»]*)[\"”“»]")
_IN_PARENTHESES = re.compile(r"\(((?=[^()]*\w\w)[\w\s,.'-]*)\)|^\(([^()]*)\)$")
_PUNCTUATION = re.compile(  # what prose puts between words; signs that may mean something are not in it
    r"(?<!\d)['\"‘’“”„«»]|['\"‘’“”„«»](?=\w)|[;!?¿¡…。、،·]|,(?!\d)|(?<!\d),|,(?=\s\d{4}\b)|(?<!\d):|:(?!\d)"
    r"|(?<!\d)[.]|[.](?!\d)|(?<=[^\W\d])-(?=\w)|(?<=\w)-(?=[^\W\d])|\*\*|(?<!\w)#"
)
_KEPT = "%$€£.+/=<>^#-"  # signs that stay where they stand; all others are words of their own
_ARTICLES = ("a", "an", "the")


def folded(text: str) -> str:
    """Case, look-alike characters, articles, prose's punctuation and spaces folded away; signs stay.

    >>> folded("The  Eiffel-Tower!"), folded("10:30 A.M."), folded("10:30am")
    ('eiffel tower', '10 : 30 am', '10 : 30 am')
    >>> folded("&&"), folded(":)"), folded("x²"), folded("Hepatitis A")
    ('&&', ':)', 'x^2', 'hepatitis a')
    """
    plain = _compatible(bare(text))
    if not any(character.isalnum() for character in plain):
        return " ".join(unicodedata.normalize("NFC", text).split())
    plain = re.sub(r"(?<=\b[A-Za-z])\.(?=[A-Za-z]\b)|(?<=\d)(?=[apAP]\.?[mM]\b)", lambda m: "" if m[0] else " ", plain)
    plain = _IN_PARENTHESES.sub(lambda m: f" {m[1] or m[2]} ", _QUOTED.sub(r" \2 ", plain))
    plain = _PUNCTUATION.sub(" ", plain)
    signs = "".join(c if c in _KEPT or c == "_" or unicodedata.category(c)[0] in "LMNZC" else f" {c} " for c in plain)
    words = signs.split()
    shouted = plain.isupper()
    kept = [
        word.casefold()
        for place, word in enumerate(words)
        if word.casefold() not in _ARTICLES
        or not words[place + 1 : place + 2]
        or not words[place + 1][0].isalnum()
        or (word == "A" and place > 0 and not shouted)  # "Type A blood"
    ]
    return " ".join(kept)


def _compatible(text: str) -> str:
    """Wide, narrow and joined characters as plain ones, accents in one encoding; raised digits raised."""
    parts: list[str] = []
    for character in unicodedata.normalize("NFC", plain_characters(text)):
        form = unicodedata.decomposition(character).partition(" ")[0]
        if form in ("<super>", "<sub>"):
            chemical = form == "<sub>" and parts and parts[-1].isalpha()  # H₂O is written H2O
            sign = "" if chemical else "^" if form == "<super>" else "_"
            parts.append(sign + unicodedata.normalize("NFKC", character))
        elif form in ("<compat>", "<wide>", "<narrow>", "<noBreak>", "<font>"):
            parts.append(unicodedata.normalize("NFKC", character))
        else:
            parts.append(character)
    return re.sub(r"(?<=\^)(\d)((?:\^\d)+)", lambda m: m[1] + m[2].replace("^", ""), "".join(parts))


def _loose(text: str) -> str:
    """The words alone, in which texts that differ in signs may meet."""
    text = unicodedata.normalize("NFKC", bare(text)).casefold()
    text = re.sub(r"(?<=\b[a-z])\.(?=[a-z]\b)|(?<=\d)(?=[ap]\.?m\b)", lambda m: "" if m[0] else " ", text)
    text = re.sub(r"[^\w\s%$€£.+/=<>^#-]|(?<!\w)#|(?<!\d)[.]|[.](?!\d)|(?<=\w)-(?=\w)", " ", text)
    return " ".join(word for word in text.split() if word not in _ARTICLES)


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
    results = [_same(accepted, answer) for accepted in (gold, *question.metadata.get("aliases", ()))]
    decided = [result for outcome in ("correct", "undecided") for result in results if result.outcome == outcome]
    return decided[0] if decided else Same("wrong", f"{answer[:60]!r} is not {gold!r}")


def _same(accepted: str, answer: str) -> Same:
    given, expected = folded(answer), folded(accepted)
    if given == expected:
        return Same("correct")
    left, right = parse_number(accepted), parse_number(answer)
    if left is not None and right is not None:
        if left.percent != right.percent or not close(left, right):
            return Same("wrong")
        units = _unit(accepted, left), _unit(answer, right)
        if all(units) and units[0] != units[1]:
            return Same("undecided", f"{answer[:60]!r} against {accepted!r}: other units")
        return Same("correct")
    if f" {expected} " in f" {given} ":
        return Same("undecided", f"{answer[:60]!r} holds {accepted!r} among other words")
    if (loose := _loose(answer)) and loose == _loose(accepted):
        return Same("undecided", f"{answer[:60]!r} differs from {accepted!r} in signs")
    return Same("wrong")


def _unit(text: str, number: Number) -> str:
    """What stands beside a number, currency included."""
    text = plain_characters(text)
    inside = "".join(c for c in text[number.start : number.end] if c in CURRENCY)
    beside = text[: number.start] + " " + text[number.end :]
    return folded(inside + beside) if inside or any(c.isalpha() or c in CURRENCY for c in beside) else ""


def canonical(question: Question, answer: str) -> str:
    number = parse_number(answer)
    if number is not None:
        return f"{rounded(number.value)}{'%' if number.percent else ''} {_unit(answer, number)}".rstrip()
    return folded(answer)


TEXT = Comparer(read, read_closing, same, canonical, "The answer is {}.", "X")
