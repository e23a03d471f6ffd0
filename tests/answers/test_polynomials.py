"""The normal form of polynomials and roots: equal forms for equal values, and only for those."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.answers.polynomials import normal_form

LEAVES = st.one_of(
    st.integers(0, 9).map(str),
    st.sampled_from(["x", "y"]),
    st.integers(2, 12).map(lambda n: rf"\sqrt{{{n}}}"),
    st.just(r"\pi"),
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", r"\cdot "]), inner).map(lambda p: f"({p[0]}{p[1]}{p[2]})"),
        st.tuples(inner, st.integers(2, 3)).map(lambda p: f"({p[0]})^{p[1]}"),
        st.tuples(inner, st.integers(1, 9)).map(lambda p: rf"\frac{{{p[0]}}}{{{p[1]}}}"),
    ),
    max_leaves=5,
)


def value(text: str, x: float, y: float) -> float:
    """The same expression, computed by Python in floating point."""
    text = re.sub(r"\\frac\{", "FRAC{", text)
    while "FRAC{" in text:
        start = text.rindex("FRAC{")
        top_end = _close(text, start + 4)
        bottom_end = _close(text, top_end)
        text = f"{text[:start]}(({text[start + 5 : top_end - 1]})/({text[top_end + 1 : bottom_end - 1]})){text[bottom_end:]}"
    text = re.sub(r"\\sqrt\{(\d+)\}", r"math.sqrt(\1)", text)
    text = text.replace(r"\pi", "math.pi").replace(r"\cdot ", "*").replace("^", "**")
    return float(eval(text, {"math": math, "x": x, "y": y}))


def _close(text: str, opening: int) -> int:
    depth = 0
    for index in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index + 1
    raise AssertionError(text)


@given(EXPRESSIONS, EXPRESSIONS)
def test_forms_are_equal_exactly_where_values_are(left: str, right: str) -> None:
    first, second = normal_form(left), normal_form(right)
    if first is None or second is None:
        return
    points = [(1.37, -2.11), (-0.73, 3.19), (2.91, 0.41)]
    close = all(math.isclose(value(left, *p), value(right, *p), rel_tol=1e-9, abs_tol=1e-9) for p in points)
    assert (first == second) == close


@given(EXPRESSIONS)
def test_rewriting_keeps_the_form(text: str) -> None:
    form = normal_form(text)
    if form is not None:
        assert (
            normal_form(f"({text})+0") == normal_form(f"1({text})") == normal_form(rf"\frac{{2({text})}}{{2}}") == form
        )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1/0",
        r"\frac{1}{0}",
        r"\sqrt{x}",
        r"\sqrt{-2}",
        r"\sin x",
        "f(x)",
        "3i",
        "1/2x",
        "2^10",
        "x^{-1}",
        "x^{99}",
        "(x+y+z+w)^{12}",
        "(1,2)",
        "x=1",
        "1 2",
        "(" * 500,
        "x" * 300,
        "9" * 99,
        r"\pm 1",
        "sin",
    ],
)
def test_what_has_no_unique_reading_is_not_read(text: str) -> None:
    assert normal_form(text) is None
