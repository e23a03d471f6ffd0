"""Numbers as people write them: read exactly, as fractions, never as floats.

`find_numbers` lists every number of a text with its place; `parse_number` reads a text that is one
number with, at most, a unit. Both refuse what is not a plain number (dates, times, ratios, names
such as `x2`), so that a caller can tell "no number" from "a number".
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

MAX_DIGITS = 400  # longer numerals, and powers of ten beyond, are not read: nobody answers so
PLACES = 6  # decimals that count where one side is written as a decimal (as math-verify does)
_RELATIVE = Fraction(1, 10_000)


@dataclass(frozen=True)
class Number:
    """`value` is without the percent sign's 1/100; `text` is the numeral without separators and unit."""

    value: Fraction
    text: str
    percent: bool = False
    decimal: bool = False  # written with a decimal point, or as a power of ten with one
    start: int = 0
    end: int = 0


_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: 10 * value for value, word in enumerate(_TENS, start=2)},
}
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_VULGAR = {
    "½": (1, 2),
    "⅓": (1, 3),
    "⅔": (2, 3),
    "¼": (1, 4),
    "¾": (3, 4),
    "⅕": (1, 5),
    "⅖": (2, 5),
    "⅗": (3, 5),
    "⅘": (4, 5),
    "⅙": (1, 6),
    "⅚": (5, 6),
    "⅛": (1, 8),
    "⅜": (3, 8),
    "⅝": (5, 8),
    "⅞": (7, 8),
}
CURRENCY = "$€£¥₹₩₽₺₪฿¢"

_GROUPED = r"\d{1,3}(?:(?:,|\{,\}|\\,|\\!,?|[ ]|'(?=\d{3}))\d{3})+"
_PLAIN = r"\d+"
_NUMERAL = rf"(?:(?:{_GROUPED}|{_PLAIN})(?:\.\d+)?|\.\d+)"
_POWER = r"(?:[eE](?P<e>[+-]?\d{1,4})(?![\w.])|\s*(?:[x×*·]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{?(?P<ten>[+-]?\d{1,4})\}?)"
_SIGN = r"(?P<sign>[-+]\s?|(?:minus|negative)\s+)?"
_LATEX_FRACTION = r"\\[dtc]?frac\s*(?:\{\s*(?P<ln>-?\d+)\s*\}|(?P<ls>\d))\s*(?:\{\s*(?P<ld>\d+)\s*\}|(?P<lt>\d))"
_SMALL = rf"(?:(?:{'|'.join(_TENS)})(?:[\s-](?:{'|'.join(_UNITS[1:10])}))?|(?:{'|'.join(reversed(_UNITS))}))\b"
_HUNDREDS = rf"{_SMALL}(?:[\s-]hundred\b(?:(?:\s+and)?\s+{_SMALL})?)?"
_WORD = rf"{_HUNDREDS}(?:[\s-](?:thousand|million|billion|trillion)\b(?:(?:,|\s+and)?\s+{_HUNDREDS})?)*"
_SCALE = "|".join(_SCALES)
_NUMBER = re.compile(
    rf"""(?<![\w^\\]) (?<!\w[.,/:]) (?<!\w\^\{{)
    {_SIGN} (?P<currency>(?:US|\\)?[{re.escape(CURRENCY)}]\s?|(?:USD|EUR|GBP)\s?)? (?P<sign2>-)?
    (?:
        (?P<whole>{_GROUPED}|{_PLAIN})? \s? {_LATEX_FRACTION}
      | (?P<mixed>{_GROUPED}|{_PLAIN}) (?:[ ]|[ ]and[ ]|(?P<hyphen>-)(?=\d+\s?/)) (?P<mn>\d+)\s?/\s?(?P<md>\d+)
      | (?P<vulgar_whole>\d+)?[ ]?(?P<vulgar>[{"".join(_VULGAR)}])
      | (?P<n>{_NUMERAL}) \s?/\s? (?P<d>\d+(?:\.\d+)?)
      | (?P<comma>0,\d+|\d+,\d{{1,2}}|\d+,\d{{4,}}) (?![,\d])
      | (?P<numeral>{_NUMERAL}) (?:{_POWER})? (?:(?:\s|-)(?P<scale>{_SCALE})s?\b)?
      | (?P<word>(?i:{_WORD}))
    )
    (?! [\d] | [.,:/]\d | \s?:\s?\d | (?:st|nd|rd|th)\b )
    (?P<percent>\s?(?:\\?%|percent\b|per\scent\b|percentage\b|pct\b))?""",
    re.VERBOSE,
)


