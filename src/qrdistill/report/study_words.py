"""A study's figures in words, no stronger than their intervals (`statistics.established` is the one rule)."""

from __future__ import annotations

from collections.abc import Mapping

from qrdistill.report.study_results import Comparison, Estimate
from qrdistill.scores.paired import SeedDifference
from qrdistill.scores.statistics import established


def claim(value: Estimate | SeedDifference | None) -> int:
    """1 or -1 where a figure over seeds lies above or below zero; 0 where nothing is shown."""
    if value is None:
        return 0
    return value.claim if isinstance(value, SeedDifference) else established(value.low, value.high)


def interval(value: Estimate | None, *, sign: bool = False, scale: float = 100.0, digits: int = 1) -> str:
    """A figure (a share in per cent) with its interval, or with its seeds where they are too few for one.

    >>> interval(Estimate(estimate=0.5, low=0.25, high=0.75, n=4)), interval(None)
    ('50.0 (25.0 to 75.0)', '-')
    >>> interval(Estimate(estimate=0.5, n=2, by_seed=(0.25, 0.75)))
    '50.0 (seeds 25.0, 75.0)'
    """
    if value is None:
        return "-"

    def shown(number: float) -> str:
        return f"{scale * number:{'+' if sign else ''}.{digits}f}"

    if value.low is not None and value.high is not None:
        return f"{shown(value.estimate)} ({shown(value.low)} to {shown(value.high)})"
    if len(value.by_seed) > 1:
        return f"{shown(value.estimate)} (seeds {', '.join(map(shown, value.by_seed))})"
    return shown(value.estimate)


def spread(value: Estimate | SeedDifference, *, sign: bool = False, scale: float = 1.0, digits: int = 2) -> str:
    """How far a figure can be relied on, for a sentence.

    >>> spread(Estimate(estimate=0.5, low=0.25, high=0.75, n=5))
    '95 % interval 0.25 to 0.75, 5 seeds'
    >>> spread(Estimate(estimate=0.5, n=1, by_seed=(0.5,))), spread(Estimate(estimate=0.5, n=2, by_seed=(0.5, 0.5)))
    ('one seed, no interval', 'seeds 0.50, 0.50, no interval')
    """

    def shown(number: float) -> str:
        return f"{scale * number:{'+' if sign else ''}.{digits}f}"

    seeds = f"seeds {', '.join(map(shown, value.by_seed))}" if value.n > 1 else "one seed"
    if value.low is None or value.high is None:
        return f"{seeds}, no interval"
    ends = f"{shown(value.low)} to {shown(value.high)}"
    if isinstance(value, SeedDifference):
        if value.over == "questions":
            return f"{seeds}; 95 % interval over their questions {ends}"
        return f"95 % interval {ends}, {value.positive} of {value.n} seeds ahead"
    return f"95 % interval {ends}, {value.n} seeds"


def points(row: SeedDifference) -> str:
    """A paired difference of shares in percentage points, and how far it can be relied on."""
    return f"{100 * row.difference:+.1f} points ({spread(row, sign=True, scale=100, digits=1)})"


def answer(row: Comparison, titles: Mapping[str, str]) -> str:
    """One comparison in words: 'no difference shown' unless its interval over seeds excludes zero."""
    verdict = {1: "yes", -1: "no, it costs accuracy", 0: "no difference shown"}[row.claim]
    here = established(row.low, row.high) if row.over == "questions" else 0
    if here:
        verdict = f"{'ahead' if here > 0 else 'behind'} in {'this seed' if row.n == 1 else f'these {row.n} seeds'}"
        verdict += ", of others nothing is shown"
    first, second = titles.get(row.first, row.first), titles.get(row.second, row.second)
    return f"{row.question} {verdict[0].upper()}{verdict[1:]}: {first} over {second} {points(row)}."
