"""study.json: every figure of a study, and all that its page shows.

A study with figures of its own (`studies/samples.py`, ...) extends `StudyResults` by typed fields. A share lies
between 0 and 1, an interval is a two-sided 95 % one, and what is unknown is None: JSON knows no infinity, no nan.
"""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from qrdistill.base.records import Record
from qrdistill.scores.paired import SeedDifference
from qrdistill.scores.statistics import Interval

VERSION = 2  # 1 had no version, plain figures without the questions behind them, and stood apart from the page

Mode = Literal["styled", "free", "vote", "consistency"]
Cell = str | float | int | None


class StudyRecord(Record):
    model_config = ConfigDict(allow_inf_nan=False)


class Estimate(StudyRecord):
    """A figure over `n` seeds (or questions, or paths), with its interval where there is one."""

    estimate: float
    low: float | None = None
    high: float | None = None
    n: int = 1
    by_seed: tuple[float, ...] = ()
    """Each seed's own figure, where `n` counts seeds."""


def estimated(interval: Interval, by_seed: Collection[float] = ()) -> Estimate | None:
    """None where the figure itself is not known."""
    if not isfinite(interval.estimate):
        return None
    ends = isfinite(interval.low) and isfinite(interval.high)
    return Estimate(
        estimate=interval.estimate,
        low=interval.low if ends else None,
        high=interval.high if ends else None,
        n=interval.n,
        by_seed=tuple(by_seed),
    )


class Outcome(StudyRecord):
    """One run. Accuracies are shares of the scored split per student."""

    arm: str
    seed: int
    styled: dict[str, float]
    """Each student in the style that dev shows best."""
    free: dict[str, float] = Field(default_factory=dict)
    """Each student in a form of its own choice."""
    dev: dict[str, float] = Field(default_factory=dict)
    vote: float | None = None
    consistency: float | None = None
    """Self-consistency of the best pair on dev, at as many decodes as the vote."""
    tokens: dict[str, int] = Field(default_factory=dict)
    """Trained on, per student."""
    equivalents: float = 0.0
    """Token-equivalents of the whole run: one token's forward pass is one, a trained token three."""
    seconds: float = 0.0
    questions: str = ""
    """A hash of the scored questions' ids; runs of one hash can be paired by place."""
    right: dict[Literal["styled", "free"], dict[str, str]] = Field(default_factory=dict)
    """Mode -> student -> "1" or "0" per scored question, in the order of their ids."""

    def mean(self, mode: Mode, of: Collection[str] | None = None) -> float | None:
        """Mean over the students, or those in `of`; `vote` and `consistency` are one figure of the run."""
        if mode in ("vote", "consistency"):
            return self.vote if mode == "vote" else self.consistency
        figures = self.styled if mode == "styled" else self.free
        values = [value for name, value in figures.items() if of is None or name in of]
        return sum(values) / len(values) if values else None

    def by_question(self, mode: Mode, of: Collection[str] | None = None) -> dict[str, float]:
        """Place of the question -> share of the students that are right; empty where the run does not say."""
        if mode in ("vote", "consistency") or mode not in self.right:
            return {}
        rows = [line for name, line in self.right[mode].items() if of is None or name in of]
        return {
            f"{self.questions}/{place}": marks.count("1") / len(rows)
            for place, marks in enumerate(zip(*rows, strict=True))
        }


class Comparison(SeedDifference):
    """One question, answered by the paired difference of two arms."""

    question: str = ""
    first: str
    """Arm names."""
    second: str
    mode: Mode = "styled"
    against: Mode | None = None
    """The second arm's mode, where it is another."""


class ArmTitle(StudyRecord):
    title: str
    group: str = ""
    """Rows of a table stand together by group, in the order first seen."""


class StudentFigures(StudyRecord):
    """Means over the seeds."""

    styled: float
    free: float | None = None
    tokens: float = 0.0


class ArmFigures(StudyRecord):
    """One arm under one condition, over its seeds."""

    tuned: str = ""
    """The settings that dev chose; empty: the config's own."""
    styled: Estimate | None = None
    free: Estimate | None = None
    vote: Estimate | None = None
    students: dict[str, StudentFigures] = Field(default_factory=dict)
    equivalents: float = 0.0
    seconds: float = 0.0
    runs: tuple[Outcome, ...] = ()


class Condition(StudyRecord):
    """One condition that all arms were run under."""

    title: str
    arms: dict[str, ArmFigures] = Field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()


class Table(StudyRecord):
    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""


class Line(StudyRecord):
    """`low` and `high`: the ends of each point's interval, drawn as bars. None: not known there."""

    label: str
    x: list[float]
    y: list[float | None]
    low: list[float] | None = None
    high: list[float] | None = None


class Panel(StudyRecord):
    """One square of a heat map: cells[row][column] between 0 and 1."""

    label: str
    cells: list[list[float | None]]


class Chart(StudyRecord):
    """A figure. `curves`: lines. `dots`: estimates by label. `heat`: panels, rows, edges of the columns."""

    kind: Literal["curves", "dots", "heat"]
    caption: str
    x: str = ""
    y: str = ""
    lines: list[Line] = Field(default_factory=list)
    dots: dict[str, Estimate] = Field(default_factory=dict)
    panels: list[Panel] = Field(default_factory=list)
    rows: list[str] = Field(default_factory=list)
    edges: list[int] = Field(default_factory=list)


class Part(StudyRecord):
    """A section of its own: words, then charts, then tables."""

    title: str
    text: list[str] = Field(default_factory=list)
    charts: list[Chart] = Field(default_factory=list)
    tables: list[Table] = Field(default_factory=list)


class StudyResults(StudyRecord):
    """The whole of study.json."""

    version: Literal[2] = VERSION
    study: str
    """ablation, samples, ..."""
    title: str = ""
    question: str = ""
    """What the study asks, one sentence."""
    seeds: tuple[int, ...] = ()
    tuned: bool = False
    arms: dict[str, ArmTitle] = Field(default_factory=dict)
    conditions: dict[str, Condition] = Field(default_factory=dict)
    """The page's tables show the first one on top."""
    findings: list[str] = Field(default_factory=list)
    """The answer, in sentences."""
    caveats: list[str] = Field(default_factory=list)
    """What the figures do not show."""
    warnings: list[str] = Field(default_factory=list)
    provenance: dict[str, str] = Field(default_factory=dict)
    """Command, version, date, ..."""
    parts: list[Part] = Field(default_factory=list)
    config_text: str = ""

    def titles(self) -> dict[str, str]:
        """Arm -> its title."""
        return {name: arm.title for name, arm in self.arms.items()}

    def having(self, **fields: Any) -> Self:
        """A copy with other values in some fields; raises pydantic.ValidationError as the constructor does."""
        return type(self).model_validate({**dict(self), **fields})
