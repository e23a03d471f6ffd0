"""How far two lists of labels agree, also up to a renaming of the labels; pure functions."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

from qrdistill.base.statistics import kappa as point_kappa
from qrdistill.scores.statistics import RESAMPLES, Interval, Labels, contingency, kappa, wilson


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