class _PlainCharacters(dict[int, int]):
    """One plain character for each that only looks different: minus signs, spaces, digits, separators."""

    def __missing__(self, code: int) -> int:
        character = chr(code)
        plain = _LOOKALIKE.get(character, character)
        if unicodedata.category(character) == "Zs":
            plain = " "
        elif character.isdecimal():
            plain = str(unicodedata.decimal(character))
        elif 0xFF01 <= code <= 0xFF5E:  # fullwidth forms
            plain = chr(code - 0xFEE0)
        self[code] = ord(plain)
        return self[code]


_LOOKALIKE = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\u207b\u208b\u02d7\u2796\ufe58\ufe63", "-"),
    **dict.fromkeys("\u2044\u2215", "/"),
    **dict.fromkeys("\u2019\u02bc", "'"),
    **dict.fromkeys("\ufe50\u066c", ","),
    **dict.fromkeys("\ufe52\u066b", "."),
    **dict.fromkeys("\ufe6a\u066a", "%"),
    **dict.fromkeys("\ufe62\u207a\u2795", "+"),
    "\ufe69": "$",
}
_PLAIN_CHARACTERS = _PlainCharacters()


def plain_characters(text: str) -> str:
    r"""The text, as long as before, with characters that mean the same as a plain one replaced by it.

    >>> plain_characters("\u22121\u202f234\uff0e\u0665")
    '-1 234.5'
    """
    return text if text.isascii() else text.translate(_PLAIN_CHARACTERS)


def find_numbers(text: str) -> list[Number]:
    """Every number in the text, in order.

    >>> [number.text for number in find_numbers("$1,234.50 and -3/4, then 1 1/2 cups or 5%")]
    ['1234.50', '-3/4', '1 1/2', '5%']
    >>> find_numbers("on 05/01/2021 at 12:30, x2")
    []
    """
    text = plain_characters(text)
    return [number for match in _NUMBER.finditer(text) if (number := _read(match)) is not None]


def _read(match: re.Match[str]) -> Number | None:
    text = match.string
    part = match.groupdict()
    sign = part["sign"] or ""
    if sign and part["sign2"]:
        return None  # "--5"
    start = match.start()
    negative = sign[:1] in ("-", "m", "n") or bool(part["sign2"])
    if sign[:1] == "-" and _is_operator(text, start):
        negative, start = False, match.end("sign")
    percent = bool(part["percent"])
    decimal = False
    try:
        if part["ln"] or part["ls"]:
            top, bottom = part["ln"] or part["ls"], part["ld"] or part["lt"]
            whole = _digits(part["whole"] or "0")
            value = whole + _ratio(top, bottom)
            shown = f"{whole} {top}/{bottom}" if part["whole"] else f"{int(top)}/{bottom}"
            if part["whole"] and not 0 <= _ratio(top, bottom) < 1:
                return None
        elif part["mixed"]:
            whole, ratio = _digits(part["mixed"]), _ratio(part["mn"], part["md"])
            if not 0 <= ratio < 1 or (not whole and part["hyphen"]):
                return None  # "11 7/6" is no mixed number, and two numbers would be a guess
            value, shown = whole + ratio, f"{whole} {part['mn']}/{part['md']}"
        elif part["vulgar"]:
            top, bottom = _VULGAR[part["vulgar"]]
            whole = int(_limited(part["vulgar_whole"] or "0"))
            value = whole + Fraction(top, bottom)
            shown = f"{whole} {top}/{bottom}" if part["vulgar_whole"] else f"{top}/{bottom}"
        elif part["n"]:
            top, bottom = _strip(part["n"]), part["d"]
            if Fraction(_limited(bottom)) == 0:
                return None
            value = Fraction(_limited(top)) / Fraction(bottom)
            shown, decimal = f"{top}/{bottom}", "." in top + bottom
        elif part["comma"]:
            shown = part["comma"].replace(",", ".")
            value, decimal = Fraction(_limited(shown)), True
        elif part["word"]:
            value = _spelled(part["word"])
            shown = str(value)
        else:
            shown = _strip(part["numeral"])
            shown = "0" + shown if shown.startswith(".") else shown
            value, decimal = Fraction(_limited(shown)), "." in shown
            power = int(part["e"] or part["ten"] or 0)
            if abs(power) > MAX_DIGITS:
                return None
            if power:
                value, shown = value * Fraction(10) ** power, f"{shown}e{power}"
                decimal = decimal or power < 0
            if part["scale"]:
                value *= 10 ** _SCALES[part["scale"]]
                shown = plain(value)
    except (ValueError, ZeroDivisionError):
        return None
    if negative:
        value, shown = -value, f"-{shown}"
    if percent:
        shown += "%"
    return Number(value, shown, percent, decimal, start, match.end())


