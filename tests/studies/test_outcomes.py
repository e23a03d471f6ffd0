"""Outcomes of runs to paired differences: numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from qrdistill.studies.grid.outcomes import Outcome, accuracy, best_of, compare


def row(arm: str, seed: int, a: float, b: float, *, dev: tuple[float, float] = (0, 0), cost: float = 0) -> Outcome:
    return Outcome(
        arm,
        seed,
        styled={"a": a, "b": b},
        free={"a": a / 2, "b": b / 2},
        dev={"a": dev[0], "b": dev[1]},
        vote=None,
        consistency=None,
        tokens={"a": 10, "b": 20},
        equivalents=cost,
    )


def test_a_difference_is_paired_by_seed_and_averaged_over_students() -> None:
    first = [row("x", 0, 0.8, 0.6), row("x", 1, 0.9, 0.7), row("x", 7, 1.0, 1.0)]
    second = [row("y", 1, 0.6, 0.6), row("y", 0, 0.5, 0.7)]
    found = compare(first, second)
    assert found is not None
    assert (found.first, found.second, found.n, found.positive) == ("x", "y", 2, 2)
    assert found.difference == pytest.approx((0.1 + 0.2) / 2)
    # t with one degree of freedom: 12.706 * 0.0707 / sqrt(2)
    assert found.high - found.difference == pytest.approx(12.7062 * 0.05, rel=1e-4)
    assert not found.claims


def test_a_claim_needs_an_interval_without_zero_and_with_a_width() -> None:
    base = [row("y", seed, 0.5, 0.5) for seed in range(3)]
    clear = compare([row("x", seed, 0.7 + seed / 100, 0.7) for seed in range(3)], base)
    same = compare([row("x", seed, 0.75, 0.75) for seed in range(3)], base)
    worse = compare([row("x", seed, 0.3 + seed / 100, 0.3) for seed in range(3)], base)
    assert clear is not None
    assert same is not None
    assert worse is not None
    assert (clear.claims, same.claims, worse.claims) == (True, False, True)
    assert worse.high < 0


def test_one_seed_claims_nothing_and_unshared_seeds_compare_nothing() -> None:
    found = compare([row("x", 0, 1, 1)], [row("y", 0, 0, 0)])
    assert found is not None
    assert (found.difference, found.low, found.high) == (1.0, -math.inf, math.inf)
    assert not found.claims
    assert compare([row("x", 0, 1, 1)], [row("y", 1, 0, 0)]) is None
    assert compare([row("x", 0, 1, 1)], [row("y", 0, 0, 0)], "vote") is None


def test_the_best_single_arm_is_chosen_on_dev_per_seed_and_student() -> None:
    runs = [
        row("only-p", 0, 0.9, 0.1, dev=(0.2, 0.3), cost=100),
        row("only-q", 0, 0.4, 0.5, dev=(0.8, 0.1), cost=200),
        row("only-p", 1, 0.6, 0.2, dev=(0.5, 0.0), cost=100),
        row("only-q", 1, 0.7, 0.3, dev=(0.4, 0.9), cost=200),
    ]
    best = best_of("best-single", runs)
    # dev decides, though test accuracy would have said otherwise
    assert [one.styled for one in best] == [{"a": 0.4, "b": 0.1}, {"a": 0.6, "b": 0.3}]
    assert [one.dev for one in best] == [{"a": 0.8, "b": 0.3}, {"a": 0.5, "b": 0.9}]
    assert [one.equivalents for one in best] == [300, 300]  # the choice cost all of them


def test_accuracy_of_an_arm_has_an_interval_over_seeds() -> None:
    found = accuracy([row("x", 0, 0.5, 0.7), row("x", 1, 0.7, 0.9)])
    assert found is not None
    assert (found.estimate, found.n) == (pytest.approx(0.7), 2)
    assert found.high - found.estimate == pytest.approx(12.7062 * 0.1, rel=1e-4)
    assert accuracy([row("x", 0, 1, 1)], "vote") is None
