"""Intervals and tests for proportions and paired differences; pure functions of their arguments.

Letters: N questions, S seeds (runs), R bootstrap resamples. Outcomes are 0 or 1 (or a mean of those
over samples), differences therefore lie in [-1, 1]. Every interval is two-sided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
RESAMPLES = 10_000
_CHUNK = 4_000_000  # random draws held at once

Values = Sequence[float] | npt.NDArray[np.floating]


class Interval(NamedTuple):
    """An estimate with its interval, over `n` observations."""

    estimate: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


class McNemar(NamedTuple):
    """Questions that only one of two solvers got right, and how likely so uneven a split is by chance."""

    only_first: int
    only_second: int
    p: float


def wilson(correct: int, n: int, *, confidence: float = CONFIDENCE) -> Interval:
    """The Wilson score interval of a proportion (Wilson 1927); n = 0 gives (nan, 0, 1).

    centre = (p + z^2/2n) / (1 + z^2/n),  half = z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n)

    >>> [round(value, 4) for value in wilson(8, 10)[:3]]
    [0.8, 0.4902, 0.9433]
    """
    assert 0 <= correct <= n, f"{correct} correct of {n}"
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p, spread = correct / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / spread
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / spread
    low = 0.0 if correct == 0 else centre - half  # exactly 0 and 1 at the ends, not a rounding beside them
    return Interval(p, low, 1.0 if correct == n else centre + half, n)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """The exact McNemar test on one set of questions: a two-sided sign test of the discordant pairs.

    p = min(1, 2 P[X <= min(b, c)]),  X ~ Binomial(b + c, 1/2);  p = 1 where nothing is discordant.

    >>> mcnemar([True] * 5 + [False], [False] * 6)
    McNemar(only_first=5, only_second=0, p=0.0625)
    """
    from scipy.stats import binomtest

    _same_length(first, second)
    b = sum(1 for x, y in zip(first, second, strict=True) if x and not y)
    c = sum(1 for x, y in zip(first, second, strict=True) if y and not x)
    return McNemar(b, c, float(binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0)


def paired_difference(
    first: Values,
    second: Values,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """mean(first - second) over the same N questions, with a percentile bootstrap interval over questions.

    Only the multiset of differences matters, so a resample is one multinomial draw of their counts:
    exactly the ordinary bootstrap, in memory that does not grow with N for 0/1 outcomes.

    >>> paired_difference([1, 1, 1, 1], [0, 0, 0, 0])
    Interval(estimate=1.0, low=1.0, high=1.0, n=4)
    """
    _same_length(first, second)
    difference_N = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return bootstrap_mean(difference_N, confidence=confidence, resamples=resamples, seed=seed)


def bootstrap_mean(
    values: Values, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean of N values with its percentile bootstrap interval; N = 0 gives nan throughout."""
    values_N = np.asarray(values, dtype=np.float64)
    if not len(values_N):
        return Interval(math.nan, math.nan, math.nan, 0)
    unique, counts = np.unique(values_N, return_counts=True)
    generator = np.random.default_rng(seed)
    means: list[npt.NDArray[np.float64]] = []
    for size in _chunks(resamples, len(unique)):
        drawn = generator.multinomial(len(values_N), counts / len(values_N), size=size)
        means.append(drawn @ unique / len(values_N))
    low, high = _percentiles(np.concatenate(means), confidence)
    return Interval(float(values_N.mean()), low, high, len(values_N))


