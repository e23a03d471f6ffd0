"""Intervals and tests for proportions and paired differences; pure functions of their arguments.

Letters: N questions, S seeds (runs), R bootstrap resamples; of two lists of labels A and B values, L labels, P
permutations. Outcomes are 0 or 1 (or a mean of those
over samples), differences therefore lie in [-1, 1]. Every interval is two-sided.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from qrdistill.base.statistics import CONFIDENCE, Interval, McNemar, assignment_information, entropy, mcnemar, wilson
from qrdistill.base.statistics import kappa as point_kappa

__all__ = ["CONFIDENCE", "Interval", "McNemar", "mcnemar", "wilson"]

RESAMPLES = 10_000
PERMUTATIONS = 1_000
MIN_SEEDS = 4  # fewer say so little of their spread that Student's interval leaves the possible values
_CHUNK = 4_000_000  # random draws held at once

Values = Sequence[float] | npt.NDArray[np.floating]
Labels = Sequence[Hashable]


def established(low: float | None, high: float | None) -> Literal[-1, 0, 1]:
    """The one rule for what may be claimed: 1 or -1 where an interval lies above or below zero, else 0.

    No interval (None or infinite ends) claims nothing; nor does one without width, which comes from
    observations that coincide and so say nothing of their spread.

    >>> established(0.1, 0.3), established(-1, 2), established(None, None), established(-0.025, -0.025)
    (1, 0, 0, 0)
    """
    if low is None or high is None or not high - low > 1e-9:
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0


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
    means_R = _resampled(values_N, resamples, np.random.default_rng(seed))
    low, high = _percentiles(means_R, confidence)
    return Interval(float(values_N.mean()), low, high, len(values_N))


def over_seeds(
    values: Values, *, bounds: tuple[float, float] = (-math.inf, math.inf), confidence: float = CONFIDENCE
) -> Interval:
    """The mean of one figure per seed with Student's t interval, within `bounds` (a share's are 0 and 1).

    half = t_{S-1} * sd / sqrt(S)

    There is no interval (infinite ends) for fewer than `MIN_SEEDS` seeds, nor for seeds that all say the same.

    >>> [round(value, 3) for value in over_seeds([1.0, 2.0, 3.0, 4.0])[:3]]
    [2.5, 0.446, 4.554]
    """
    values_S = np.asarray(values, dtype=np.float64)
    n = len(values_S)
    mean = float(values_S.mean()) if n else math.nan
    if n < MIN_SEEDS or float(np.ptp(values_S)) < 1e-9:
        return Interval(mean, -math.inf, math.inf, n)
    from scipy.stats import t

    half = float(t.ppf(0.5 + confidence / 2, n - 1)) * float(values_S.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, max(bounds[0], mean - half), min(bounds[1], mean + half), n)


def over_questions(
    values: Sequence[Mapping[str, float]],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean over seeds of each seed's mean, with a bootstrap interval over questions for these very seeds.

    `values`: per seed, question -> figure. Seeds that share their questions are averaged per question first;
    otherwise each seed's questions are resampled apart. It says what other questions would give, not other seeds.

    >>> over_questions([{"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 0.0}]).estimate
    0.5
    """
    rows = [row for row in values if row]
    if not rows or len(rows) < len(values):
        return Interval(math.nan, -math.inf, math.inf, 0)
    if all(row.keys() == rows[0].keys() for row in rows):
        rows = [{question: sum(row[question] for row in rows) / len(rows) for question in rows[0]}]
    generator = np.random.default_rng(seed)
    means_R = sum(
        _resampled(np.asarray(list(row.values()), dtype=np.float64), resamples, generator) for row in rows
    ) / len(rows)
    low, high = _percentiles(np.asarray(means_R), confidence)
    estimate = sum(sum(row.values()) / len(row) for row in rows) / len(rows)
    return Interval(estimate, low, high, sum(len(row) for row in rows))


class Information(NamedTuple):
    """What one label tells about another over `n` observations, in nats, beside what chance would give.

    value: plug-in mutual information, never below 0, at most `limit` = min(H(a), H(b)). chance: its
    mean over permutations: with few observations and many labels it is well above 0, so value - chance
    is what is really known. p: share of permutations that reach the value, the observed one included.
    """

    value: float
    chance: float
    p: float
    limit: float
    n: int

    @property
    def excess(self) -> float:
        return self.value - self.chance


def mutual_information(first: Labels, second: Labels) -> float:
    """I(a; b) = sum_ab p(a, b) log(p(a, b) / (p(a) p(b))), in nats.

    >>> round(mutual_information("aabb", "xxyy"), 4), mutual_information("abab", "xxyy")
    (0.6931, 0.0)
    """
    return float(_table_information(contingency(first, second)))


