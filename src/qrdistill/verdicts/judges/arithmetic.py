r"""Judge `arithmetic`: recomputes every equation between numbers that a path states. A rule: free, and blind to the rest.

A path with a wrong equation is spurious, and that equation is the first wrong step. One whose equations all hold
is sound as far as this judge can tell; one without any is undecided. What stands beside a letter, and so may be
part of a term with names or units (`x + 3 = 15`, `5 apples = 15 dollars`), is left alone, never half read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from qrdistill.answers.numerals import plain_characters
from qrdistill.answers.polynomials import normal_form
from qrdistill.base.records import Question
from qrdistill.base.settings import Name
from qrdistill.verdicts.config import JudgeBase
from qrdistill.verdicts.judges.judge import Judgement

_SIGNS = {"×": "*", "·": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-"}
_CHAIN = re.compile(r"[\d(+\-*/^.,$ )=\[\]]*=[\d(+\-*/^.,$ )=\[\]]*")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_DECIMAL = re.compile(r"[-+]?\d*\.(\d+)")
_JOINTS = "times|of|by|plus|minus|less|than|over|squared|cubed|percent|x"
_BEFORE = re.compile(rf"(?:\b(?:{_JOINTS})|[\w\)\]%] ?[-+*/^])\s*$", re.IGNORECASE)
_AFTER = re.compile(rf"\s*(?:%|(?:{_JOINTS}|hundred|thousand|million|billion|dozen)\b)", re.IGNORECASE)
_WORD = re.compile(r"\w\s*$")
_LONGEST = 200  # characters of one side


class ArithmeticJudgeConfig(JudgeBase):
    """Recomputes the equations between numbers that a path states; needs no model."""

    kind: str = "arithmetic"
    """`arithmetic`."""
    name: Name = "arithmetic"
    """What its verdicts carry."""


class ArithmeticJudge:
    """See the module's text. The same path always gets the same vote."""

    Config = ArithmeticJudgeConfig

    def __init__(self, config: ArithmeticJudgeConfig, *, seed: int) -> None: ...

    def judge(self, question: Question, text: str, vote: int) -> Judgement:
        held = 0
        for pair in equations(text):
            if not pair.holds:
                return Judgement("drop", f"{pair.left} is not {pair.right}"[:200], quote=pair.quote)
            held += 1
        return (
            Judgement("keep", f"{held} equations hold") if held else Judgement("undecided", "no equation to recompute")
        )


class Equation(NamedTuple):
    left: str
    right: str
    holds: bool
    quote: str  # the whole chain, as it stands in the text


def equations(text: str) -> Iterator[Equation]:
    """Neighbouring sides of every chain of equal signs, where both sides are numbers.

    >>> [pair.holds for pair in equations("So 2 + 3 * 4 = 14 - 0 = 15, and x + 3 = 9; 2 / 3 = 0.67.")]
    [True, False, True]
    """
    plain = _same_length(text)
    for match in _CHAIN.finditer(plain):
        start, end = match.span()
        sides = match[0].split("=")
        values = [(side, _value(side)) for side in sides]
        if _joined_before(plain[max(0, start - 40) : start], sides[0]):
            values[0] = sides[0], None
        if _joined_after(plain[end : end + 40], sides[-1]):
            values[-1] = sides[-1], None
        for (left, one), (right, other) in pairwise(values):
            if one is not None and other is not None and (holds := _equal(left, one, right, other)) is not None:
                yield Equation(_shown(left), _shown(right), holds, _shown(text[start:end]))


def _same_length(text: str) -> str:
    """Operators in ASCII, other characters as they are, so that places stay what they were."""
    signs = "".join(_SIGNS.get(char, char) for char in text)
    plain = plain_characters(signs)
    plain = plain if len(plain) == len(text) else signs
    return re.sub(r"(?<=\d )[xX](?= \d)", "*", plain)


def _joined_before(before: str, side: str) -> bool:
    """Whether the first side may be the end of something longer: `5 times 3 = 15`, `x + 3 = 15`, `n2 = 4`."""
    lone = not re.search(r"[\d)] *[-+*/^]", side)
    signed = side.lstrip()[:1] in ("+", "-") and bool(re.search(r"[\w)\]%]\s*$", before))
    glued = not side[:1].isspace() and before[-1:] in {*"_\\%{}|"} | {char for char in before[-1:] if char.isalnum()}
    return glued or signed or bool(_BEFORE.search(before)) or (lone and bool(_WORD.search(before)))


def _joined_after(after: str, side: str) -> bool:
    """Whether the last side may be the start of something longer: `= 7x`, `= 2 million`, `= 50%`."""
    glued = (
        not side[-1:].isspace()
        and side[-1:] not in (".", ",")
        and (after[:1].isalnum() or after[:1] in ("_", "\\", "{"))
    )
    return glued or bool(_AFTER.match(after))


def _value(side: str) -> Fraction | None:
    """The number that a side comes to; None where it is not one of plain arithmetic."""
    side = side.strip().rstrip(".,").strip()
    side = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), side).replace("$", "")
    side = side.replace("[", "(").replace("]", ")").replace("**", "^")
    if not side or len(side) > _LONGEST or "," in side:
        return None
    side = re.sub(r"\s+", " ", side)
    for pattern, sign in ((r"- ?-", "+"), (r"\+ ?-", "-"), (r"\+ ?\+", "+")):
        while (shorter := re.sub(pattern, sign, side)) != side:
            side = shorter
    found = normal_form(side)
    if found is None or any(monomial != (1, ()) for monomial in found):
        return None
    return next(iter(found.values()), Fraction(0))


def _equal(left: str, one: Fraction, right: str, other: Fraction) -> bool | None:
    """Whether two sides are equal, a rounded decimal counting; None where a whole number may be a rounded one."""
    if one == other:
        return True
    for text, value, exact in ((right, other, one), (left, one, other)):
        decimal = _DECIMAL.fullmatch(text.strip().rstrip(".,").strip().replace("$", "").replace(",", ""))
        if decimal and abs(value - exact) < Fraction(1, 10 ** min(len(decimal[1]), 30)):
            return True  # rounded or cut off, within its last digit
        if value.denominator == 1 and exact.denominator != 1 and abs(value - exact) < 1:
            return None
    return False


def _shown(side: str) -> str:
    return side.strip(" =,").rstrip(".").strip()
