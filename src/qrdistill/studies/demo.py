"""The demo: the whole method on the embedded default, beside the untrained students and the recommended recipe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from qrdistill.base.progress import Progress
from qrdistill.report.demo_page import ArmRow, write_demo_page
from qrdistill.runs.config import Config
from qrdistill.runs.load_config import load_config
from qrdistill.studies.grid.outcomes import outcome
from qrdistill.studies.grid.run_grid import run_grid

_TITLES = {
    "base": "untrained",
    "learned": "routing + mutual",
    "recipe": "style + own paths",
}


@dataclass(frozen=True)
class Demo:
    rows: list[ArmRow]
    report: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def print_table(self) -> None:
        table = Table(
            title="accuracy on unseen questions, % (95 % interval)",
            title_justify="left",
            box=None,
            padding=(0, 1, 0, 0),
        )
        table.add_column("", no_wrap=True)
        for name in self.rows[0].students:
            table.add_column(name, no_wrap=True)
        for column in ("mean", "vote", "tokens", "s"):
            table.add_column(column, justify="right", no_wrap=True)
        for row in self.rows:
            cells = [_percent(score) for score in row.students.values()]
            table.add_row(
                row.title,
                *cells,
                f"{100 * row.mean:.1f}",
                _percent(row.vote),
                f"{row.tokens:,}",
                f"{row.seconds:.0f}",
            )
        Console().print(table)
        print(f"report: {self.report}\nall runs: {Path(self.report).parent} ({self.seconds:.0f} s in all)")


def demo(run_dir: Path, *, seed: int = 0, overrides: Sequence[str] = (), progress: Progress) -> Demo:
    """Runs the arms side by side; the same call resumes. Raises QRDistillError."""
    begun = time.monotonic()
    runs = run_grid(arms(seed, overrides), run_dir, progress=progress, narrate=True)
    rows = [_row(arm, seed, runs[arm].folder, runs[arm].scores) for arm in _TITLES]
    page = write_demo_page(run_dir, rows, base="base")
    return Demo(rows, str(page), time.monotonic() - begun)


def arms(seed: int, overrides: Sequence[str] = ()) -> dict[str, Config]:
    """The demo's runs, the longest first; each trains on as many paths.

    Less training than this, and learned routing ends below where it began. Every style for everyone, its baseline, would
    take a third of the demo's time more; the arm `all` of `qrdistill study ablation` is that.
    """
    common = {
        "name": "demo",
        "seed": seed,
        "questions": {"dev": 50, "test": 250},
        "train": {"steps": 80, "paths_per_step": 64},
        "evaluate": {"free": False, "vote_styles": 2, "max_tokens": 96},
    }
    own = ["own_paths.rounds=1", "own_paths.samples=2", "own_paths.max_tokens=96"]
    return {
        "recipe": load_config(common, ["router.kind=best_style", *own, *overrides]),
        "learned": load_config(common, ["mutual.weight=0.1", *overrides]),
        "base": load_config(common, [*overrides, "train.steps=0"]),
    }


def _row(arm: str, seed: int, folder: Path, scores: dict[str, Any]) -> ArmRow:
    students = {row["student"]: row["styled"] for row in scores["headlines"] if not row["base"]}
    votes = [row for row in scores["ensembles"] if row["method"] == "weighted"]
    found = outcome(arm, seed, folder)
    accuracies = [score["accuracy"] for score in students.values()]
    return ArmRow(
        arm,
        _TITLES[arm],
        students,
        sum(accuracies) / len(accuracies),
        votes[-1] if votes else None,
        sum(found.tokens.values()),
        found.seconds,
    )


def _percent(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return "-"
    return f"{100 * score['accuracy']:.1f} ({100 * score['low']:.0f}-{100 * score['high']:.0f})"
