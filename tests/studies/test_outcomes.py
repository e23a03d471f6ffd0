"""Outcomes of runs to paired differences: numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qrdistill.report.study_results import Outcome
from qrdistill.studies.grid.outcomes import accuracy, best_of, compare


def row(arm: str, seed: int, a: float, b: float, *, dev: tuple[float, float] = (0, 0), cost: float = 0) -> Outcome:
    return Outcome(
        arm=arm,
        seed=seed,
        styled={"a": a, "b": b},
        free={"a": a / 2, "b": b / 2},
        dev={"a": dev[0], "b": dev[1]},
        tokens={"a": 10, "b": 20},
        equivalents=cost,
    )


def test_a_difference_is_paired_by_seed_and_averaged_over_students() -> None:
    first = [row("x", 0, 0.8, 0.6), row("x", 1, 0.9, 0.7), row("x", 7, 1.0, 1.0), *four("x", 0.7, 0.9)]
    second = [row("y", 1, 0.6, 0.6), row("y", 0, 0.5, 0.7), *four("y", 0.6, 0.6)]
    found = compare(first, second)
    assert found is not None
    assert (found.first, found.second, found.n, found.positive, found.over) == ("x", "y", 4, 4, "seeds")
    differences = (0.1, 0.2, 0.2, 0.2)
    assert found.difference == pytest.approx(sum(differences) / 4)
    # t with three degrees of freedom: 3.1824 * 0.05 / sqrt(4)
    assert found.high - found.difference == pytest.approx(3.182446 * 0.05 / 2, rel=1e-4)
    assert found.claim == 1


def four(arm: str, a: float, b: float) -> list[Outcome]:
    """Two more seeds."""
    return [row(arm, seed, a, b) for seed in (3, 4)]


def test_a_claim_needs_an_interval_over_seeds_without_zero() -> None:
    base = [row("y", seed, 0.5, 0.5) for seed in range(4)]
    clear = compare([row("x", seed, 0.7 + seed / 100, 0.7) for seed in range(4)], base)
    same = compare([row("x", seed, 0.475, 0.475) for seed in range(4)], base)
    worse = compare([row("x", seed, 0.3 + seed / 100, 0.3) for seed in range(4)], base)
    three = compare([row("x", seed, 0.7 + seed / 100, 0.7) for seed in range(3)], base)
    assert clear is not None
    assert same is not None
    assert worse is not None
    assert three is not None
    assert (clear.claim, same.claim, worse.claim, three.claim) == (1, 0, -1, 0)
    assert worse.high < 0
    # "-2.5 to -2.5" is no interval
    assert (same.difference, same.low, same.high, same.over) == (pytest.approx(-0.025), None, None, None)


def test_one_seed_claims_nothing_and_unshared_seeds_compare_nothing() -> None:
    found = compare([row("x", 0, 1, 1)], [row("y", 0, 0, 0)])
    assert found is not None
    assert (found.difference, found.low, found.high, found.by_seed) == (1.0, None, None, (1.0,))
    assert found.claim == 0
    assert compare([row("x", 0, 1, 1)], [row("y", 1, 0, 0)]) is None
    assert compare([row("x", 0, 1, 1)], [row("y", 0, 0, 0)], "vote") is None


def answered(arm: str, seed: int, a: str, b: str) -> Outcome:
    styled = {"a": a.count("1") / len(a), "b": b.count("1") / len(b)}
    return Outcome(arm=arm, seed=seed, styled=styled, questions=f"q{seed}", right={"styled": {"a": a, "b": b}})


def test_two_seeds_far_apart_have_an_interval_over_questions_within_what_a_share_can_be() -> None:
    # Student's t over these two seeds: 0.5375 -+ 12.706 * 0.3125, -343 to 451 points
    first = [answered("x", 0, "1" * 36 + "0" * 4, "1" * 40), answered("x", 1, "1" * 20 + "0" * 20, "1" * 30 + "0" * 10)]
    second = [answered("y", seed, "0" * 40, "1" * 8 + "0" * 32) for seed in (0, 1)]
    second[1] = answered("y", 1, "1" * 16 + "0" * 24, "1" * 16 + "0" * 24)
    found = compare(first, second)
    assert found is not None
    assert found.by_seed == pytest.approx((0.85, 0.225))
    assert found.difference == pytest.approx(0.5375)
    assert found.over == "questions"
    assert found.low is not None
    assert found.high is not None
    # per seed: sd of a question's difference over sqrt(40); the mean of two such
    values = [[(1 + 1) / 2 - 0.5] * 8 + [1.0] * 28 + [0.5] * 4, [0.0] * 16 + [1.0] * 4 + [0.5] * 10 + [0.0] * 10]
    spread = [np.var(row) / 40 for row in values]
    half = 1.96 * math.sqrt(sum(spread)) / 2
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)
    assert 0 < found.low < found.high < 1
    assert found.claim == 0  # of other seeds this says nothing
    assert found.positive == found.n == 2


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


def test_the_interval_of_an_arm_s_accuracy_stays_a_share() -> None:
    found = accuracy([row("x", seed, value, value) for seed, value in enumerate((0.9, 1.0, 1.0, 0.7))])
    assert found is not None
    assert (found.estimate, found.n, found.high) == (pytest.approx(0.9), 4, 1.0)  # Student's t alone: 1.13
    assert found.low == pytest.approx(0.9 - 3.182446 * math.sqrt(0.06 / 3) / 2, rel=1e-4)
    two = accuracy([row("x", 0, 0.5, 0.7), row("x", 1, 0.7, 0.9)])
    assert two is not None
    assert (two.low, two.high, two.by_seed) == (None, None, pytest.approx((0.6, 0.8)))
    assert accuracy([row("x", 0, 1, 1)], "vote") is None
