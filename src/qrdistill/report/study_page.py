"""`write_study_report`: a study's results as one HTML page.

A difference is called one only where its interval over seeds excludes zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qrdistill.base.store import write_text
from qrdistill.base.untrusted.redact import redact
from qrdistill.report.report import render, viewer_context
from qrdistill.report.study_results import ArmFigures, Chart, Comparison, Condition, Estimate, Part, StudyResults, Table
from qrdistill.report.study_words import claim, interval
from qrdistill.report.viewer import charts_data
from qrdistill.report.viewer.charts_data import Box, Boxes, Curve, Mark
from qrdistill.report.viewer.page import embedded, with_scripts

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
    boxes = Boxes()
    html = redact(render("study.html.j2", **study_context(study, boxes), **viewer_context(True, "charts")))
    write_text(target, with_scripts(html, {"charts-data": embedded(boxes.places)}, "charts"))
    return target


def study_context(study: StudyResults, boxes: Boxes) -> dict[str, Any]:
    """What the template shows; its charts are put into `boxes`."""
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
    return {
        "study": study,
        "arms": rows,
        "reference": REFERENCE,
        "titles": titles,
        "facts": list(dict.fromkeys(key for row in rows for key in row.facts)),
        "metrics": [*METRICS, *(Metric(f"styled/{name}", name) for name in students), *COSTS],
        "comparisons": [(row, claim(row)) for row in differences],
        "arms_place": boxes.put("arms", _estimates(rows, list(order))),
        "differences_place": boxes.put("differences", _differences(differences, titles)),
        "parts": [
            (part, boxes.put(f"part-{at}", [box for chart in part.charts for box in _boxes(chart)]))
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


def _estimates(arms: Sequence[Row], groups: Sequence[str]) -> list[Box]:
    rows = [
        _mark(arm.title, arm.figures["styled"], groups.index(arm.group), hollow=arm.name == REFERENCE)
        for arm in arms
        if "styled" in arm.figures
    ]
    note = f"95 % intervals where there are any. Colours: {', '.join(g or 'all' for g in groups)}."
    if any(row.hollow for row in rows):
        note += " Hollow: the reference."
    return charts_data.estimates("Prompted style", note, rows)


def _differences(found: Sequence[Comparison], titles: Mapping[str, str]) -> list[Box]:
    seconds = {titles.get(row.second, row.second) for row in found}
    rows = [
        Mark(
            titles.get(row.first, row.first)
            + ("" if len(seconds) == 1 else f" − {titles.get(row.second, row.second)}"),
            row.difference,
            row.low,
            row.high,
            row.by_seed,
            hollow=not claim(row),
            n=f"interval over {row.over}; " * bool(row.over) + f"first ahead in {row.positive} of {row.n} seeds",
        )
        for row in found
    ]
    against = f", minus {seconds.pop()}" if len(seconds) == 1 else ""
    note = "Paired differences in points with 95 % intervals; small strokes: the seeds. Hollow: nothing is shown of other seeds."
    return charts_data.estimates(f"Prompted style{against}", note, rows, differences=True)


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


def _mark(label: str, value: Estimate, series: int, *, hollow: bool = False) -> Mark:
    n = f"n = {value.n}" if value.n > 1 else ""
    return Mark(label, value.estimate, value.low, value.high, value.by_seed, series, hollow, n)


def _boxes(chart: Chart) -> list[Box]:
    """The chart's first sentence is its title, the others stand below."""
    title, dot, note = chart.caption.partition(". ")
    title += "." * bool(dot)
    if chart.kind == "curves":
        lines = {line.label: Curve(line.x, line.y, line.low, line.high) for line in chart.lines}
        return charts_data.curves(title, note, lines, x=chart.x, y=chart.y)
    if chart.kind == "heat":
        panels = {panel.label: panel.cells for panel in chart.panels}
        return charts_data.heat(chart.caption, chart.rows, panels, chart.edges)
    rows = [_mark(label, value, 0) for label, value in chart.dots.items()]
    return charts_data.estimates(title, note, rows, head=chart.x or "estimate, %")
