"""What two lists of labels, or two sets of representations, have in common; pure functions.

Letters: N observations, P permutations, R bootstrap resamples; H and G features.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qrdistill.scores.statistics import CONFIDENCE, RESAMPLES, Interval, wilson
from qrdistill.verdicts.audit.calibration import kappa as point_kappa

PERMUTATIONS = 1000

Labels = Sequence[Hashable]
Array = NDArray[np.float64]


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
    return _information(contingency(first, second)[None])[0]


def informed(first: Labels, second: Labels, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Information:
    """The mutual information with a permutation test: the second list is shuffled against the first.

    >>> informed("aabb" * 5, "xxyy" * 5).p < 0.01
    True
    """
    table_AB = contingency(first, second)
    if not table_AB.size:
        return Information(math.nan, math.nan, 1.0, math.nan, 0)
    value = _information(table_AB[None])[0]
    codes_N, other_N = _codes(first), _codes(second)
    width = table_AB.shape[1]
    generator = np.random.default_rng(seed)
    shuffled = np.stack(
        [
            np.bincount(codes_N * width + generator.permutation(other_N), minlength=table_AB.size)
            for _ in range(permutations)
        ]
    )
    chance_P = _information(shuffled.reshape(permutations, *table_AB.shape))
    # a permutation that gives the very same table may differ in the last bit
    reached = int(np.sum(np.asarray(chance_P) >= value - 1e-12))
    return Information(
        value,
        float(np.mean(chance_P)),
        (1 + reached) / (1 + permutations),
        min(_entropy(table_AB.sum(1)), _entropy(table_AB.sum(0))),
        int(table_AB.sum()),
    )


def contingency(first: Labels, second: Labels) -> NDArray[np.int64]:
    """How often each pair of labels occurs, [A, B], labels in the order of their text."""
    assert len(first) == len(second), f"paired labels need equal lengths, got {len(first)} and {len(second)}"
    codes_N, other_N = _codes(first), _codes(second)
    shape = (int(codes_N.max(initial=-1)) + 1, int(other_N.max(initial=-1)) + 1)
    counts = np.bincount(codes_N * shape[1] + other_N, minlength=shape[0] * shape[1])
    return counts.reshape(shape)


def _codes(labels: Labels) -> NDArray[np.int64]:
    names = {label: code for code, label in enumerate(sorted(set(labels), key=str))}
    return np.array([names[label] for label in labels], dtype=np.int64)


def _information(tables_PAB: NDArray[np.int64]) -> list[float]:
    joint_PAB = tables_PAB / tables_PAB.sum((1, 2), keepdims=True)
    apart_PAB = joint_PAB.sum(2, keepdims=True) * joint_PAB.sum(1, keepdims=True)
    ratio_PAB = np.divide(joint_PAB, apart_PAB, out=np.ones_like(joint_PAB), where=joint_PAB > 0)
    return np.maximum((joint_PAB * np.log(ratio_PAB)).sum((1, 2)), 0.0).tolist()


def _entropy(counts: NDArray[np.int64]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


# --- agreement ------------------------------------------------------------------------------------


class Agreement(NamedTuple):
    """Two raters of the same `share.n` things.

    kappa: Cohen's, with a percentile bootstrap interval over the things. relabelled: the share and kappa
    after the renaming of the second rater's labels that agrees most: two routers that make the same
    groups and give them to different students agree there, and only there. Its kappa is biased upwards,
    since the renaming was chosen on the same things.
    """

    share: Interval
    kappa: Interval
    relabelled_share: float
    relabelled_kappa: float


def agreement(first: Labels, second: Labels, *, resamples: int = RESAMPLES, seed: int = 0) -> Agreement:
    """
    >>> found = agreement("aabb", "bbaa")
    >>> found.share.estimate, found.kappa.estimate, found.relabelled_share, found.relabelled_kappa
    (0.0, -1.0, 1.0, 1.0)
    """
    pairs = list(zip(first, second, strict=True))
    same = sum(a == b for a, b in pairs)
    renamed = relabel(first, second)
    return Agreement(
        wilson(same, len(pairs)),
        kappa(first, second, resamples=resamples, seed=seed),
        sum(a == b for a, b in zip(first, renamed, strict=True)) / len(pairs) if pairs else math.nan,
        point_kappa(zip(first, renamed, strict=True)),
    )


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
    low, high = np.quantile(kappa_R, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Interval(point_kappa(pairs), float(low), float(high), n)


def relabel(first: Labels, second: Labels) -> list[Hashable]:
    """The second list with its labels renamed, one to one, so that it agrees with the first most often.

    >>> relabel("aabbc", "yyzza")
    ['a', 'a', 'b', 'b', 'c']
    """
    from scipy.optimize import linear_sum_assignment

    targets = sorted(set(first), key=str)
    sources = sorted(set(second), key=str)
    if not targets:
        return []
    rows, columns = linear_sum_assignment(contingency(second, first), maximize=True)
    names: dict[Hashable, Hashable] = {sources[row]: targets[column] for row, column in zip(rows, columns, strict=True)}
    # a label without a partner must not be mistaken for one of the first list's
    return [names.get(label, ("unmatched", label)) for label in second]


# --- representations ------------------------------------------------------------------------------


def linear_cka(first_NH: Array, second_NG: Array) -> float:
    """Linear centred kernel alignment of two representations of the same N things, 0 to 1.

        ||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F)     X, Y centred per feature

    1 for representations that are equal up to rotation and scale. With N near H it is biased upwards, for
    unrelated ones too: see `debiased_cka`. nan where a side is constant. Source: Kornblith et al. 2019 (arXiv
    1905.00414).

    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    >>> round(linear_cka(x, 3 * x[:, ::-1]), 6)
    1.0
    """
    assert len(first_NH) == len(second_NG), "both sides must represent the same things"
    x_NH = np.asarray(first_NH, dtype=np.float64) - np.mean(first_NH, axis=0)
    y_NG = np.asarray(second_NG, dtype=np.float64) - np.mean(second_NG, axis=0)
    scale = float(np.linalg.norm(x_NH.T @ x_NH) * np.linalg.norm(y_NG.T @ y_NG))
    if scale < 1e-20:
        return math.nan
    return float(np.linalg.norm(y_NG.T @ x_NH) ** 2) / scale


def debiased_cka(first_NH: Array, second_NG: Array) -> float:
    """Linear CKA from unbiased estimates: about 0 for unrelated representations, whatever N and H.

        U(K, L) = [tr(KL) + 1'K1 1'L1 / ((N-1)(N-2)) - 2/(N-2) 1'KL1] / (N(N-3))     K = XX', L = YY', diagonals 0
        cka = U(K, L) / sqrt(U(K, K) U(L, L))

    It may fall slightly below 0 or, by sampling noise, pass 1. nan for fewer than four things, or where a side
    is constant. Memory grows with N^2. Source: Song et al. 2012 (JMLR 13) for U; Nguyen et al. 2021 (arXiv
    2010.15327) for its use here.
    """
    assert len(first_NH) == len(second_NG), "both sides must represent the same things"
    n = len(first_NH)
    if n < 4:
        return math.nan
    grams: list[Array] = []
    for side in (first_NH, second_NG):
        centred = np.asarray(side, dtype=np.float64) - np.mean(side, axis=0)
        gram_NN = centred @ centred.T
        np.fill_diagonal(gram_NN, 0.0)
        grams.append(gram_NN)
    k_NN, l_NN = grams

    def unbiased(a_NN: Array, b_NN: Array) -> float:
        rows_a, rows_b = a_NN.sum(1), b_NN.sum(1)
        total = float((a_NN * b_NN).sum()) + float(rows_a.sum() * rows_b.sum()) / ((n - 1) * (n - 2))
        return (total - 2 / (n - 2) * float(rows_a @ rows_b)) / (n * (n - 3))

    scale = unbiased(k_NN, k_NN) * unbiased(l_NN, l_NN)
    return unbiased(k_NN, l_NN) / math.sqrt(scale) if scale > 1e-20 else math.nan
