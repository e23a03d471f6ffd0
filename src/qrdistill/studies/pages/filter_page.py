"""The filter study's sections: reliability, sensitivity, pruning, audits, and paths to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qrdistill.report.study_results import Cell, Chart, Part, StudyResults, Table
from qrdistill.report.study_words import interval
from qrdistill.studies.grid.page import line_of_estimates
from qrdistill.studies.measures.filter_reliability import (
    AuditFigures,
    CheckFigures,
    Pruning,
    RuleChoice,
    Shown,
    ThresholdChoice,
)

if TYPE_CHECKING:
    from qrdistill.studies.filter import FilterResults

LONGEST = 600  # characters of a path that the page shows
CHECK = ["precision, %", "recall, %", "bad paths caught, %", "kappa", "undecided", "paths"]


def parts(result: FilterResults, shown: Sequence[Shown]) -> list[Part]:
    titles = result.titles()
    sections = [_reliability(result, titles)] if result.reliability else []
    tables = [_rule(result.rule)] if result.rule else []
    tables += [_thresholds(result.thresholds)] if result.thresholds else []
    sections += [Part(title="Chosen on one half, measured on the other", tables=tables)] if tables else []
    sections += [_sensitivity(result)] if any(name.startswith("judge-") for name in titles) else []
    return [*sections, _pruning(result.pruning, titles), _audits(result.audits), _to_read(shown)]


def _reliability(result: FilterResults, titles: Mapping[str, str]) -> Part:
    planted = ", ".join(f"{count} {label}" for label, count in result.planted.items())
    whole = {titles[name]: checkers["filter"] for name, checkers in result.reliability.items()}
    shares = {
        "precision": {title: one.precision for title, one in whole.items() if one.precision},
        "recall": {title: one.recall for title, one in whole.items() if one.recall},
    }
    return Part(
        title="Against the truth",
        text=[f"The truth is known of {result.labelled} paths: {planted}."],
        charts=[
            Chart(kind="dots", caption=f"The whole filter's {key}, Wilson 95 % intervals.", dots=dots, x=f"{key}, %")
            for key, dots in shares.items()
        ],
        tables=[
            Table(
                title="Every check",
                columns=["filter", "check", *CHECK],
                rows=[
                    [titles[name], checker, *check_cells(one)]
                    for name, checkers in result.reliability.items()
                    for checker, one in checkers.items()
                ],
                note="Precision: kept paths that are sound. Recall: sound paths that are kept. The answer check "
                "alone is right to keep a spurious path whose answer is right. Wilson 95 % intervals, kappa by bootstrap.",
            )
        ],
    )


def _rule(rule: RuleChoice) -> Table:
    halves = {"calibration": rule.calibration, "held out": rule.held_out}
    return Table(
        title="How three votes of a judge with 15 % errors are combined",
        columns=["rule", "half", *CHECK],
        rows=[
            [f"{name}{' (chosen)' if name == rule.chosen else ''}", half, *check_cells(one)]
            for half, found in halves.items()
            for name, one in found.items()
        ],
        note="Chosen by kappa on the calibration half of the questions; the held-out half says what it is worth.",
    )


def _thresholds(found: Sequence[ThresholdChoice]) -> Table:
    return Table(
        title="A judge's confidence threshold",
        columns=["judge", "filter.threshold", "half", *CHECK],
        rows=[
            [one.judge, one.threshold, half, *check_cells(figures)]
            for one in found
            for half, figures in (("calibration", one.calibration), ("held out", one.held_out))
        ],
        note="The lowest confidence with 95 % precision on the calibration half of the questions.",
    )


def _sensitivity(result: StudyResults) -> Part:
    condition = next(iter(result.conditions.values()))
    errors = sorted(
        (int(name.removeprefix("judge-")), figures)
        for name, figures in condition.arms.items()
        if name.removeprefix("judge-").isdigit()
    )
    curves = {
        "prompted style": [(error, one.styled) for error, one in errors],
        "free": [(error, one.free) for error, one in errors],
    }
    lines = [
        line_of_estimates(label, [float(error) for error, _ in found], [value for _, value in found if value])
        for label, found in curves.items()
        if all(value for _, value in found)
    ]
    return Part(
        title="What the judge's errors cost",
        text=["Everyone is trained on every path that the filter keeps; only the filter differs."],
        charts=[
            Chart(
                kind="curves",
                caption="Mean accuracy of the students over the share of judge verdicts that are turned around; bars: 95 % intervals over seeds.",
                x="judge errors, %",
                y="accuracy, %",
                lines=lines,
            )
        ],
    )


def _pruning(found: Mapping[str, Pruning], titles: Mapping[str, str]) -> Part:
    styles = list(dict.fromkeys(style for one in found.values() for style in one.styles))
    rows: list[list[Cell]] = [
        [
            titles[name],
            interval(one.kept),
            interval(one.emptied),
            *(f"{100 * one.styles[style].estimate:.0f}" if style in one.styles else None for style in styles),
            len(one.alarms),
        ]
        for name, one in found.items()
    ]
    table = Table(
        title="Kept paths",
        columns=[
            "filter",
            "paths kept, %",
            "questions without a path, %",
            *(f"{style}, % kept" for style in styles),
            "alarms",
        ],
        rows=rows,
        note="Over all seeds. The alarms stand at the top of the page.",
    )
    return Part(title="How much is left", tables=[table])


def _audits(found: Sequence[AuditFigures]) -> Part:
    rows: list[list[Cell]] = [
        [
            one.title,
            interval(one.agree),
            None if one.kappa is None else round(one.kappa, 3),
            one.n,
            "; ".join(f"{a} / {b}: {count}" for a, b, count in one.table if a != b)
            or f"{len(one.disagreements)} shown below",
        ]
        for one in found
    ]
    return Part(
        title="A second checker",
        text=["Where two checkers of the same paths disagree, at least one of them is wrong."],
        tables=[
            Table(
                title="Agreement of two checkers",
                columns=["checkers", "agree, %", "kappa", "paths", "how they differ"],
                rows=rows,
            )
        ],
    )


def _to_read(shown: Sequence[Shown]) -> Part:
    return Part(
        title="Paths to read",
        text=[
            "A sample of what the filter rejected, and of what two checkers disagree over: read it before you rely on the filter."
        ],
        tables=[
            Table(
                title="Rejected and disputed paths",
                columns=["check", "reason", "truth", "question", "gold", "style", "path"],
                rows=[
                    [
                        one.check,
                        one.reason,
                        one.label,
                        one.question.question,
                        one.question.gold,
                        one.path.style,
                        _short(one.path.text),
                    ]
                    for one in shown
                ],
            )
        ],
    )


def _short(text: str) -> str:
    joined = " ⏎ ".join(line.strip() for line in text.splitlines() if line.strip())
    return joined if len(joined) <= LONGEST else f"{joined[: LONGEST - 1]}…"


def check_cells(one: CheckFigures) -> list[Cell]:
    """The cells under the columns `CHECK`."""
    shares = [interval(value) if value else None for value in (one.precision, one.recall, one.caught)]
    return [*shares, interval(one.kappa, scale=1.0, digits=2), one.undecided, one.n]