def _spelled(words: str) -> Fraction:
    """
    >>> _spelled("two thousand, five hundred and twenty-one")
    Fraction(2521, 1)
    """
    total = group = 0
    for word in re.findall("[a-z]+", words.lower()):
        if word == "hundred":
            group *= 100
        elif word in _SCALES:
            total, group = total + group * 10 ** _SCALES[word], 0
        elif word != "and":
            group += _WORDS[word]
    return Fraction(total + group)


def _is_operator(text: str, start: int) -> bool:
    """Whether a minus sign stands between two operands ("10 - 4", "3-5") rather than before one."""
    before = text[:start].rstrip()
    return bool(before) and (before[-1].isdigit() or before[-1] in ")]}") and before[-1] != "="


def _strip(numeral: str) -> str:
    return re.sub(r"\{,\}|\\,|\\!|[,'\s]", "", numeral)


def _digits(numeral: str) -> int:
    return int(_limited(_strip(numeral)))


def _limited(numeral: str) -> str:
    if len(numeral) > MAX_DIGITS:
        raise ValueError("too many digits")
    return numeral


def _ratio(top: str, bottom: str) -> Fraction:
    return Fraction(int(_limited(top)), int(_limited(bottom)))


_TAIL = re.compile(r"[\s.!,;)\]}*_$€£¥\"']*$")
_MORE = re.compile(  # what stands behind a number and makes it another one
    r"\s*(?:[\^²³⁴√π∞]|\*\*(?=\s*[\d({-])|pi\b|\\(?:pi|sqrt)|!(?=\s*[-+*/=]))|[abkKMBnxyz](?![A-Za-z])|\s[xyz](?![A-Za-z])"
    r"|_\d|(?i:\s+(?:squared|cubed|factorial|divided by|multiplied by)\b)"
    r"|(?i:[\s-]+(?:and\s+(?:(?:a|one)\s+)?)?(?:half|halves|thirds?|fourths?|fifths?|sixths?|eighths?|tenths?)\b)"
    r"|(?i:\s+and\s+(?:a|one|three)[\s-]+quarters?\b)"
)
_BESIDE = "([{<>)]}\"'*_`$:=~,;.!?%#-+/^\\"  # what may touch a number; operators are for the reader
_BESIDE_BEFORE = _BESIDE + CURRENCY + "≈“‘«„→×·÷√≤≥≠±"
_BESIDE_AFTER = _BESIDE + CURRENCY + "°”’»…。、×·÷"
_AFTER_A_WORD = re.compile(r"[\s-]+quarters?\b|\s+of\s+(?:the|these|those)\b", re.IGNORECASE)
_UNIT = re.compile(  # one letter at a time: a repetition within the repetition would try every split
    rf"\s*(?:\\?[{re.escape(CURRENCY)}°]|\\(?:text|mbox|mathrm|textbf|textnormal)\s*\{{[^{{}}]*\}}|\^?\{{?\\circ\}}?|[A-Za-z²³/ ](?:\^\{{?[23]\}}?)?|\^\{{?[23]\}}?|\\[ ,;!])*"
)


