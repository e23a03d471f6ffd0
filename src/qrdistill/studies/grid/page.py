"""From a study's figures to the page that shows them: words claim no more than the intervals do."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from qrdistill import __version__
from qrdistill.report.study_page import (
    Arm,
    Comparison,
    Estimate,
    Metric,
    Part,
    StudyResults,
    Table,
    write_study_report,
)
from qrdistill.runs.load_config import dump_config
from qrdistill.studies.grid.study import Setup

METRICS = (
    Metric(key="styled", label="told its style"),
    Metric(key="free", label="free", plot=False),
    Metric(key="vote", label="weighted vote", plot=False),
)
COSTS = (
    Metric(key="tokens", label="trained tokens", share=False, plot=False),
    Metric(key="equivalents", label="token-equivalents", share=False, plot=False),
    Metric(key="seconds", label="seconds", share=False, plot=False),
)
UNTUNED = "Learning rate and steps are the config's for every arm, not tuned; an arm may do better with its own."


def estimate(value: Mapping[str, Any] | None) -> Estimate | None:
    if value is None:
        return None
    finite = abs(value["low"]) < 1e9
    return Estimate(
        value=value["estimate"],
        low=value["low"] if finite else None,
        high=value["high"] if finite else None,
        n=value["n"],
    )


def sentence(row: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """One comparison in words; 'no difference shown' unless its interval excludes zero."""
    spread = f"95 % interval {100 * row['low']:+.1f} to {100 * row['high']:+.1f}, {row['positive']} of {row['n']} seeds ahead"
    points = f"{100 * row['difference']:+.1f} points ({spread if isfinite(row['low']) else 'one seed, no interval'})"
    verdict = "no difference shown"
    if row["claims"]:
        verdict = "yes" if row["difference"] > 0 else "no, it costs accuracy"
    first, second = titles.get(row["first"], row["first"]), titles.get(row["second"], row["second"])
    return f"{row['question']} {verdict[0].upper()}{verdict[1:]}: {first} over {second} {points}."


def write_pages(
    setup: Setup,
    result: Mapping[str, Any],
    title: str,
    question: str,
    parts: Sequence[Part] = (),
    *,
    findings: Sequence[str] = (),
    caveats: Sequence[str] = (),
    warnings: Sequence[str] = (),
    brief: bool = False,
) -> Path:
    """One page for the study: the first condition's table on top, the others as parts below it.

    `findings` stand before the answers to the comparisons' questions, `parts` after the conditions.
    `brief`: only the first condition's answers stand in the summary.
    """
    titles = {name: text for name, (text, _) in result["arms"].items()}
    conditions = list(result["conditions"].values())
    first, others = conditions[0], conditions[1:]
    answers = [
        f"{condition['title']}: {sentence(row, titles)}" if len(conditions) > 1 else sentence(row, titles)
        for condition in conditions[: 1 if brief else None]
        for row in condition["comparisons"]
        if row["mode"] == "styled"
    ]
    students = sorted(
        {name for condition in conditions for arm in condition["arms"].values() for name in arm["students"]}
    )
    metrics = [*METRICS, *(Metric(key=f"styled/{name}", label=name, plot=False) for name in students), *COSTS]
    page = StudyResults(
        name=result["study"],
        title=title,
        question=question,
        findings=[*findings, *answers],
        caveats=[*caveats, *([] if result["tuned"] else [UNTUNED])],
        warnings=list(warnings),
        provenance={
            "command": " ".join(["qrdistill", *sys.argv[1:]]),
            "version": __version__,
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "seeds": ", ".join(map(str, result["seeds"])),
            "workers": str(setup.workers),
            "cores": str(os.cpu_count()),
        },
        metrics=metrics,
        arms=_arms(first, titles, result),
        reference="best-single" if "best-single" in first["arms"] else None,
        comparisons=[
            Comparison(
                first=row["first"],
                second=row["second"],
                metric="styled",
                difference=row["difference"],
                low=row["low"],
                high=row["high"],
                n=row["n"],
                positive=row["positive"],
            )
            for row in first["comparisons"]
            if row["mode"] == "styled" and isfinite(row["low"])
        ],
        parts=[*(_condition(condition, titles, students) for condition in others), *parts],
        config_text=dump_config(setup.config),
    )
    return write_study_report(page, setup.folder / "report.html")


def _arms(condition: Mapping[str, Any], titles: Mapping[str, str], result: Mapping[str, Any]) -> list[Arm]:
    rows: list[Arm] = []
    for name, arm in condition["arms"].items():
        figures = {key: value for key in ("styled", "free", "vote") if (value := estimate(arm[key])) is not None}
        for student, facts in arm["students"].items():
            figures[f"styled/{student}"] = Estimate(value=facts["styled"], n=figures["styled"].n)
        figures["tokens"] = Estimate(value=sum(facts["tokens"] for facts in arm["students"].values()))
        figures["equivalents"] = Estimate(value=arm["equivalents"])
        figures["seconds"] = Estimate(value=arm["seconds"])
        facts = {"tuned": arm["tuned"]} if arm["tuned"] else {}
        rows.append(Arm(name=name, title=titles[name], group=result["arms"][name][1], figures=figures, facts=facts))
    return rows


def _condition(condition: Mapping[str, Any], titles: Mapping[str, str], students: Sequence[str]) -> Part:
    arms = [
        [
            titles[name],
            interval(arm["styled"]),
            interval(arm["free"]),
            interval(arm["vote"]),
            *(
                f"{100 * arm['students'][student]['styled']:.1f}" if student in arm["students"] else None
                for student in students
            ),
            round(sum(facts["tokens"] for facts in arm["students"].values())),
            round(arm["equivalents"]),
            arm["tuned"],
        ]
        for name, arm in condition["arms"].items()
    ]
    return Part(
        title=condition["title"],
        tables=[
            Table(
                title=f"Arms: {condition['title']}",
                columns=[
                    "arm",
                    "told its style, %",
                    "free, %",
                    "weighted vote, %",
                    *students,
                    "trained tokens",
                    "token-equivalents",
                    "tuned",
                ],
                rows=[list(row) for row in arms],
                note="Mean over students and seeds with Student's 95 % t interval over seeds.",
            ),
            Table(
                title=f"Comparisons: {condition['title']}",
                columns=["question", "first", "second", "decoding", "points", "low", "high", "seeds ahead"],
                rows=[
                    [
                        row["question"],
                        titles[row["first"]],
                        titles[row["second"]],
                        row["mode"],
                        *(
                            round(100 * row[key], 1) if isfinite(row[key]) else None
                            for key in ("difference", "low", "high")
                        ),
                        f"{row['positive']}/{row['n']}",
                    ]
                    for row in condition["comparisons"]
                ],
            ),
        ],
    )


def interval(value: Mapping[str, Any] | None, *, sign: bool = False) -> str:
    """A share as per cent with its interval, where it has a finite one."""
    if value is None:
        return "-"
    plus = "+" if sign else ""
    if not isfinite(value["low"]) or abs(value["low"]) > 1e9:
        return f"{100 * value['estimate']:{plus}.1f}"
    return f"{100 * value['estimate']:{plus}.1f} ({100 * value['low']:{plus}.1f} to {100 * value['high']:{plus}.1f})"
