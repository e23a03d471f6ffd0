r"""Answers that are mathematics: LaTeX or plain expressions, numbers, sets, tuples, intervals, words.

Each step only where the one before cannot decide: equal after removing what has no meaning (spacing,
`\left`, `\dfrac`, units); numbers and lists of numbers, compared exactly and whole; polynomials and
square roots in a normal form; math-verify in a worker process. All but the last decide most answers
and start no process.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace

from qrdistill.answers import latex
from qrdistill.answers.comparer import NOTHING, Comparer, Reading, Same, Ticket
from qrdistill.answers.kinds import number as by_number
from qrdistill.answers.kinds import text as by_text
from qrdistill.answers.math_notation import SEGMENT, for_sympy, tidied, unwrapped
from qrdistill.answers.numerals import Number, close, parse_number, rounded
from qrdistill.answers.polynomials import normal_form
from qrdistill.answers.statements import Closing, Statement
from qrdistill.base.records import Question

_JOINER = re.compile(r"\s*(?:,|;|,?\s*\band\b|,?\s*\bor\b|&)\s*")
_AFTER = re.compile(r"\s*(?:\\?%|percent\b|pct\b)")
_PROSE = re.compile(r"[A-Za-z]{3,}(?:\s+[A-Za-z]+)+")
_WORDS_AT_MOST = 5


def read(question: Question, statement: Statement) -> Reading:
    text = statement.text.strip()
    if statement.how in ("boxed", "json", "gold", "tag"):
        return Reading(unwrapped(text)) if text else NOTHING
    if statement.how == "hashes" and not (re.search(r"[\\=$]", text) or parse_number(text)):
        return NOTHING  # a heading
    return _clause(text)


_COPULA = re.compile(r"^[^$\\]*[A-Za-z]{2}.*?\s(?:is|are|equals)\s+(?=\S)(?!.*\s(?:is|are|equals)\s)", re.DOTALL)


def _clause(text: str) -> Reading:
    match = _COPULA.match(text)
    if match and re.search(r"[\d$\\]", text[match.end() :]) and not by_number.unsure(text):
        text = text[match.end() :]  # "The largest $n$ is 34"
    segments = list(SEGMENT.finditer(text))
    if segments:
        outside = SEGMENT.sub(" ", text)
        if by_number.unsure(outside):
            return Reading(None, f"nothing is asserted: {text[:60]!r}", final=True)
        contents = [next(part for part in match.groups() if part) for match in segments]
        contents = [
            c.strip() + ("%" if _AFTER.match(text, m.end()) else "") for c, m in zip(contents, segments, strict=True)
        ]
        between = [text[a.end() : b.start()] for a, b in itertools.pairwise(segments)]
        if all(_JOINER.fullmatch(part) for part in between):
            return Reading(", ".join(contents))
        if any(re.search(r"[=≈]\s*$", part) for part in between[-1:]):
            return Reading(contents[-1])
        return Reading(None, f"several expressions are stated: {', '.join(contents[:3])}", final=True)
    text = by_text.bare(text)
    if not text:
        return NOTHING
    if _PROSE.search(text) and (find := by_number.read_clause(text)) != NOTHING:
        return find
    if by_number.unsure(text):
        return Reading(None, f"nothing is asserted: {text[:60]!r}", final=True)
    if re.search(r"[\d\\=^]", text) or len(text.split()) <= _WORDS_AT_MOST:
        return Reading(unwrapped(text))
    return NOTHING


def read_closing(question: Question, end: Closing) -> Reading:
    """The last line where it is mathematics by itself, the one expression of the last sentence, or a
    number as `by_number` finds it."""
    line = end.line.rstrip(".")
    if (match := SEGMENT.fullmatch(line)) is not None:
        return Reading(unwrapped(next(part for part in match.groups() if part)))
    if end.sentence.endswith("?"):
        return Reading(None, "the completion ends in a question")
    if end.bold and not _PROSE.search(end.bold):
        return _clause(end.bold)
    if SEGMENT.search(end.sentence):
        return _clause(end.sentence)
    if re.search(r"\w", line) and not re.search(r"[A-Za-z]{2,}\s", line):
        return Reading(unwrapped(line))
    return by_number.read_closing(question, end)


_VARIABLE = re.compile(r"^\s*([A-Za-z](?:_\{?\w+\}?)?(?:\([a-z]\))?)\s*(?:=|\\in\b)\s*(?=[^=])")


def _sides(text: str) -> tuple[str | None, str]:
    """The name and the value of "x = 5"; no name where it is no such assignment."""
    match = _VARIABLE.match(text)
    if not match or "=" in text[match.end() :]:
        return None, text
    return match[1], text[match.end() :].strip()


def strict_number(text: str) -> Number | None:
    """A plain number with at most a percent sign; "2x", "0,1" and "5 cm" are none."""
    number = parse_number(text)
    if number is None or re.search(r",(?!\d{3}(?!\d))", text):
        return None
    return number if not re.sub(r"[\s$€£)]", "", text[number.end :]) else None


@dataclass(frozen=True)
class _List:
    opening: str  # "(" "[" "{" or "" for a bare list
    closing: str
    numbers: tuple[Number, ...]

    @property
    def ordered(self) -> bool:
        return self.opening in ("(", "[")


def _list(text: str) -> _List | None:
    """A list, tuple, interval or set of plain numbers; None for anything else, single numbers included."""
    inner, opening, end = text, "", ""
    for left, right in (("\\{", "\\}"), ("{", "}"), ("(", ")"), ("[", "]"), ("(", "]"), ("[", ")")):
        if text.startswith(left) and text.endswith(right) and len(text) >= len(left) + len(right):
            inner, opening, end = text[len(left) : len(text) - len(right)], left[-1], right[-1]
            break
    if re.search(r"[()\[\]{}]", inner.replace("\\frac{", "").replace("}{", "").replace("}", "")):
        return None
    parts = inner.split(",") if "," in inner else inner.split(";")
    numbers = [strict_number(part.strip()) for part in parts]
    if len(parts) < 2 and not opening:
        return None
    found = tuple(number for number in numbers if number is not None)
    return _List(opening, end, found) if len(found) == len(numbers) else None


def quick(question: Question, gold: str, answer: str) -> Same | None:
    """What strings and exact numbers decide; None where mathematics has to be read."""
    left, right = tidied(gold), tidied(answer)
    if re.sub(r"\s", "", left) == re.sub(r"\s", "", right):
        return Same("correct")
    (left_name, left), (right_name, right) = _sides(left), _sides(right)
    if left_name and right_name and left_name != right_name:
        return None
    if re.sub(r"\s", "", left) == re.sub(r"\s", "", right):
        return Same("correct")
    if (based := _bases(question, left, right)) is not None:
        return based
    if (worded := _worded(question, left, right)) is not None:
        return worded
    number, other = strict_number(left), strict_number(right)
    if number is not None and other is not None:
        return by_number.same(question, number.text, other.text)
    left, right = _mixed(left, number), _mixed(right, other)
    if (number or other) and any(_equal(_comma_decimal(a), b) for a, b in ((left, other), (right, number))):
        return Same("correct")
    first, second = _list(left), _list(right)
    if (first and (second or other)) or (second and number):
        return _lists(first or number, second or other, left, right)  # type: ignore[arg-type]
    return _algebra(left, right)


def _bases(question: Question, gold: str, answer: str) -> Same | None:
    """Numerals with a base, "4210_7": the same number in the same base. Where one side names none, the
    same digits count if the question asks for a base."""
    left, right = (_BASED.fullmatch(re.sub(r"\s|(?<=\d),(?=\d{3})", "", side)) for side in (gold, answer))
    if not left or not right or not (left["base"] or right["base"]):
        return None
    if left["digits"] == right["digits"]:
        if left["base"] == right["base"]:
            return Same("correct")
        if not (left["base"] and right["base"]):
            asked = re.search(r"\b(?:base|binary|octal|hexadecimal)\b", question.question)
            return Same("correct") if asked else Same("undecided", f"{answer} against {gold}: in which base?")
    elif left["base"] != right["base"]:
        return Same("undecided", f"{answer} against {gold}: numerals in different bases")
    return Same("wrong", f"{answer} is not {gold}")


def _worded(question: Question, gold: str, answer: str) -> Same | None:
    """Words as words: names, "even", "June 20", "five"; never letters that are multiplied out."""
    if _is_words(gold) and _is_words(answer):
        return by_text.same(question, gold, answer)
    if "\\text" not in gold + answer:
        return None
    flat = [re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", side) for side in (gold, answer)]
    if "".join(flat[0].casefold().split()) == "".join(flat[1].casefold().split()):
        return Same("correct")
    if all(re.fullmatch(r"[A-Za-z][A-Za-z' -]*[A-Za-z]", side.strip()) for side in flat):
        return by_text.same(question, *flat)
    numbers = [parse_number(side) for side in flat]
    if numbers[0] and numbers[1]:
        return by_number.same(question, numbers[0].text, numbers[1].text)
    if _is_words(gold) != _is_words(answer):
        return Same("undecided", f"words against mathematics: {answer[:60]!r} against {gold[:60]!r}")
    return None


def _mixed(text: str, number: Number | None) -> str:
    """A mixed number as a fraction: to algebra, side by side means times."""
    return text if number is None or " " not in number.text else str(number.value)


def _algebra(gold: str, answer: str) -> Same | None:
    """Exact equality of polynomials and roots. Where a decimal or i is involved and they differ, rounding
    or i^2 = -1 may make them equal: not decided here."""
    expected, given = normal_form(gold), normal_form(answer)
    if expected is None or given is None:
        return None
    if expected == given:
        return Same("correct")
    open_ = re.search(r"\.\d|(?<![A-Za-z\\])i(?![A-Za-z])|sqrt\s*\{\s*-", f"{gold} {answer}")
    return None if open_ else Same("wrong", f"{answer[:60]} is not {gold[:60]}")


def _comma_decimal(text: str) -> Number | None:
    """ "1000,99" as the number that it is where a comma marks the decimals."""
    return parse_number(text) if re.fullmatch(r"-?\d+,\d+", text) else None


def _equal(left: Number | None, right: Number | None) -> bool:
    return left is not None and right is not None and left.percent == right.percent and close(left, right)


def _lists(left: _List | Number, right: _List | Number, gold: str, answer: str) -> Same | None:
    if isinstance(left, Number) or isinstance(right, Number):
        some = right if isinstance(left, Number) else left
        if isinstance(some, _List) and len(some.numbers) > 1:
            return Same(
                "wrong",
                f"{answer} is not the whole of {gold}" if some is left else f"{answer} is more than {gold}",
            )
        return None
    if left.ordered != right.ordered:
        bare = any(not some.opening or text.startswith("{") for some, text in ((left, gold), (right, answer)))
        return None if bare else Same("wrong", f"{answer} is not {gold}")
    if left.ordered:
        if len(left.numbers) != len(right.numbers) or (left.opening, left.closing) != (
            right.opening,
            right.closing,
        ):
            return Same("wrong", f"{answer} is not {gold}")
        equal = all(close(a, b) for a, b in zip(left.numbers, right.numbers, strict=True))
    else:
        first, second = _distinct(left), _distinct(right)
        equal = len(first) == len(second) and all(close(a, b) for a, b in zip(first, second, strict=True))
    return Same("correct") if equal else Same("wrong", f"{answer} is not {gold}")


def _distinct(numbers: _List) -> list[Number]:
    """The different values of a list in rising order, percent signs worked in."""
    found = {n.value / 100 if n.percent else n.value: n for n in numbers.numbers}
    return [replace(found[value], value=value) for value in sorted(found)]


def _values(numbers: _List) -> list[str]:
    return [rounded(number.value / 100 if number.percent else number.value) for number in numbers.numbers]


def _is_words(text: str) -> bool:
    """A name or a word ("Evelyn", "even"), LaTeX text included: nothing that sympy should multiply out."""
    plain = by_text.bare(text)
    return (
        bool(re.fullmatch(r"[A-Za-z][A-Za-z' -]*[A-Za-z]", plain))
        and len(plain) > 2
        and ("\\text" in text or len(plain) > 3 or " " in plain)
    )


_BASED = re.compile(r"(?P<digits>-?[0-9A-F]+)(?:_\{?(?P<base>\d{1,2})\}?)?")
_NUMBERS_EQUATED = re.compile(r"\s*-?\d[\d.,]*\s*=")
_INFINITE = re.compile(r"(?:∞|\\infty)\s*\d|\d\s*(?:∞|\\infty)")
_SUBSCRIPT = re.compile(r"\d\s*(?:_|[₀-₉])")
_SIDE_BY_SIDE = re.compile(r"(?<![\\\w{}])\d[\d./]*\s+\d(?!\d{2}(?!\d))")


def begin(question: Question, gold: str, answer: str) -> Same | Ticket:
    """The result, or a ticket of the worker that computes it."""
    decided = quick(question, gold, answer)
    if decided is None and _SIDE_BY_SIDE.search(answer):
        return Same("undecided", f"numbers stand side by side without an operator: {answer[:60]!r}")
    if decided is None and _NUMBERS_EQUATED.match(answer) and not _NUMBERS_EQUATED.match(gold):
        return Same("undecided", f"an equation of numbers: {answer[:60]!r}")
    if decided is None and _INFINITE.search(answer):
        return Same("undecided", f"infinity beside a number: {answer[:60]!r}")
    if decided is None and bool(_SUBSCRIPT.search(gold)) != bool(_SUBSCRIPT.search(answer)):
        return Same("undecided", f"a numeral with an index: {answer[:60]!r} against {gold[:60]!r}")
    return decided if decided is not None else latex.submit(for_sympy(gold), for_sympy(answer))


def same(question: Question, gold: str, answer: str) -> Same:
    started = begin(question, gold, answer)
    return latex.wait(started) if isinstance(started, Ticket) else started


def canonical(question: Question, answer: str) -> str:
    _, text = _sides(tidied(answer))
    if (number := strict_number(text)) is not None:
        return by_number.canonical(question, number.text)
    if (numbers := _list(text)) is not None:
        values = _values(numbers)
        return f"{numbers.opening}{','.join(values if numbers.ordered else sorted(set(values)))}{numbers.closing}"
    if _is_words(text):
        return by_text.folded(text)
    if (form := normal_form(text)) is not None:
        return repr(sorted(form.items()))
    return re.sub(r"\s", "", text)


MATH = Comparer(read, read_closing, same, canonical, r"The answer is \boxed{{{}}}.", "...", begin=begin)