def is_part(text: str, number: Number) -> bool:
    """Whether what follows a number makes it part of something else: a power, a half, a variable.

    "3 quarters" are coins, "three quarters" may be 0.75, "one of the following" is no number.

    >>> [is_part(text, find_numbers(text)[0]) for text in ("10^2", "2 and a half", "5x", "3 quarters", "5 m")]
    [True, True, True, False, False]
    """
    text = plain_characters(text)
    spelled = text[number.start : number.end].isalpha()
    return bool(_MORE.match(text, number.end) or (spelled and _AFTER_A_WORD.match(text, number.end)))


def is_unclear(text: str, numbers: list[Number]) -> bool:
    r"""Whether a number touches a character that may change it, or digits that were not read.

    >>> [is_unclear(text, find_numbers(text)) for text in ("|18|", "1\u200b8", "18m5", "18m", "(18)")]
    [True, True, True, False, False]
    """
    text = plain_characters(text)
    read = {place for number in numbers for place in range(number.start, number.end)}
    for number in numbers:
        before, after = text[: number.start][-1:], text[number.end : number.end + 1]
        if before and before not in _BESIDE_BEFORE and not before.isspace():
            return True
        if after and after not in _BESIDE_AFTER and not after.isspace() and unicodedata.category(after) not in _LETTERS:
            return True
        left, right = number.start, number.end
        while left and not text[left - 1].isspace():
            left -= 1
        while right < len(text) and not text[right].isspace():
            right += 1
        if any(text[place].isdecimal() for place in range(left, right) if place not in read):
            return True
    return False


_LETTERS = ("Lu", "Ll", "Lo")


@lru_cache(maxsize=4096)
def parse_number(text: str) -> Number | None:
    """The one number that the whole text is, a unit or currency aside; None otherwise.

    >>> parse_number("$1,080.00").value, parse_number("5 - 3"), parse_number("18 apples").text
    (Fraction(1080, 1), None, '18')
    """
    text = plain_characters(text)
    numbers = find_numbers(text)
    if len(numbers) != 1:
        return None
    number = numbers[0]
    before = text[: number.start].strip(" \t\n$*_(\"'≈~=")
    after = _TAIL.sub("", text[number.end :])
    if before or is_part(text, number) or not _UNIT.fullmatch(after):
        return None
    return number


def plain(value: Fraction) -> str:
    """A short exact numeral: an integer, a terminating decimal of few places, or a fraction.

    >>> plain(Fraction(9, 4)), plain(Fraction(1, 3)), plain(Fraction(-8))
    ('2.25', '1/3', '-8')
    """
    if value.denominator == 1:
        return str(value.numerator)
    for places in range(1, PLACES + 1):
        if (scaled := value * 10**places).denominator == 1:
            digits = str(abs(scaled.numerator)).rjust(places + 1, "0")
            return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
    return str(value)


def rounded(value: Fraction) -> str:
    """One string per class of numbers that `close` calls equal: six decimals, or six digits if tiny."""
    if value.denominator == 1:
        return str(value.numerator)
    if abs(value) < Fraction(1, 1000):
        return f"{float(value):.5e}"
    return plain(round(value, PLACES))


def close(left: Number, right: Number) -> bool:
    """Equality of values: exact, or to six decimals where one side is written as a decimal.

    The relative bound keeps tiny numbers apart that would all round to zero.
    """
    return close_values(left.value, right.value, left.decimal or right.decimal)


def close_values(left: Fraction, right: Fraction, decimal: bool) -> bool:
    if left == right:
        return True
    if not decimal or round(left, PLACES) != round(right, PLACES):
        return False
    return abs(left - right) <= _RELATIVE * max(abs(left), abs(right))
