"""How progress looks: a live rich display on a terminal, plain lines elsewhere.

What is said may quote servers, files and models: every text goes through `clean_text` on its way to a terminal.
"""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Iterable
from typing import IO

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from qrdistill.base.progress import Progress
from qrdistill.base.untrusted.clean_text import clean_text
from qrdistill.llm.live_counts import Board

LABELS = {
    "load": "Questions",
    "ask": "Teachers",
    "generate": "Paths",
    "filter": "Filter",
    "styles": "Styles",
    "embed": "Embeddings",
    "sample": "Own paths",
    "train": "Training",
    "evaluate": "Evaluation",
    "untrained": "Untrained",
    "report": "Report",
    "runs": "Runs",
}


def _facts(facts: dict[str, object]) -> str:
    said = (f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items())
    return clean_text("  ".join(said))


class _Bars(RichProgress):
    """Bars, and below them a table of teachers and styles while teachers are asked."""

    board: Board | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.board is not None and (rows := self.board.rows()):
            table = Table(
                "teacher",
                "style",
                "done",
                "cached",
                "failed",
                "tokens/s",
                "$",
                "ETA",
                box=None,
                padding=(0, 2),
            )
            for row in rows:
                counts = row.counts
                eta = "" if row.eta is None else f"{row.eta:.0f} s"
                cells = (
                    counts.done,
                    counts.cached,
                    counts.failed,
                    f"{row.tokens_per_second:.0f}",
                    f"{counts.usd:.4f}",
                )
                table.add_row(Text(clean_text(row.teacher)), Text(clean_text(row.label)), *map(str, cells), eta)
            yield table


class Live:
    """One bar for the running stage; finished stages stay as lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = _Bars(
            TextColumn("{task.description:<11}", style="bold", markup=False),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[facts]}", style="dim", markup=False),
            console=console,
            transient=True,
        )
        atexit.register(self._bars.stop)  # an error or a signal may end the process: the cursor comes back
        self._task: TaskID | None = None
        self._label, self._begun = "", 0.0

    def start(self, stage: str, total: int | None = None) -> None:
        self._clear()
        self._begun = time.monotonic()
        self._label = clean_text(LABELS.get(stage, stage))
        self._task = self._bars.add_task(self._label, total=total, facts="")
        self._bars.start()

    def advance(self, steps: int = 1, **facts: object) -> None:
        if self._task is not None:
            self._bars.update(self._task, advance=steps)
            if isinstance(board := facts.get("teachers"), Board):
                self._bars.board = board
            if facts:
                self._bars.update(self._task, facts=_facts(facts))

    def done(self, **facts: object) -> None:
        if self._task is not None:
            self._clear()
            seconds = time.monotonic() - self._begun
            line = Text.assemble((f"{self._label:<11}", "bold"), f" {_facts(facts)} ", (f"{seconds:.1f} s", "dim"))
            self._console.print(line)

    def _clear(self) -> None:
        self._bars.stop()
        self._bars.board = None
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None

    def log(self, message: str) -> None:
        self._console.print(clean_text(message), style="dim", highlight=False, markup=False)

    def warn(self, message: str) -> None:
        self._console.print("[yellow]warning:[/]", end=" ")
        self._console.print(clean_text(message), highlight=False, markup=False)


class Plain:
    """A line when a stage starts and ends, and at most one every ten seconds between."""

    def __init__(self, stream: IO[str], pause: float = 10.0) -> None:
        self._stream, self._pause = stream, pause
        self._label, self._count, self._begun, self._said, self._counted = "", 0, 0.0, 0.0, 0.0
        self._total: int | None = None

    def start(self, stage: str, total: int | None = None) -> None:
        self._label, self._count, self._total = LABELS.get(stage, stage), 0, total
        self._begun = self._said = time.monotonic()
        self._say(f"{self._label}: started" + (f", {total} to do" if total else ""))

    def advance(self, steps: int = 1, **facts: object) -> None:
        now = time.monotonic()
        self._count += steps
        if steps:
            self._counted = now
        if now - self._said > self._pause:
            self._said = now
            of = f"/{self._total}" if self._total else ""
            left = ""
            if self._total and self._count and "eta" not in facts:
                # the pace up to the last step that was counted: waiting for the next one does not slow it
                pace = (self._counted - self._begun) / self._count
                seconds = pace * (self._total - self._count) - (now - self._counted)
                left = f", about {seconds:.0f} s left" if seconds > 0 else ""
            self._say(f"{self._label}: {self._count}{of}{left}  {_facts(facts)}".rstrip())

    def done(self, **facts: object) -> None:
        self._say(f"{self._label}: {_facts(facts)} ({time.monotonic() - self._begun:.1f} s)")

    def log(self, message: str) -> None:
        self._say(message)

    def warn(self, message: str) -> None:
        self._say(f"warning: {message}")

    def _say(self, text: str) -> None:
        print(clean_text(text), file=self._stream, flush=True)


def terminal_progress(quiet: bool = False) -> Progress:
    """Rich on a terminal, plain lines elsewhere, both on stderr."""
    if quiet:
        from qrdistill.base.progress import Silent

        return Silent()
    console = Console(stderr=True)
    return Live(console) if console.is_terminal else Plain(sys.stderr)
