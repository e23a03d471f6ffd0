r"""Exact arithmetic on polynomials with rational coefficients, square roots of integers and pi.

Sums, products, whole powers and quotients by constants of numbers, letters, `\sqrt{n}` and `\pi` have
one normal form: a sum of distinct monomials, each with at most one square root of a square-free
integer. Such roots are linearly independent over the rationals and pi is transcendental, so two
expressions are equal exactly where their normal forms are. Anything else is not read (None).
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import isqrt

Monomial = tuple[int, tuple[tuple[str, int], ...]]  # (square-free number under the root, powers of letters)
Polynomial = dict[Monomial, Fraction]

MAX_POWER, MAX_TERMS, MAX_ROOT, MAX_VALUE = 12, 60, 10**6, 10**40
_ONE: Monomial = (1, ())
_TOKEN = re.compile(r"\s*(\\(?:d|t|c)?frac|\\sqrt|\\pi|\\cdot|\\times|\d+(?:\.\d+)?|\.\d+|[A-Za-z]|[-+*/^(){}])")
_APPLIED = re.compile(r"[fghFGHPpqQ]\s*\(|[A-Za-z]{3,}|i|\d\s+[\d.]")  # a call, a word, the imaginary unit, "1 2"


class _Unread(Exception):
    pass


def normal_form(text: str) -> Polynomial | None:
    r"""The normal form of an expression; None where it is not one of the kind above.

    >>> normal_form(r"(x+1)^2") == normal_form("x^2 + 2x + 1"), normal_form(r"\sqrt{8}") == normal_form(r"2\sqrt{2}")
    (True, True)
    >>> normal_form(r"\sin x") is None
    True
    """
    plain = re.sub(r"\\[A-Za-z]+", "#", text)
    if len(text) > 200 or _APPLIED.search(plain):
        return None
    tokens: list[str] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        tokens.append(match[1])
        position = match.end()
    parser = _Parser(tokens)
    try:
        value = parser.sum()
    except (_Unread, RecursionError):
        return None
    return value if parser.done() else None


class _Parser:
    """sum := product (+|- product)*; product := power ((*|/| ) power)*; power := atom (^ integer)?"""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at = tokens, 0

    def done(self) -> bool:
        return self.at == len(self.tokens)

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.peek()
        if not token or (expected is not None and token != expected):
            raise _Unread
        self.at += 1
        return token

    def sum(self) -> Polynomial:
        sign = 1
        while self.peek() in ("+", "-"):
            sign *= -1 if self.take() == "-" else 1
        value = _scaled(self.product(), Fraction(sign))
        while self.peek() in ("+", "-"):
            sign = -1 if self.take() == "-" else 1
            value = _added(value, _scaled(self.product(), Fraction(sign)))
        return value

    def product(self) -> Polynomial:
        value = self.power()
        while (token := self.peek()) and token not in ("+", "-", ")", "}"):
            if token == "/":
                self.take()
                if self.peek() == "-":
                    raise _Unread
                divisor = self.power()
                following = self.peek()
                if following and following not in ("+", "-", ")", "}", "*", "/", "\\cdot", "\\times"):
                    raise _Unread  # "1/2x" is read both ways
                value = _divided(value, divisor)
            else:
                if token in ("*", "\\cdot", "\\times"):
                    self.take()
                    if self.peek() == "-":
                        self.take()
                        value = _scaled(value, Fraction(-1))
                value = _multiplied(value, self.power())
        return value

    def power(self) -> Polynomial:
        base = self.atom()
        if self.peek() != "^":
            return base
        self.take()
        braces = self.peek() == "{"
        if braces:
            self.take()
        exponent = self.take()
        if not exponent.isdigit() or int(exponent) > MAX_POWER or (not braces and len(exponent) > 1):
            raise _Unread
        if braces:
            self.take("}")
        if self.peek() == "^":
            raise _Unread
        value: Polynomial = {_ONE: Fraction(1)}
        for _ in range(int(exponent)):
            value = _multiplied(value, base)
        return value

    def atom(self) -> Polynomial:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            if len(token) > 30:
                raise _Unread
            return _constant(Fraction(token))
        if token.endswith("frac"):
            return _divided(self.group(), self.group())
        if token == "\\sqrt":
            return _root(self.group())
        if token == "\\pi" or token.isalpha():
            return {(1, ((token, 1),)): Fraction(1)}
        if token in ("(", "{"):
            value = self.sum()
            self.take(")" if token == "(" else "}")
            return value
        raise _Unread

    def group(self) -> Polynomial:
        """A braced argument, or one digit or letter without braces."""
        if self.peek() == "{":
            return self.atom()
        token = self.peek()
        if len(token) != 1 or not token.isalnum():
            raise _Unread
        return self.atom()


def _constant(value: Fraction) -> Polynomial:
    return {_ONE: value} if value else {}


def _added(left: Polynomial, right: Polynomial) -> Polynomial:
    total = dict(left)
    for monomial, value in right.items():
        total[monomial] = total.get(monomial, Fraction(0)) + value
        if not total[monomial]:
            del total[monomial]
    return total


def _scaled(value: Polynomial, by: Fraction) -> Polynomial:
    return {monomial: coefficient * by for monomial, coefficient in value.items()}


def _multiplied(left: Polynomial, right: Polynomial) -> Polynomial:
    total: Polynomial = {}
    if len(left) * len(right) > MAX_TERMS**2:
        raise _Unread
    for (root, letters), a in left.items():
        for (other, more), b in right.items():
            powers = dict(letters)
            for letter, power in more:
                powers[letter] = powers.get(letter, 0) + power
            outside, inside = _square_free(root * other)
            total = _added(total, {(inside, tuple(sorted(powers.items()))): a * b * outside})
    if len(total) > MAX_TERMS or any(max(abs(v.numerator), v.denominator) > MAX_VALUE for v in total.values()):
        raise _Unread
    return total


def _divided(left: Polynomial, right: Polynomial) -> Polynomial:
    """By one rational number times one root; other divisors have no normal form here."""
    if len(right) != 1:
        raise _Unread
    ((root, letters), value), *_ = right.items()
    if letters:
        raise _Unread
    return _multiplied(left, {(root, ()): 1 / (value * root)})


def _root(value: Polynomial) -> Polynomial:
    if not value:
        return {}
    if len(value) != 1 or _ONE not in value or value[_ONE] < 0:
        raise _Unread
    number = value[_ONE]
    outside, inside = _square_free(number.numerator * number.denominator)
    return {(inside, ()): Fraction(outside, number.denominator)}


def _square_free(number: int) -> tuple[int, int]:
    """(a, b) with number = a * a * b and b square-free."""
    if number > MAX_ROOT:
        raise _Unread
    outside, inside = 1, number
    for factor in range(2, isqrt(number) + 1):
        while inside % (factor * factor) == 0:
            inside //= factor * factor
            outside *= factor
    return outside, inside