def paired_over_seeds(
    first: Sequence[Values],
    second: Sequence[Values],
    *,
    shared_questions: bool = True,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """mean over S seeds of the mean paired difference, with a hierarchical bootstrap interval.

    Each resample draws S seeds with replacement, then questions: one draw for all seeds where every
    seed answers the same questions (`shared_questions`, the crossed design), a fresh draw per drawn
    seed where each has its own (nested). `n` is S. With few seeds the percentile bootstrap is too
    narrow (S = 5: the seeds' part of its variance is 4/5 of the unbiased one); `over_seeds` gives the
    t interval to read beside it.
    """
    _same_length(first, second)
    differences = [
        np.asarray(x, dtype=np.float64) - np.asarray(y, dtype=np.float64) for x, y in zip(first, second, strict=True)
    ]
    return hierarchical_mean(
        differences, shared_questions=shared_questions, confidence=confidence, resamples=resamples, seed=seed
    )


def hierarchical_mean(
    values: Sequence[Values],
    *,
    shared_questions: bool = True,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean over seeds of each seed's mean, bootstrapped over seeds and questions (see above)."""
    rows = [np.asarray(row, dtype=np.float64) for row in values]
    if not rows or any(not len(row) for row in rows):
        return Interval(math.nan, math.nan, math.nan, len(rows))
    estimate = float(np.mean([row.mean() for row in rows]))
    generator = np.random.default_rng(seed)
    means: list[npt.NDArray[np.float64]] = []
    if shared_questions:
        matrix_SN = np.stack(rows)
        num_seeds, n = matrix_SN.shape
        for size in _chunks(resamples, n):
            weight_RS = generator.multinomial(num_seeds, [1 / num_seeds] * num_seeds, size=size) / num_seeds
            weight_RN = generator.multinomial(n, [1 / n] * n, size=size) / n
            means.append(np.einsum("rs,sn,rn->r", weight_RS, matrix_SN, weight_RN, optimize=True))
    else:
        pools = [np.unique(row, return_counts=True) for row in rows]
        draws_RS = generator.integers(0, len(rows), size=(resamples, len(rows)))
        total_R = np.zeros(resamples)
        for index, (unique, counts) in enumerate(pools):
            times_R = (draws_RS == index).sum(axis=1)
            n = len(rows[index])
            for repeat in range(int(times_R.max(initial=0))):
                chosen = np.flatnonzero(times_R > repeat)
                at = 0
                for size in _chunks(len(chosen), len(unique)):
                    drawn = generator.multinomial(n, counts / n, size=size)
                    total_R[chosen[at : at + size]] += drawn @ unique / n
                    at += size
        means.append(total_R / len(rows))
    low, high = _percentiles(np.concatenate(means), confidence)
    return Interval(estimate, low, high, len(rows))


def over_seeds(values: Values, *, confidence: float = CONFIDENCE) -> Interval:
    """The mean of one figure per seed with Student's t interval; fewer than two seeds: infinite.

    half = t_{S-1} * sd / sqrt(S)

    >>> [round(value, 3) for value in over_seeds([1.0, 2.0, 3.0])[:3]]
    [2.0, -0.484, 4.484]
    """
    from scipy.stats import t

    values_S = np.asarray(values, dtype=np.float64)
    n = len(values_S)
    if n < 2:
        return Interval(float(values_S.mean()) if n else math.nan, -math.inf, math.inf, n)
    mean = float(values_S.mean())
    half = float(t.ppf(0.5 + confidence / 2, n - 1)) * float(values_S.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """P[at least one of k samples is right], unbiased, from n samples of which `correct` are right.

    1 - C(n - correct, k) / C(n, k)  (Chen et al. 2021, arXiv 2107.03374)

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    assert 0 <= correct <= n, f"{correct} correct of {n}"
    assert 1 <= k <= n, f"pass@{k} needs at least {k} samples, there are {n}"
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


class Bin(NamedTuple):
    """One bin of a reliability diagram: `n` answers whose mean confidence and accuracy are given."""

    confidence: float
    accuracy: float
    n: int


class Calibration(NamedTuple):
    """How well a confidence predicts being right.

    ece: expected calibration error, sum_bins n_bin/N |accuracy - confidence|, 0 is perfect.
    auroc: P[a right answer has the higher confidence than a wrong one], 0.5 is chance; nan where all
    answers are right or all are wrong.
    """

    ece: float
    auroc: float
    bins: tuple[Bin, ...]
    n: int


def calibration(confidences: Values, correct: Sequence[bool], *, num_bins: int = 10) -> Calibration:
    """ECE over equally filled bins (answers of one confidence share a bin) and AUROC.

    >>> result = calibration([0.5, 0.5, 1.0, 1.0], [True, False, True, True], num_bins=2)
    >>> result.ece, result.auroc
    (0.0, 0.8333333333333334)
    """
    from scipy.stats import rankdata

    _same_length(confidences, correct)
    confidence_N = np.asarray(confidences, dtype=np.float64)
    correct_N = np.asarray(correct, dtype=np.float64)
    n, right = len(confidence_N), float(correct_N.sum())
    if not n:
        return Calibration(math.nan, math.nan, (), 0)
    ranks = rankdata(confidence_N)  # 1 to N, ties share their mean rank and so their bin
    bin_N = ((ranks - 0.5) * num_bins / n).astype(np.int64)
    bins: list[Bin] = []
    for index in np.unique(bin_N):
        inside = bin_N == index
        bins.append(Bin(float(confidence_N[inside].mean()), float(correct_N[inside].mean()), int(inside.sum())))
    ece = sum(bin.n * abs(bin.accuracy - bin.confidence) for bin in bins) / n
    auroc = math.nan
    if 0 < right < n:
        auroc = float((ranks[correct_N > 0].sum() - right * (right + 1) / 2) / (right * (n - right)))
    return Calibration(float(ece), auroc, tuple(bins), n)


def _same_length(first: Sequence[object] | Values, second: Sequence[object] | Values) -> None:
    assert len(first) == len(second), f"paired figures need equal lengths, got {len(first)} and {len(second)}"


def _chunks(total: int, width: int) -> list[int]:
    """Sizes that add up to `total`, each holding at most _CHUNK draws of `width`."""
    size = max(1, min(total, _CHUNK // max(1, width)))
    return [min(size, total - at) for at in range(0, total, size)]


def _percentiles(values: npt.NDArray[np.float64], confidence: float) -> tuple[float, float]:
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)
