"""`write_study_report`: a study's results as one HTML page.

A difference is called one only where its interval over seeds excludes zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

from qrdistill.base.store import write_text
from qrdistill.base.untrusted.redact import redact
from qrdistill.report import charts
from qrdistill.report.charts import Dot, Figure
from qrdistill.report.report import render
from qrdistill.report.study_results import ArmFigures, Chart, Comparison, Condition, Estimate, Part, StudyResults, Table
from qrdistill.report.study_words import claim, interval

REFERENCE = "best-single"  # the arm that is drawn hollow, where a study has it


@dataclass(frozen=True)
class Metric:
    """A column of the first condition's table; a `share` is shown in per cent."""

    key: str
    label: str
    share: bool = True


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    group: str
    figures: Mapping[str, Estimate]
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


METRICS = (Metric("styled", "prompted style"), Metric("free", "free"), Metric("vote", "weighted vote"))
COSTS = (
    Metric("tokens", "trained tokens", share=False),
    Metric("equivalents", "token-equivalents", share=False),
    Metric("seconds", "seconds", share=False),
)


def write_study_report(study: StudyResults, target: Path) -> Path:
    """Writes the page and returns `target`; the same results give the same bytes."""
    write_text(target, redact(render("study.html.j2", **study_context(study))))
    return target


def study_context(study: StudyResults) -> dict[str, Any]:
    titles = study.titles()
    conditions = list(study.conditions.values())
    first, others = (conditions[0], conditions[1:]) if conditions else (Condition(title=""), [])
    students = sorted({name for one in conditions for arm in one.arms.values() for name in arm.students})
    order = {name: place for place, name in enumerate(dict.fromkeys(arm.group for arm in study.arms.values()))}
    rows = sorted(
        (_row(name, arm, study) for name, arm in first.arms.items()), key=lambda row: order.get(row.group, len(order))
    )
    differences = [row for row in first.comparisons if row.mode == "styled"]
    parts = [*(_condition(one, titles, students) for one in others), *study.parts]
    drawn = _estimates(rows, list(order)), _differences(differences, titles)
    return {
        "study": study,
        "arms": rows,
        "reference": REFERENCE,
        "titles": titles,
        "facts": list(dict.fromkeys(key for row in rows for key in row.facts)),
        "metrics": [*METRICS, *(Metric(f"styled/{name}", name) for name in students), *COSTS],
        "comparisons": [(row, claim(row)) for row in differences],
        "estimate_figures": [drawn[0]] if drawn[0] else [],
        "difference_figures": [drawn[1]] if drawn[1] else [],
        "parts": [
            (part, [_chart(chart, f"part-{at}-{number}") for number, chart in enumerate(part.charts)])
            for at, part in enumerate(parts)
        ],
    }


def _row(name: str, arm: ArmFigures, study: StudyResults) -> Row:
    shares = {"styled": arm.styled, "free": arm.free, "vote": arm.vote}
    figures = {key: value for key, value in shares.items() if value is not None}
    seeds = arm.styled.n if arm.styled else 1
    for student, facts in arm.students.items():
        figures[f"styled/{student}"] = Estimate(estimate=facts.styled, n=seeds)
    figures["tokens"] = Estimate(estimate=sum(facts.tokens for facts in arm.students.values()))
    figures["equivalents"] = Estimate(estimate=arm.equivalents)
    figures["seconds"] = Estimate(estimate=arm.seconds)
    title = study.arms[name]
    return Row(name, title.title, title.group, figures, {"tuned": arm.tuned} if arm.tuned else {})


def _estimates(arms: Sequence[Row], groups: Sequence[str]) -> Figure | None:
    rows = [
        _dot(arm.title, arm.figures["styled"], groups.index(arm.group), hollow=arm.name == REFERENCE)
        for arm in arms
        if "styled" in arm.figures
    ]
    if not rows:
        return None
    caption = f"Prompted style, 95 % intervals where there are any. Colours: {', '.join(g or 'all' for g in groups)}."
    if any(row.hollow for row in rows):
        caption += " Hollow: the reference."
    return charts.dots("estimate-0", caption, rows, unit="%")


def _differences(found: Sequence[Comparison], titles: Mapping[str, str]) -> Figure | None:
    drawn = [row for row in found if row.low is not None]
    if not drawn:
        return None
    seconds = {titles.get(row.second, row.second) for row in drawn}
    rows = [
        Dot(
            titles.get(row.first, row.first)
            + ("" if len(seconds) == 1 else f" − {titles.get(row.second, row.second)}"),
            row.difference,
            row.difference if row.low is None else row.low,
            row.difference if row.high is None else row.high,
            series=0,
            hollow=not claim(row),
        )
        for row in drawn
    ]
    against = f", minus {seconds.pop()}" if len(seconds) == 1 else ""
    caption = (
        f"Prompted style{against}: paired differences with 95 % intervals. Hollow: nothing is shown of other seeds."
    )
    return charts.dots("difference-0", caption, rows, unit="points")


def _condition(condition: Condition, titles: Mapping[str, str], students: Sequence[str]) -> Part:
    labels = [f"{metric.label}, %" for metric in METRICS]
    arms = Table(
        title=f"Arms: {condition.title}",
        columns=["arm", *labels, *students, "trained tokens", "token-equivalents", "tuned"],
        rows=[
            [
                titles[name],
                *map(interval, (arm.styled, arm.free, arm.vote)),
                *(f"{100 * arm.students[one].styled:.1f}" if one in arm.students else None for one in students),
                round(sum(facts.tokens for facts in arm.students.values())),
                round(arm.equivalents),
                arm.tuned,
            ]
            for name, arm in condition.arms.items()
        ],
        note="Mean over students and seeds with Student's 95 % t interval over seeds; fewer than four seeds stand themselves.",
    )
    comparisons = Table(
        title=f"Comparisons: {condition.title}",
        columns=["question", "first", "second", "decoding", "points", "low", "high", "over", "seeds ahead"],
        rows=[
            [
                row.question,
                titles[row.first],
                titles[row.second],
                row.mode,
                *(None if value is None else round(100 * value, 1) for value in (row.difference, row.low, row.high)),
                row.over,
                f"{row.positive}/{row.n}",
            ]
            for row in condition.comparisons
        ],
    )
    return Part(title=condition.title, tables=[arms, comparisons])


def _dot(label: str, value: Estimate, series: int, *, hollow: bool = False) -> Dot:
    low = value.estimate if value.low is None else value.low
    high = value.estimate if value.high is None else value.high
    return Dot(label, value.estimate, low, high, series, hollow)


def _chart(chart: Chart, name: str) -> Figure:
    if chart.kind == "curves":
        lines = {line.label: (line.x, [nan if y is None else y for y in line.y]) for line in chart.lines}
        bars = {line.label: (line.low, line.high) for line in chart.lines if line.low and line.high}
        return charts.curves(name, chart.caption, lines, x=chart.x, y=chart.y, bars=bars)
    if chart.kind == "heat":
        panels = {panel.label: panel.cells for panel in chart.panels}
        return charts.heat(name, chart.caption, chart.rows, panels, chart.edges)
    rows = [_dot(label, value, 0) for label, value in chart.dots.items()]
    return charts.dots(name, chart.caption, rows, unit=chart.x or "%")