def informed(first: Labels, second: Labels, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Information:
    """The mutual information with a permutation test: the second list is shuffled against the first.

    >>> informed("aabb" * 5, "xxyy" * 5).p < 0.01
    True
    """
    table_AB = contingency(first, second)
    if not table_AB.size:
        return Information(math.nan, math.nan, 1.0, math.nan, 0)
    value, total = float(_table_information(table_AB)), int(table_AB.sum())
    codes_N, other_N = _codes(first), _codes(second)
    width = table_AB.shape[1]
    generator = np.random.default_rng(seed)
    shuffled = np.stack(
        [
            np.bincount(codes_N * width + generator.permutation(other_N), minlength=table_AB.size)
            for _ in range(permutations)
        ]
    )
    chance_P = _table_information(shuffled.reshape(permutations, *table_AB.shape))
    # a permutation that gives the very same table may differ in the last bit
    reached = int(np.sum(chance_P >= value - 1e-12))
    limit = min(float(entropy(table_AB.sum(1) / total)), float(entropy(table_AB.sum(0) / total)))
    return Information(value, float(np.mean(chance_P)), (1 + reached) / (1 + permutations), limit, total)


def contingency(first: Labels, second: Labels) -> npt.NDArray[np.int64]:
    """How often each pair of labels occurs, [A, B], labels in the order of their text."""
    _same_length(first, second)
    codes_N, other_N = _codes(first), _codes(second)
    shape = (int(codes_N.max(initial=-1)) + 1, int(other_N.max(initial=-1)) + 1)
    counts = np.bincount(codes_N * shape[1] + other_N, minlength=shape[0] * shape[1])
    return counts.reshape(shape)


def kappa(first: Labels, second: Labels, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Cohen's kappa with a percentile bootstrap interval over the N things that were rated."""
    pairs = list(zip(first, second, strict=True))
    n = len(pairs)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    labels = sorted({*first, *second}, key=str)
    at = {label: index for index, label in enumerate(labels)}
    table_LL = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for one, other in pairs:
        table_LL[at[one], at[other]] += 1
    generator = np.random.default_rng(seed)
    drawn_R = generator.multinomial(n, table_LL.ravel() / n, size=resamples)
    tables_RLL = drawn_R.reshape(resamples, *table_LL.shape) / n
    observed_R = np.einsum("rll->r", tables_RLL)
    expected_R = (tables_RLL.sum(2) * tables_RLL.sum(1)).sum(1)
    # a resample in which both raters know one label only agrees perfectly and says nothing
    kappa_R = np.divide(
        observed_R - expected_R, 1 - expected_R, out=np.ones_like(observed_R), where=expected_R < 1 - 1e-12
    )
    low, high = _percentiles(kappa_R, CONFIDENCE)
    return Interval(point_kappa(pairs), low, high, n)


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
    _same_length(confidences, correct)
    confidence_N = np.asarray(confidences, dtype=np.float64)
    correct_N = np.asarray(correct, dtype=np.float64)
    n, right = len(confidence_N), float(correct_N.sum())
    if not n:
        return Calibration(math.nan, math.nan, (), 0)
    _, place_N, count = np.unique(confidence_N, return_inverse=True, return_counts=True)
    ranks = (count.cumsum() - (count - 1) / 2)[place_N]  # 1 to N, ties share their mean rank and so their bin
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


def _codes(labels: Labels) -> npt.NDArray[np.int64]:
    names = {label: code for code, label in enumerate(sorted(set(labels), key=str))}
    return np.array([names[label] for label in labels], dtype=np.int64)


def _table_information(count_AB: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    row_A = count_AB.sum(-1)
    return assignment_information(count_AB / np.maximum(row_A, 1)[..., None], weight_B=row_A)


def _resampled(
    values_N: npt.NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """The mean of each of R resamples, drawn as multinomial counts of the distinct values."""
    unique, counts = np.unique(values_N, return_counts=True)
    means = [
        generator.multinomial(len(values_N), counts / len(values_N), size=size) @ unique / len(values_N)
        for size in _chunks(resamples, len(unique))
    ]
    return np.concatenate(means)


def _chunks(total: int, width: int) -> list[int]:
    """Sizes that add up to `total`, each holding at most _CHUNK draws of `width`."""
    size = max(1, min(total, _CHUNK // max(1, width)))
    return [min(size, total - at) for at in range(0, total, size)]


def _percentiles(values: npt.NDArray[np.float64], confidence: float) -> tuple[float, float]:
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)
