"""Figures worked out by hand first, then identities, then agreement with scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.scores import statistics as stats


def test_wilson_by_hand():
    # n = 4, half right, z = 1.959964: centre 0.5, half = z sqrt(1/16 + z^2/64) / (1 + z^2/4)
    interval = stats.wilson(2, 4)
    z = 1.959964
    half = z * math.sqrt(1 / 16 + z * z / 64) / (1 + z * z / 4)
    assert interval.estimate == 0.5
    assert interval.low == pytest.approx(0.5 - half, abs=1e-6)
    assert interval.high == pytest.approx(0.5 + half, abs=1e-6)
    assert stats.wilson(0, 10).low == 0.0
    assert stats.wilson(10, 10).high == 1.0
    assert math.isnan(stats.wilson(0, 0).estimate)
    assert stats.wilson(0, 0)[1:] == (0.0, 1.0, 0)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy_and_is_symmetric(pair):
    from scipy.stats import binomtest

    correct, n = pair
    ours = stats.wilson(correct, n)
    theirs = binomtest(correct, n).proportion_ci(method="wilson")
    assert ours.low == pytest.approx(theirs.low, abs=1e-9)
    assert ours.high == pytest.approx(theirs.high, abs=1e-9)
    other = stats.wilson(n - correct, n)
    assert ours.low == pytest.approx(1 - other.high, abs=1e-9)


def test_mcnemar_by_hand():
    # six discordant, one against five: p = 2 (C(6,0) + C(6,1)) / 2^6 = 14/64
    first = [True] * 5 + [False] + [True, False]
    second = [False] * 5 + [True] + [True, False]
    assert stats.mcnemar(first, second) == pytest.approx((5, 1, 14 / 64))
    assert stats.mcnemar(second, first).p == pytest.approx(14 / 64)
    assert stats.mcnemar([True, False], [True, False]).p == 1.0
    assert stats.mcnemar([True, False], [False, True]).p == 1.0  # never above one
    many = [True] * 530 + [False] * 470
    from scipy.stats import binomtest

    assert stats.mcnemar(many, [not right for right in many]).p == pytest.approx(binomtest(470, 1000).pvalue)


def test_paired_difference_is_exact_where_it_can_be():
    assert stats.paired_difference([1, 0, 1], [1, 0, 1]) == (0.0, 0.0, 0.0, 3)
    first, second = [1, 1, 0, 1, 0] * 40, [0, 1, 0, 0, 1] * 40  # +1 0 0 +1 -1
    forward, back = stats.paired_difference(first, second), stats.paired_difference(second, first)
    assert forward.estimate == pytest.approx(0.2)
    assert forward.low == pytest.approx(-back.high, abs=0.02)
    # the normal approximation: sd = sqrt(3/5 - 1/25), standard error sd / sqrt(200)
    error = math.sqrt(0.56 / 200)
    assert forward.low == pytest.approx(0.2 - 1.96 * error, abs=0.01)
    assert forward.high == pytest.approx(0.2 + 1.96 * error, abs=0.01)
    assert forward == stats.paired_difference(first, second)
    assert stats.established(forward.low, forward.high) == 1
    assert stats.established(back.low, back.high) == -1
    neither = stats.paired_difference([1, 0], [0, 1])
    assert stats.established(neither.low, neither.high) == 0


def test_bootstrap_covers_what_it_says():
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        values = generator.random(80) < 0.3
        interval = stats.bootstrap_mean(values.astype(float), resamples=1000, seed=trial)
        hits += interval.low <= 0.3 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_large_resamples_are_drawn_in_chunks(monkeypatch):
    values = np.arange(50.0)
    whole = stats.bootstrap_mean(values, resamples=2000)
    monkeypatch.setattr(stats, "_CHUNK", 1000)
    pieces = stats.bootstrap_mean(values, resamples=2000)
    assert whole == pieces  # one generator, drawn in order: the chunking changes nothing


def test_an_interval_over_questions_by_hand():
    first, second = {"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0, "c": 1.0, "d": 1.0}
    assert stats.over_questions([first, second]).estimate == 0.5
    # the same questions in both seeds: averaged per question first, so 0.5 and 1.0, 100 of each
    shared = [{f"q{n}": float(n % 2) for n in range(200)}, {f"q{n}": 1.0 for n in range(200)}]
    found = stats.over_questions(shared)
    assert found.estimate == 0.75
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.25 / math.sqrt(200), rel=0.1)
    # other questions in each seed: each seed's part of the variance stands apart, over two squared
    apart = [{f"{seed}{name}": value for name, value in row.items()} for seed, row in enumerate(shared)]
    found = stats.over_questions(apart)
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 200) / 2, rel=0.1)
    assert math.isnan(stats.over_questions([first, {}]).estimate)


def test_over_seeds_by_hand():
    # mean 10.3, sd 0.8 * sqrt(2/3) over four seeds: half = 3.1824 * sd / sqrt(4)
    interval = stats.over_seeds([9.5, 10.3, 11.1, 10.3])
    assert interval.estimate == pytest.approx(10.3)
    assert interval.high - interval.estimate == pytest.approx(3.182446 * 0.8 * math.sqrt(2 / 3) / 2, rel=1e-6)
    assert stats.over_seeds([0.9, 1.0, 1.0, 0.5], bounds=(0, 1)).high == 1.0


@pytest.mark.parametrize("values", [[], [1.0], [0.2, 0.9], [0.2, 0.5, 0.9], [0.3] * 5])
def test_few_seeds_and_seeds_that_coincide_have_no_interval(values):
    interval = stats.over_seeds(values, bounds=(0, 1))
    assert (interval.low, interval.high, interval.n) == (-math.inf, math.inf, len(values))
    assert stats.established(interval.low, interval.high) == 0


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_hit(case):
    from itertools import combinations

    n, correct, k = case
    samples = [True] * correct + [False] * (n - correct)
    subsets = list(combinations(samples, k))
    assert stats.pass_at_k(n, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_calibration_by_hand():
    result = stats.calibration([0.9, 0.9, 0.9, 0.9, 0.1, 0.1], [True, True, True, False, False, False], num_bins=2)
    assert [tuple(bin) for bin in result.bins] == [
        (pytest.approx(0.1), 0.0, 2),
        (pytest.approx(0.9), 0.75, 4),
    ]
    assert result.ece == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)
    # right answers (3) against wrong (3): 9 pairs, of which 6 are won and 3 tied
    assert result.auroc == pytest.approx((6 + 1.5) / 9)
    assert math.isnan(stats.calibration([0.3, 0.4], [True, True]).auroc)
    assert stats.calibration([], []).n == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 12))
def test_calibration_uses_every_answer_once(pairs, num_bins):
    result = stats.calibration([p for p, _ in pairs], [c for _, c in pairs], num_bins=num_bins)
    assert sum(bin.n for bin in result.bins) == len(pairs)
    assert len(result.bins) <= num_bins
    assert 0 <= result.ece <= 1
