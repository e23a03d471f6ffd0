"""The end of every study: words and provenance are added to its figures, study.json and the page are written."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite

from qrdistill import __version__
from qrdistill.base.store import write_text
from qrdistill.report.study_page import write_study_report
from qrdistill.report.study_results import Estimate, Line, Part, StudyResults
from qrdistill.report.study_words import answer
from qrdistill.runs.load_config import dump_config
from qrdistill.scores.statistics import over_seeds
from qrdistill.studies.grid.study import Results, Setup

UNTUNED = "Learning rate and steps are the config's for every arm, not tuned; an arm may do better with its own."


def write_figures(setup: Setup, result: StudyResults) -> None:
    """Writes study.json as it stands: what a killed study has found so far remains readable."""
    write_text(setup.folder / "study.json", result.model_dump_json(indent=1) + "\n")


def finish(
    setup: Setup,
    result: Results,
    parts: Sequence[Part] = (),
    *,
    findings: Sequence[str] = (),
    caveats: Sequence[str] = (),
    warnings: Sequence[str] = (),
    brief: bool = False,
    trained: bool = True,
) -> Results:
    """Writes study.json and report.html and returns what they hold.

    `findings` stand before the answers to the comparisons' questions, `parts` after the conditions.
    `brief`: only the first condition's answers stand in the summary. `trained`: whether the study trains at all.
    """
    titles, conditions = result.titles(), list(result.conditions.values())
    answers = [
        f"{condition.title}: {answer(row, titles)}" if len(conditions) > 1 else answer(row, titles)
        for condition in conditions[: 1 if brief else None]
        for row in condition.comparisons
        if row.mode == "styled"
    ]
    whole = result.having(
        findings=[*findings, *answers],
        caveats=[*caveats, *([UNTUNED] if trained and not result.tuned else [])],
        warnings=list(warnings),
        provenance={
            "command": " ".join(["qrdistill", *sys.argv[1:]]),
            "version": __version__,
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "seeds": ", ".join(map(str, result.seeds)),
            "workers": str(setup.workers),
            "cores": str(os.cpu_count()),
        },
        parts=list(parts),
        config_text=dump_config(setup.config),
    )
    write_figures(setup, whole)
    write_study_report(whole, setup.folder / "report.html")
    return whole


def line_over_seeds(
    label: str,
    x: Sequence[float],
    values: Sequence[Sequence[float]],
    *,
    scale: float = 1.0,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Line:
    """A curve of means; `values`: per point, one figure per seed, within `bounds`. Bars where all have intervals."""
    found = [over_seeds(point, bounds=bounds) for point in values]
    bars = all(isfinite(one.low) and isfinite(one.high) for one in found)
    return Line(
        label=label,
        x=list(x),
        y=[scale * one.estimate if isfinite(one.estimate) else None for one in found],
        low=[scale * one.low for one in found] if bars else None,
        high=[scale * one.high for one in found] if bars else None,
    )


def line_of_estimates(label: str, x: Sequence[float], values: Sequence[Estimate]) -> Line:
    """A curve of shares in per cent; bars where every point has an interval."""
    ends = [(value.low, value.high) for value in values if value.low is not None and value.high is not None]
    bars = len(ends) == len(values)
    return Line(
        label=label,
        x=list(x),
        y=[100 * value.estimate for value in values],
        low=[100 * low for low, _ in ends] if bars else None,
        high=[100 * high for _, high in ends] if bars else None,
    )
