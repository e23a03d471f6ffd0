"""The routing study's sections: who gets what over time, what it goes along with, and whether again."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from math import log, nan
from typing import TYPE_CHECKING

from qrdistill.report.study_results import Cell, Chart, Estimate, Panel, Part, Table
from qrdistill.studies.grid.page import line_over_seeds
from qrdistill.studies.measures.routing_records import RoutingFigures

if TYPE_CHECKING:
    from qrdistill.studies.routing import RoutingResults

CURVES = ("learned", "random", "fixed-loss")
PAIRS = {
    "restarts": "restarts of the learned router",
    "chance": "learned against random",
    "fixed-loss": "learned against the fixed split by base loss",
}


def parts(result: RoutingResults) -> list[Part]:
    return [
        _over_time(result.routing),
        _informed(result),
        Part(title="Would it decide so again?", tables=[_over_seeds(result), _every_pair(result)]),
    ]


def _middles(edges: Sequence[int]) -> list[float]:
    return [(start + stop) / 2 for start, stop in itertools.pairwise(edges)]


def _over_time(runs: Mapping[str, Mapping[int, RoutingFigures]]) -> Part:
    learned = runs["learned"]
    seed, first = next(iter(learned.items()))
    middles = _middles(first.edges)
    maps = [
        Chart(
            kind="heat",
            caption=f"Share of each {facet}'s paths that a student got (seed {seed}), over training steps.",
            panels=[Panel(label=name, cells=list(cells.values())) for name, cells in found.items()],
            rows=list(next(iter(found.values()))),
            edges=first.edges,
        )
        for facet, found in first.cells.items()
    ]
    shares = {
        name: [
            [nan if (p := one.share[name][at]) is None else p for one in learned.values()] for at in range(len(middles))
        ]
        for name in first.share
    }
    curves = Chart(
        kind="curves",
        caption="Share of the paths per student, learned routing.",
        x="step",
        y="share, %",
        lines=[line_over_seeds(name, middles, values, scale=100) for name, values in shares.items()],
    )
    rows: list[list[Cell]] = [
        [name, seed, one.verdict, round(one.soft, 3), round(log(max(2, len(one.share))), 3)]
        for name, found in runs.items()
        if name.startswith("learned")
        for seed, one in found.items()
    ]
    words = Table(
        title="In words",
        columns=["arm", "seed", "what the router does at the end", "soft information, nats", "of at most"],
        rows=rows,
        note="Soft information: what a path tells about its student by the router's own probabilities.",
    )
    return Part(
        title="Who gets what, over time",
        text=[f"The maps are those of the learned router with seed {seed}; the shares are means over seeds."],
        charts=[*maps, curves],
        tables=[words],
    )


def _informed(result: RoutingResults) -> Part:
    titles = result.titles()
    middles = _middles(next(iter(result.routing["learned"].values())).edges)
    lines = [
        line_over_seeds(
            titles[name],
            middles,
            [[one.information["style"][at] for one in found.values()] for at in range(len(middles))],
            bounds=(0.0, float("inf")),
        )
        for name, found in result.routing.items()
        if name in CURVES
    ]
    chart = Chart(
        kind="curves",
        caption="Mutual information of style and student over training, nats; bars: 95 % intervals over seeds.",
        x="step",
        y="nats",
        lines=lines,
    )
    beyond = ["beyond chance", "low", "high", "chance", "at most", "significant runs", "largest p"]
    table = Table(
        title="Mutual information with the student, nats",
        columns=["arm", "with", *beyond, "minus random", "low ", "high ", "seeds", "paths"],
        rows=[
            [
                titles[row.arm],
                row.facet,
                *_cells(row.excess),
                round(row.chance, 3),
                round(row.limit, 3),
                f"{row.significant}/{row.runs}",
                round(row.largest_p, 4),
                *_cells(row.against_random),
                row.runs,
                row.paths,
            ]
            for row in result.information
        ],
        note="Beyond chance: minus the mean over permutations. Intervals: Student's t over seeds, where there are four or more.",
    )
    return Part(title="What the assignment goes along with", charts=[chart], tables=[table])


def _over_seeds(result: RoutingResults) -> Table:
    return Table(
        title="Agreement over seeds",
        columns=["pairs", "kappa", "low", "high", "same student, %", "kappa up to names", "seeds"],
        rows=[
            [
                PAIRS[kind],
                *_cells(one.kappa),
                round(100 * one.share.estimate, 1),
                round(one.relabelled_kappa.estimate, 3),
                one.kappa.n,
            ]
            for kind, one in result.agreement_over_seeds.items()
        ],
        note="Cohen's kappa over the paths that both runs drew, each run's last assignment; pairs of a seed averaged.",
    )


def _every_pair(result: RoutingResults) -> Table:
    titles = result.titles()
    return Table(
        title="Every pair",
        columns=["first", "second", "seed", "kappa", "low", "high", "same student, %", "kappa up to names", "paths"],
        rows=[
            [
                titles[pair.first],
                titles[pair.second],
                pair.seed,
                *_cells(pair.kappa),
                round(100 * pair.share.estimate, 1),
                round(pair.relabelled_kappa, 3),
                pair.kappa.n,
            ]
            for pair in result.agreement
        ],
        note="Intervals: bootstrap over paths.",
    )


def _cells(value: Estimate | None) -> list[Cell]:
    if value is None:
        return [None, None, None]
    return [None if one is None else round(one, 3) for one in (value.estimate, value.low, value.high)]
