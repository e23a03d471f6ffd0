"""`study vote`: several answers per question. Which way of spending decodes is worth them?

Votes of good (student, style) pairs and the judge's fallback, each at its own decoding cost, beside one
greedy answer of the best pair and beside that pair's self-consistency over as many decodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from pydantic import Field

from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.report.study_results import (
    Chart,
    Comparison,
    Condition,
    Estimate,
    Outcome,
    Part,
    StudyRecord,
    StudyResults,
    Table,
)
from qrdistill.report.study_words import answer, claim, interval
from qrdistill.studies.grid.arms import by_name, choose
from qrdistill.studies.grid.outcomes import change, compare, share
from qrdistill.studies.grid.page import finish, write_figures
from qrdistill.studies.grid.study import Setup, arm_titles, run_arms, run_name, variants
from qrdistill.studies.grid.summary import figures_of, tuned_arms

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


class Method(StudyRecord):
    """One way to answer, over seeds: shares of the questions; differences are paired by question and seed."""

    name: str
    accuracy: Estimate
    decodes: float
    over_single: Estimate | None
    over_equal_cost: Estimate | None


class VoteResults(StudyResults):
    methods: dict[str, dict[str, list[Method]]] = Field(default_factory=dict)
    """Condition -> arm -> its ways to answer, cheapest first."""


def vote(setup: Setup) -> VoteResults:
    """Runs the study and writes study.json and report.html."""
    judged = bool(setup.config.filter.judges)
    extra = {"evaluate.samples": SAMPLES, "evaluate.vote": True, "evaluate.fallback": judged}
    known = by_name(setup.config)
    arms = choose([known[name] for name in ARMS], setup.arms)
    asked = "What do several answers per question bring, at their decoding cost?"
    result = setup.results(VoteResults, "vote", "Votes", asked).having(arms=arm_titles(arms))
    for variant in variants(setup.config):
        chosen = tuned_arms(setup, variant, arms)
        outcomes = run_arms(setup, variant, arms, chosen, extra)
        folders = {
            arm.name: [setup.folder / run_name(variant, arm.name, seed, chosen) for seed in setup.seeds] for arm in arms
        }
        found = {name: methods(runs) for name, runs in folders.items()}
        condition = Condition(
            title=variant.title,
            arms=figures_of(outcomes, chosen),
            comparisons=tuple(_between(outcomes, found, folders)),
        )
        result = result.having(
            conditions={**result.conditions, variant.name: condition},
            methods={**result.methods, variant.name: found},
        )
        write_figures(setup, result)
    parts = [_part(result.conditions[name].title, found, result.titles()) for name, found in result.methods.items()]
    return finish(setup, result, parts, findings=findings(result), caveats=[CAVEAT])


def findings(result: VoteResults) -> list[str]:
    """The study's answer in sentences."""
    titles, sentences = result.titles(), []
    for key, condition in result.conditions.items():
        sentences += [
            f"{condition.title}, {titles[name]}: {_sentence(one)}"
            for name, rows in result.methods[key].items()
            for one in rows
            if one.name in ("weighted vote", "judge fallback")
        ]
        sentences += [f"{condition.title}: {answer(row, titles)}" for row in condition.comparisons]
    return sentences


def _between(
    outcomes: Mapping[str, list[Outcome]], found: Mapping[str, Sequence[Method]], folders: Mapping[str, Sequence[Path]]
) -> list[Comparison]:
    """One arm's weighted vote against another's, and against its self-consistency over no fewer decodes."""
    rows: list[Comparison | None] = []
    for first, second in ACROSS:
        if first not in outcomes or second not in outcomes:
            continue
        asked = f"Is the vote of {first} above the vote of {second}?"
        rows.append(compare(outcomes[first], outcomes[second], "vote", question=asked))
        decodes = next((one.decodes for one in found[first] if one.name == "weighted vote"), 0.0)
        samples = max(2, ceil(decodes))
        name = f"self-consistency, {samples} samples"
        sampled = [
            outcome.model_copy(update={"consistency": ways[name]["accuracy"]})
            for outcome, folder in zip(outcomes[second], folders[second], strict=True)
            if name in (ways := _rows(folder))
        ]
        asked = f"Is the vote of {first} above {samples} sampled answers of {second}?"
        if sampled:
            rows.append(compare(outcomes[first], sampled, "vote", against="consistency", question=asked))
    return [row for row in rows if row is not None]


def methods(folders: Sequence[Path]) -> list[Method]:
    """Every way to answer that all of the runs have, cheapest first."""
    runs = [_rows(folder) for folder in folders]
    shared = [name for name in runs[0] if all(name in run for run in runs)]
    found = [_method(name, [run[name] for run in runs]) for name in shared]
    return sorted(found, key=lambda one: one.decodes)


def _rows(folder: Path) -> dict[str, Mapping[str, Any]]:
    """One run's ensembles under names that do not depend on who took part."""
    scores = read_json(folder / "scores.json", nan=True)
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
    def difference(key: str) -> Estimate | None:
        values = [row[key]["difference"] for row in rows if row[key] is not None]
        return change(values) if len(values) == len(rows) else None

    accuracy = share([row["accuracy"] for row in rows])
    assert accuracy is not None
    return Method(
        name=name,
        accuracy=accuracy,
        decodes=sum(row["decodes"] for row in rows) / len(rows),
        over_single=difference("against_single"),
        over_equal_cost=difference("against_equal_cost"),
    )


def _sentence(one: Method) -> str:
    assert one.over_single is not None
    said = f"{one.name} at {one.decodes:.1f} decodes against one answer of the best pair: {_verdict(one.over_single)}"
    if one.over_equal_cost is not None:
        said += f"; against self-consistency at equal cost: {_verdict(one.over_equal_cost)}"
    return f"{said}."


def _verdict(value: Estimate) -> str:
    words = {1: "above", -1: "below", 0: "no difference shown"}[claim(value)]
    return f"{words} ({interval(value, sign=True)} points over {value.n} seeds)"


def _part(title: str, found: Mapping[str, Sequence[Method]], titles: Mapping[str, str]) -> Part:
    charts = [
        Chart(
            kind="dots",
            caption=f"{titles[name]}: accuracy of each way to answer, 95 % intervals over seeds.",
            x="accuracy, %",
            dots={f"{one.name} ({one.decodes:.1f})": one.accuracy for one in rows},
        )
        for name, rows in found.items()
    ]
    table = Table(
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
                interval(one.accuracy),
                *(interval(value, sign=True) if value else None for value in (one.over_single, one.over_equal_cost)),
            ]
            for name, rows in found.items()
            for one in rows
        ],
        note="Mean over seeds with Student's 95 % t interval, where there are four or more; differences in points, paired by "
        "question and seed.",
    )
    return Part(title=f"Ways to answer: {title}", charts=charts, tables=[table])
