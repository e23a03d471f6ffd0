"""The few statistics that stages below `scores` need too: one interval of a share, one paired test, one kappa,
one information.

Letters: B paths, S students; N things that were rated.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """An estimate with its two-sided interval, over `n` observations; infinite ends: there is none."""

    estimate: float
    low: float
    high: float
    n: int


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


class McNemar(NamedTuple):
    """Questions that only one of two solvers got right, and how likely so uneven a split is by chance."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """The exact McNemar test on one set of questions: a two-sided sign test of the discordant pairs.

    p = min(1, 2 P[X <= min(b, c)]),  X ~ Binomial(b + c, 1/2);  p = 1 where nothing is discordant.

    >>> mcnemar([True] * 5 + [False], [False] * 6)
    McNemar(only_first=5, only_second=0, p=0.0625)
    """
    b = sum(1 for x, y in zip(first, second, strict=True) if x and not y)
    c = sum(1 for x, y in zip(first, second, strict=True) if y and not x)
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))  # exact; scipy.stats takes a second to import
    return McNemar(b, c, min(1.0, 2 * tail / 2 ** (b + c)))


def kappa(pairs: Iterable[tuple[object, object]]) -> float:
    """Cohen's kappa of two raters over (first, second) pairs; nan for none, 1 for perfect agreement.

    kappa = (p_o - p_e) / (1 - p_e)  (Cohen 1960)

    >>> kappa([(1, 1), (0, 0), (1, 0), (0, 0)])
    0.5
    """
    table = Counter(pairs)
    n = table.total()
    if n == 0:
        return math.nan
    first: Counter[object] = Counter()
    second: Counter[object] = Counter()
    for (one, other), count in table.items():
        first[one] += count
        second[other] += count
    observed = sum(count for (one, other), count in table.items() if one == other) / n
    expected = sum(first[value] * second[value] for value in first) / n**2
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)


def entropy(share: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """H(p) = -sum p log p over the last axis, in nats; 0 log 0 is 0."""
    p = np.asarray(share, dtype=np.float64)
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(-1)


def assignment_information(
    share_BS: npt.ArrayLike, *, weight_B: npt.ArrayLike | None = None, entropy_B: npt.ArrayLike | None = None
) -> npt.NDArray[np.float64]:
    """What a row tells about its column: mutual information in nats, at most log S.

    I = H(sum_b w_b p_b) - sum_b w_b H_b,  H_b = H(p_b) unless `entropy_B` gives it (rows that are means of others)

    `share_BS`: each row sums to 1. `weight_B`: how much each row counts, equal by default. Leading axes are kept.

    >>> round(float(assignment_information([[1.0, 0.0], [0.0, 1.0]])), 4)
    0.6931
    """
    rows = np.asarray(share_BS, dtype=np.float64)
    weight = np.ones(rows.shape[:-1]) if weight_B is None else np.asarray(weight_B, dtype=np.float64)
    weight = weight / weight.sum(-1, keepdims=True)
    within = entropy(rows) if entropy_B is None else np.asarray(entropy_B, dtype=np.float64)
    together = (weight[..., None] * rows).sum(-2)
    return np.maximum(entropy(together) - (weight * within).sum(-1), 0.0)
