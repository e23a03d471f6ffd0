r"""How mathematics is written down: delimiters around it, what only changes its looks, plain signs as LaTeX."""

from __future__ import annotations

import re

from qrdistill.answers.statements import closing_braces

SEGMENT = re.compile(r"(?<!\\)\$\$?([^$]+?)(?<!\\)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_EMPTY_SIDE = re.compile(r"\\(?:left|right)\s*\.")
_NOISE = re.compile(
    r"\\(?:left|right|bigl?|bigr?|Bigl?|Bigr?|displaystyle|textstyle|limits|phantom\{[^{}]*\})(?![A-Za-z])|\\[!,;: ]|~|\\(?:quad|qquad)\b"
)
_UNIT = re.compile(
    r"(?<=[\d\w}\])])\s*\\(?:text|mbox|textnormal|mathrm|textbf|textrm)\s*\{\s*([A-Za-z][A-Za-z./ ]*)\s*\}(?:\s*\^\s*\{?[23]\}?)?\s*$"
)
_PLAIN_UNIT = re.compile(
    r"(?<=[\d}])\s*(?:square\s+|cubic\s+|sq\.?\s+)?(?:units?|cm|mm|km|kg|ft|feet|inch(?:es)?|met(?:er|re)s?|miles?|mph|dollars|"
    r"cents|degrees|hours?|minutes?|seconds?|days?|years?|pounds?|lbs?)(?:\s*\^\s*\{?[23]\}?)?\s*$"
)
_DEGREES = re.compile(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|°|\\degree\b|\\text\{\s*degrees?\s*\})")
_SHORT_FRACTION = re.compile(r"\\frac\s*(\d)\s*(\d)(?!\d)|\\frac\s*(\d)\s*(?=\{)")
_PLAIN_SYMBOLS = str.maketrans(
    {
        **dict.fromkeys("−‐‑‒–⁻➖﹣－", "-"),
        **dict.fromkeys("\u00a0\u2009\u202f\u2007\u2008\u200a", " "),
        "π": r"\pi ",
        "∞": r"\infty ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "∪": r"\cup ",
        "×": r"\times ",
        "·": r"\cdot ",
        "∅": r"\emptyset ",
        "θ": r"\theta ",
        "²": "^2",
        "³": "^3",
        "±": r"\pm ",
    }
)
_PLAIN_SIGN = re.compile(r"√\s*(?:\(([^()]*)\)|(\d+|[a-z]))")
_NO_ELEMENTS = re.compile(r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}")
_WORD_UNITS = {"and", "or", "to", "is", "base", "mod"}


def unwrapped(text: str) -> str:
    r"""Without math delimiters and `\boxed` around the whole."""
    before = None
    while text != before:
        before = text
        text = _unstopped(text.strip()).strip()
        if (match := SEGMENT.fullmatch(text)) is not None:
            text = next(part for part in match.groups() if part)
        if text.startswith("\\boxed{") and closing_braces(text).get(6) == len(text):
            text = text[7:-1]
    return text


def _unstopped(text: str) -> str:
    """Without a sentence's closing mark; an ellipsis stays, it says that something follows."""
    return text if text.endswith(("..", "dots", "\\right.")) else text.rstrip(".,;")


def plain_symbols(text: str) -> str:
    r"""Symbols typed outside LaTeX as LaTeX.

    >>> plain_symbols("2√3 − √(x)")
    '2\\sqrt{3} - \\sqrt{x}'
    """
    return _PLAIN_SIGN.sub(lambda m: rf"\sqrt{{{m[1] or m[2]}}}", text).translate(_PLAIN_SYMBOLS)


def tidied(text: str) -> str:
    r"""A LaTeX text without what only changes its looks.

    >>> tidied(r"\left( \dfrac12 \text{ cm}^2 \right)"), tidied(r"90^\circ")
    ('( \\frac{1}{2} \\text{ cm}^2 )', '90')
    """
    text = plain_symbols(unwrapped(text))
    text = text.replace("{,}", ",").replace("\\$", "").replace("\\%", "%").replace("\n", " ")
    text = _NO_ELEMENTS.sub(r"\\emptyset", text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    text = _EMPTY_SIDE.sub("", re.sub(r"\\!\s*", "", text))
    text = _NOISE.sub(" ", text)
    text = _SHORT_FRACTION.sub(lambda m: rf"\frac{{{m[1]}}}{{{m[2]}}}" if m[1] else rf"\frac{{{m[3]}}}", text)
    text = _PLAIN_UNIT.sub("", _DEGREES.sub("", text))
    unit = _UNIT.search(text)
    if unit and unit[1].strip().lower() not in _WORD_UNITS:
        text = text[: unit.start()]
    text = re.sub(r"\\(?:text|mbox|textnormal)\s*\{\s*,?\s*(?:and|or)\s*\}|\s,?\band\s|,\s*\band\s", " , ", text)
    text = re.sub(r",(?:\s*,)+", ",", text)
    return _unstopped(re.sub(r"\s+", " ", text).strip()).strip()


_POWER_OF_TEN = re.compile(r"(?<![\w.])(\d+\.?\d*)[eE]([+-]?\d{1,3})(?![\w.])")
_PLAIN_ROOT = re.compile(r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)")
_PLAIN_NAME = re.compile(r"(?<![\\A-Za-z])(pi|infinity|infty|oo)(?![A-Za-z])")


def for_sympy(text: str) -> str:
    r"""The text as LaTeX: plain `sqrt(3)`, `pi` and `*` written the LaTeX way."""
    text = _EMPTY_SIDE.sub("", plain_symbols(unwrapped(text)))
    text = re.sub(r"\\text\s*\{\s*,?\s*(?:and|or)\s*\}|\s,?\band\s|,\s*\band\s", " , ", text)
    text = re.sub(r",(?:\s*,)+", ",", text)
    text = re.sub(r"\\(?:mathrm|text|mathit)\s*\{\s*([ei])\s*\}", r"\1", text)
    text = _POWER_OF_TEN.sub(r"\1 \\cdot 10^{\2}", text)
    text = _PLAIN_ROOT.sub(r"\\sqrt{\1}", text)
    text = _PLAIN_NAME.sub(lambda m: r"\pi" if m[1] == "pi" else r"\infty", text)
    return text.replace("**", "^").replace("*", r" \cdot ") if "\\" not in text or "*" in text else text
