import doctest
import math

import pytest

from qrdistill.report import figures, words


@pytest.mark.parametrize("module", [words, figures])
def test_docstring_examples(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("low", "high", "established"),
    [(0.01, 0.05, True), (-0.05, -0.01, True), (0.0, 0.05, False), (-0.1, 0.1, False)],
)
def test_no_claim_without_an_interval_that_excludes_zero(low, high, established):
    text = words.verdict({"difference": (low + high) / 2, "low": low, "high": high, "n": 9})
    assert ("not established" in text) is not established


def test_numbers_are_for_people():
    assert words.number(1234567) == "1\u202f234\u202f567"
    assert [words.dollars(value) for value in (0.0, 0.0012, 3.5)] == ["$0.00", "$0.0012", "$3.50"]
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed([]) == ""
    assert words.shown_name("anna@base") == "anna before training"


def test_labels_are_never_mathematics_or_markup():
    drawn = figures.dots(
        "d", 'a <b> & "c"', [figures.Dot("$x$ <i>_y</i>", 0.5, 0.4, 0.6), figures.Dot("_z", 0.1, 0, 1)]
    )
    assert "&lt;b> &amp; &quot;c&quot;" in drawn.svg
    assert "$x$ &lt;i&gt;_y&lt;/i&gt;" in drawn.svg
    assert "<i>" not in drawn.svg


def test_curves_are_thinned_and_gaps_left_out():
    xs = list(range(1000))
    ys = [math.nan if x == 3 else float(x) for x in xs]
    at, means = figures.thinned(xs, ys)
    assert len(at) <= 200
    assert at == means
    assert sum(means) / len(means) == pytest.approx(sum(x for x in xs if x != 3) / 999, rel=0.01)
    assert figures.thinned([], []) == ([], [])


def test_many_students_share_the_colours():
    assert figures.colour(0) == figures.colour(figures.NUM_SERIES)
    rows = [figures.Dot(f"s{n}", n / 20, 0, 1, series=n) for n in range(12)]
    assert "var(--series-5)" in figures.dots("d", "c" * 12, rows).svg
