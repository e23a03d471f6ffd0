"""`study vote`: several answers per question. Which way of spending decodes is worth them?

Votes of good (student, style) pairs and the judge's fallback, each at its own decoding cost, beside one
greedy answer of the best pair and beside that pair's self-consistency over as many decodes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from qrdistill.base.store import write_json
from qrdistill.report.study_page import Chart, Estimate, Part, Table
from qrdistill.scores.statistics import Interval, over_seeds
from qrdistill.studies.ablation import summarise, tuned_arms
from qrdistill.studies.grid.arms import by_name, choose
from qrdistill.studies.grid.outcomes import Comparison, Outcome, compare
from qrdistill.studies.grid.page import interval, sentence, write_pages
from qrdistill.studies.grid.study import Setup, established, finite, run_arms, run_name, variants

SAMPLES = 8  # sampled answers of each student's best style: what self-consistency may spend
ARMS = ("all", "best-style", "best-own", "fixed-loss", "learned")
ACROSS = (
    ("learned", "best-style"),
    ("learned", "best-own"),
    ("best-own", "best-style"),
)  # whose votes are compared
CAVEAT = (
    "Voters, their weights and the best pair are chosen on dev. Equal cost is counted in decodes; self-consistency "
    "gets one more where a vote's mean is no whole number."
)


@dataclass(frozen=True)
class Method:
    """One way to answer, over seeds: shares of the questions; differences are paired by question and seed."""

    name: str
    accuracy: Interval
    decodes: float
    over_single: Interval | None
    over_equal_cost: Interval | None

    def figures(self) -> dict[str, Any]:
        """As the study's JSON holds it: every interval with its names."""
        return {key: value._asdict() if isinstance(value, Interval) else value for key, value in vars(self).items()}


def vote(setup: Setup) -> dict[str, Any]:
    """Runs the study and writes study.json and report.html."""
    judged = bool(setup.config.filter.judges)
    extra = {"evaluate.samples": SAMPLES, "evaluate.vote": True, "evaluate.fallback": judged}
    known = by_name(setup.config)
    arms = choose([known[name] for name in ARMS], setup.arms)
    result: dict[str, Any] = {
        "study": "vote",
        "seeds": list(setup.seeds),
        "tuned": setup.tune,
        "arms": {arm.name: (arm.title, arm.group) for arm in arms},
        "conditions": {},
        "methods": {},
    }
    parts: list[Part] = []
    findings: list[str] = []
    for variant in variants(setup.config):
        chosen = tuned_arms(setup, variant, arms)
        outcomes = run_arms(setup, variant, arms, chosen, extra)
        folders = {
            arm.name: [setup.folder / run_name(variant, arm.name, seed, chosen) for seed in setup.seeds] for arm in arms
        }
        found = {name: methods(runs) for name, runs in folders.items()}
        between = _between(outcomes, found, folders)
        result["conditions"][variant.name] = {
            **summarise(variant, outcomes, chosen, []),
            "comparisons": between,
        }
        result["methods"][variant.name] = {name: [one.figures() for one in rows] for name, rows in found.items()}
        write_json(setup.folder / "study.json", finite(result))
        titles = {arm.name: arm.title for arm in arms}
        parts.append(_part(variant.title, found, titles))
        findings += [
            f"{variant.title}, {titles[name]}: {_sentence(one)}"
            for name, rows in found.items()
            for one in rows
            if one.name in ("weighted vote", "judge fallback")
        ]
        findings += [f"{variant.title}: {sentence(row, titles)}" for row in between]
    write_pages(
        setup,
        result,
        "Votes",
        "What do several answers per question bring, at their decoding cost?",
        parts,
        findings=findings,
        caveats=[CAVEAT],
    )
    return finite(result)


def _between(
    outcomes: Mapping[str, list[Outcome]], found: Mapping[str, Sequence[Method]], folders: Mapping[str, Sequence[Path]]
) -> list[dict[str, Any]]:
    """One arm's weighted vote against another's, and against its self-consistency over no fewer decodes."""
    rows: list[dict[str, Any]] = []

    def add(question: str, change: Comparison | None) -> None:
        if change is not None:
            rows.append(change.answers(question))

    for first, second in ACROSS:
        if first not in outcomes or second not in outcomes:
            continue
        add(
            f"Is the vote of {first} above the vote of {second}?",
            compare(outcomes[first], outcomes[second], "vote"),
        )
        decodes = next((one.decodes for one in found[first] if one.name == "weighted vote"), 0.0)
        samples = max(2, ceil(decodes))
        name = f"self-consistency, {samples} samples"
        sampled = [
            replace(outcome, consistency=ways[name]["accuracy"])
            for outcome, folder in zip(outcomes[second], folders[second], strict=True)
            if name in (ways := _rows(folder))
        ]
        add(
            f"Is the vote of {first} above {samples} sampled answers of {second}?",
            compare(outcomes[first], sampled, "vote", against="consistency") if sampled else None,
        )
    return rows


