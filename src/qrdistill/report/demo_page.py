"""The demo's page: its arms side by side, with what each gains over the untrained students, and links to their pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrdistill.base.store import write_text
from qrdistill.base.untrusted.redact import redact
from qrdistill.report.report import render, viewer_context
from qrdistill.report.viewer.charts_data import Boxes, Mark, estimates
from qrdistill.report.viewer.page import embedded, with_scripts
from qrdistill.scores.compare import compare


@dataclass(frozen=True)
class ArmRow:
    """One arm: `students` are headline scores as in scores.json, `mean` is over them, `vote` the weighted one's score."""

    arm: str
    title: str
    students: Mapping[str, Mapping[str, Any]]
    mean: float
    vote: Mapping[str, Any] | None
    tokens: int
    seconds: float


def write_demo_page(folder: Path, rows: Sequence[ArmRow], *, base: str) -> Path:
    """Writes `report.html` beside the arms' folders; `base` names the untrained arm. Returns where it is."""
    names = list(rows[0].students)
    marks = [
        Mark(
            f"{row.title}, {name}",
            score["accuracy"],
            score["low"],
            score["high"],
            series=at,
            hollow=row.arm == base,
            n=f"{score['n']} questions",
        )
        for row in rows
        for at, name in enumerate(names)
        if (score := row.students.get(name))
    ]
    note = (
        "On unseen questions, prompted with the style that is best on dev; bars are 95 % intervals. Hollow: untrained."
    )
    boxes = Boxes()
    boxes.put("arms", estimates("Accuracy of every arm", note, marks))
    page = render(
        "demo.html.j2",
        rows=rows,
        names=names,
        base=base,
        gains={row.arm: _gain(folder, row.arm, base) for row in rows if row.arm != base},
        **viewer_context(True, "charts"),
    )
    target = folder / "report.html"
    write_text(target, with_scripts(redact(page), {"charts-data": embedded(boxes.places)}, "charts"))
    return target


def _gain(folder: Path, arm: str, base: str) -> dict[str, Any]:
    """Of the mean over the students, paired by question."""
    found = [row for row in compare([folder / arm, folder / base]) if ", styled" in row.first]
    return found[-1].model_dump()  # the mean over students closes the list; one student is its own mean
