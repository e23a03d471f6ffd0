"""Charts as data: what `assets/placed_charts.js` draws, each with the table that it also is.

A text in them is set as text by the page, wherever it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from qrdistill.report.sentences import percent, points

Box = dict[str, Any]  # one chart
Cells = Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class Mark:
    """An estimate, a share, with its interval or its seeds where it has any; `series` chooses the colour."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    seeds: Sequence[float] = ()
    series: int = 0
    hollow: bool = False
    n: str = ""
    """What stands behind it: "5 seeds"."""


@dataclass(frozen=True)
class Curve:
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass
class Boxes:
    """Charts by the place in the page where they stand."""

    places: dict[str, list[Box]] = field(default_factory=dict[str, list[Box]])

    def put(self, place: str, boxes: Sequence[Box]) -> str:
        """Adds charts there; the place's name, or "" where there is none to draw."""
        if not boxes:
            return ""
        self.places.setdefault(place, []).extend(boxes)
        return place


def estimates(
    title: str, note: str, rows: Sequence[Mark], *, head: str = "accuracy, %", differences: bool = False
) -> list[Box]:
    """A row per estimate; `differences`: in points, which may be negative. head: what is estimated. No rows: no chart."""
    shown = points if differences else percent

    def lines(row: Mark) -> list[str]:
        return [f"{row.label}: {shown(row.value)}", *filter(None, (between(row), seeds(row), row.n))]

    def between(row: Mark) -> str:
        if row.low is None or row.high is None:
            return ""
        return f"95\u202f% interval {shown(row.low)} to {shown(row.high)}"

    def seeds(row: Mark) -> str:
        return f"seeds {', '.join(map(shown, row.seeds))}" if len(row.seeds) > 1 else ""

    box = {
        "kind": "estimates",
        "title": title,
        "note": note,
        "points": differences,
        "rows": [
            {
                **{name: getattr(row, name) for name in ("label", "value", "low", "high", "series", "hollow")},
                "seeds": list(row.seeds) if len(row.seeds) > 1 else [],
                "lines": lines(row),
            }
            for row in rows
        ],
        "table": {
            "heads": ["", "difference, points" if differences else head, "95 % interval", "seeds", "from"],
            "rows": [
                [
                    row.label,
                    shown(row.value),
                    between(row).partition("interval ")[2] or None,
                    seeds(row).partition(" ")[2] or None,
                    row.n or None,
                ]
                for row in rows
            ],
        },
    }
    return [box] if rows else []


def curves(title: str, note: str, lines: Mapping[str, Curve], *, x: str, y: str) -> list[Box]:
    """Lines with bars where their points have intervals; the table has a row for every point."""
    rows = [
        [
            label,
            f"{at:.6g}",
            None if value is None else f"{value:.4g}",
            f"{line.low[place]:.4g} to {line.high[place]:.4g}" if line.low and line.high else None,
        ]
        for label, line in lines.items()
        for place, (at, value) in enumerate(zip(line.x, line.y, strict=True))
    ]
    box = {
        "kind": "curves",
        "title": title,
        "note": note,
        "x": x,
        "y": y,
        "lines": [
            {"label": label, "x": list(line.x), "y": list(line.y), "low": line.low, "high": line.high}
            for label, line in lines.items()
        ],
        "table": {"heads": ["", x or "x", y or "y", "95 % interval"], "rows": rows},
    }
    return [box] if rows else []


def heat(title: str, rows: Sequence[str], panels: Mapping[str, Cells], edges: Sequence[int]) -> list[Box]:
    """A chart per panel: cells[row][column] are shares, columns lie between the edges."""
    return [
        {
            "kind": "heat",
            "title": label,
            "note": title,
            "rows": list(rows),
            "edges": list(edges),
            "series": number,
            "cells": [list(row) for row in cells],
            "table": {
                "heads": ["", *(f"{start} to {stop}" for start, stop in pairwise(edges))],
                "rows": [
                    [name, *(None if share is None else percent(share, 0) for share in row)]
                    for name, row in zip(rows, cells, strict=True)
                ],
            },
        }
        for number, (label, cells) in enumerate(panels.items())
    ]
