"""How alike two representations of the same things are; pure functions.

Letters: N observations; H and G features.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
