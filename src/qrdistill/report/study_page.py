"""`write_study_report`: a grid of runs as one HTML page, and `StudyResults`, the data it shows.

The same data is what a study writes as JSON beside the page: every figure with its n and interval. A
difference is called one only where its interval excludes zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from qrdistill.base.records import Record
from qrdistill.base.redact import redact
from qrdistill.base.store import write_text
from qrdistill.report import charts
from qrdistill.report.charts import Dot, Figure
from qrdistill.report.report import render


class Estimate(Record):
    """A figure over `n` seeds (or questions, or paths: the metric says which) with its 95 % interval."""

    value: float
    low: float | None = None  # None: a plain figure, such as a cost
    high: float | None = None
    n: int = 1


class Metric(Record):
    """A column of the table. `share` figures are shown in per cent, differences in points."""

    key: str  # "styled", "free", "vote", "styled/anna", "tokens", ...
    label: str
    share: bool = True
    plot: bool = True  # draw the arms' estimates and, where there are any, the differences


class Arm(Record):
    """A row: what was run, and what came out."""

    name: str
    title: str
    group: str = ""  # rows stand together by group, in the order first seen
    figures: dict[str, Estimate] = Field(default_factory=dict[str, Estimate])  # metric key -> estimate
    facts: dict[str, str] = Field(default_factory=dict[str, str])  # more columns, as text: tuning, cost


class Comparison(Record):
    """first - second in one metric, paired over the same seeds (or questions)."""

    first: str  # arm names
    second: str
    metric: str
    difference: float
    low: float
    high: float
    n: int
    positive: int | None = None  # pairs in which the first is ahead
    p: float | None = None


class Table(Record):
    title: str
    columns: list[str]
    rows: list[list[str | float | int | None]]
    note: str = ""


class Line(Record):
    label: str
    x: list[float]
    y: list[float]
    low: list[float] | None = None  # the ends of each point's interval, drawn as bars
    high: list[float] | None = None


class Panel(Record):
    """One square of a heat map: cells[row][column] between 0 and 1."""

    label: str
    cells: list[list[float | None]]


class Chart(Record):
    """A figure. `curves`: lines. `dots`: estimates by label. `heat`: panels, rows, edges of the columns."""

    kind: Literal["curves", "dots", "heat"]
    caption: str
    x: str = ""
    y: str = ""
    lines: list[Line] = Field(default_factory=list[Line])
    dots: dict[str, Estimate] = Field(default_factory=dict[str, Estimate])
    panels: list[Panel] = Field(default_factory=list[Panel])
    rows: list[str] = Field(default_factory=list[str])
    edges: list[int] = Field(default_factory=list[int])


class Part(Record):
    """A section of its own: words, then charts, then tables."""

    title: str
    text: list[str] = Field(default_factory=list[str])
    charts: list[Chart] = Field(default_factory=list[Chart])
    tables: list[Table] = Field(default_factory=list[Table])


class StudyResults(Record):
    """All that a study page shows. Only `name` and `title` must be given."""

    name: str  # ablation, samples, ...
    title: str
    question: str = ""  # what the study asks, one sentence
    findings: list[str] = Field(default_factory=list[str])  # the answer, in sentences
    caveats: list[str] = Field(default_factory=list[str])  # what the figures do not show
    provenance: dict[str, str] = Field(default_factory=dict[str, str])  # command, commit, date, seeds, ...
    metrics: list[Metric] = Field(default_factory=list[Metric])
    arms: list[Arm] = Field(default_factory=list[Arm])
    reference: str | None = None  # the arm that others are compared with
    comparisons: list[Comparison] = Field(default_factory=list[Comparison])
    parts: list[Part] = Field(default_factory=list[Part])
    warnings: list[str] = Field(default_factory=list[str])
    config_text: str = ""


def write_study_report(results: StudyResults | Mapping[str, Any], target: Path) -> Path:
    """Writes the page and returns `target`; the same results give the same bytes.

    Raises pydantic.ValidationError where a mapping does not fit `StudyResults`.
    """
    study = results if isinstance(results, StudyResults) else StudyResults.model_validate(results)
    write_text(target, redact(render("study.html.j2", **study_context(study))))
    return target


def study_context(study: StudyResults) -> dict[str, Any]:
    titles = {arm.name: arm.title for arm in study.arms}
    order = {name: place for place, name in enumerate(dict.fromkeys(arm.group for arm in study.arms))}
    arms = sorted(study.arms, key=lambda arm: order[arm.group])
    return {
        "study": study,
        "arms": arms,
        "titles": titles,
        "facts": list(dict.fromkeys(key for arm in arms for key in arm.facts)),
        "metrics": {metric.key: metric for metric in study.metrics},
        "estimate_figures": [
            figure
            for number, metric in enumerate(study.metrics)
            if metric.plot and (figure := _estimates(study, arms, metric, number, list(order)))
        ],
        "difference_figures": [
            figure
            for number, metric in enumerate(study.metrics)
            if metric.plot and metric.share and (figure := _differences(study, metric, number, titles))
        ],
        "parts": [
            (part, [_chart(chart, f"part-{at}-{number}") for number, chart in enumerate(part.charts)])
            for at, part in enumerate(study.parts)
        ],
    }


def _estimates(study: StudyResults, arms: list[Arm], metric: Metric, number: int, groups: list[str]) -> Figure | None:
    rows = [
        _dot(arm.title, arm.figures[metric.key], groups.index(arm.group), hollow=arm.name == study.reference)
        for arm in arms
        if metric.key in arm.figures
    ]
    if not rows:
        return None
    scale = 1.0 if metric.share else 0.01
    rows = [
        Dot(row.label, row.value * scale, row.low * scale, row.high * scale, row.series, row.hollow) for row in rows
    ]
    caption = f"{_sentence(metric.label)}, 95 % intervals. Colours: {', '.join(g or 'all' for g in groups)}."
    if any(row.hollow for row in rows):
        caption += " Hollow: the reference."
    return charts.dots(f"estimate-{number}", caption, rows, unit="%" if metric.share else metric.label)


def _differences(study: StudyResults, metric: Metric, number: int, titles: Mapping[str, str]) -> Figure | None:
    found = [one for one in study.comparisons if one.metric == metric.key]
    if not found:
        return None
    seconds = {one.second for one in found}
    rows = [
        Dot(
            titles.get(one.first, one.first)
            + ("" if len(seconds) == 1 else f" − {titles.get(one.second, one.second)}"),
            one.difference,
            one.low,
            one.high,
            series=0,
            hollow=one.low <= 0 <= one.high,
        )
        for one in found
    ]
    against = f", minus {titles.get(found[0].second, found[0].second)}" if len(seconds) == 1 else ""
    caption = f"{_sentence(metric.label)}{against}: paired differences with 95 % intervals. Hollow: the interval includes zero."
    return charts.dots(f"difference-{number}", caption, rows, unit="points")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _dot(label: str, estimate: Estimate, series: int, *, hollow: bool = False) -> Dot:
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    return Dot(label, estimate.value, low, high, series, hollow)


def _chart(chart: Chart, name: str) -> Figure:
    if chart.kind == "curves":
        lines = {line.label: (line.x, line.y) for line in chart.lines}
        bars = {line.label: (line.low, line.high) for line in chart.lines if line.low and line.high}
        return charts.curves(name, chart.caption, lines, x=chart.x, y=chart.y, bars=bars)
    if chart.kind == "heat":
        panels = {panel.label: panel.cells for panel in chart.panels}
        return charts.heat(name, chart.caption, chart.rows, panels, chart.edges)
    rows = [_dot(label, estimate, 0) for label, estimate in chart.dots.items()]
    return charts.dots(name, chart.caption, rows, unit=chart.x or "%")