def methods(folders: Sequence[Path]) -> list[Method]:
    """Every way to answer that all of the runs have, cheapest first."""
    runs = [_rows(folder) for folder in folders]
    shared = [name for name in runs[0] if all(name in run for run in runs)]
    found = [_method(name, [run[name] for run in runs]) for name in shared]
    return sorted(found, key=lambda one: one.decodes)


def _rows(folder: Path) -> dict[str, Mapping[str, Any]]:
    """One run's ensembles under names that do not depend on who took part."""
    scores = json.loads((folder / "scores.json").read_text())
    every = {one["name"]: one for one in scores["ensembles"]}
    group = "pairs" if "majority, pairs" in every else "students"
    found = {
        label: every[name]
        for label, name in (
            ("majority vote", f"majority, {group}"),
            ("log-probability vote", f"log-probability, {group}"),
            ("weighted vote", f"weighted by dev, {group}, early stop"),
            ("judge fallback", "judge fallback"),
        )
        if name in every
    }
    best = next(iter(found.values()))["against_single"]["second"] if found else ""
    for one in every.values():
        if one["method"] == "self_consistency" and one["members"] == [best]:
            found[f"self-consistency, {one['decodes']:.0f} samples"] = one
    return found


def _method(name: str, rows: Sequence[Mapping[str, Any]]) -> Method:
    def difference(key: str) -> Interval | None:
        values = [row[key]["difference"] for row in rows if row[key] is not None]
        return over_seeds(values) if len(values) == len(rows) else None

    return Method(
        name,
        over_seeds([row["accuracy"] for row in rows]),
        sum(row["decodes"] for row in rows) / len(rows),
        difference("against_single"),
        difference("against_equal_cost"),
    )


def _sentence(one: Method) -> str:
    assert one.over_single is not None
    said = f"{one.name} at {one.decodes:.1f} decodes against one answer of the best pair: {_verdict(one.over_single)}"
    if one.over_equal_cost is not None:
        said += f"; against self-consistency at equal cost: {_verdict(one.over_equal_cost)}"
    return f"{said}."


def _verdict(change: Interval) -> str:
    words = {1: "above", -1: "below", 0: "no difference shown"}[established(change._asdict())]
    return f"{words} ({interval(change._asdict(), sign=True)} points over {change.n} seeds)"


def _part(title: str, found: Mapping[str, Sequence[Method]], titles: Mapping[str, str]) -> Part:
    return Part(
        title=f"Ways to answer: {title}",
        charts=[
            Chart(
                kind="dots",
                caption=f"{titles[name]}: accuracy of each way to answer, 95 % intervals over seeds.",
                x="accuracy, %",
                dots={
                    f"{one.name} ({one.decodes:.1f})": Estimate(
                        value=100 * one.accuracy.estimate,
                        low=100 * one.accuracy.low,
                        high=100 * one.accuracy.high,
                        n=one.accuracy.n,
                    )
                    for one in rows
                },
            )
            for name, rows in found.items()
        ]
        if all(one.accuracy.n > 1 for rows in found.values() for one in rows)
        else [],
        tables=[
            Table(
                title=f"Ways to answer: {title}",
                columns=[
                    "arm",
                    "way",
                    "decodes",
                    "accuracy, %",
                    "over one answer of the best pair",
                    "over self-consistency at equal cost",
                ],
                rows=[
                    [
                        titles[name],
                        one.name,
                        round(one.decodes, 2),
                        interval(one.accuracy._asdict()),
                        *(
                            interval(change._asdict(), sign=True) if change else None
                            for change in (one.over_single, one.over_equal_cost)
                        ),
                    ]
                    for name, rows in found.items()
                    for one in rows
                ],
                note="Mean over seeds with Student's 95 % t interval; differences in points, paired by question and seed.",
            )
        ],
    )
