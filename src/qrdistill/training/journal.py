"""What training writes as it goes: a metrics line per step, and the assignments in parts.

Both are cut back to the checkpoint on resume, so a killed run leaves no line twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from qrdistill.base.records import Assignment
from qrdistill.base.store import read_table, write_table, write_text


class Journal:
    """`metrics.jsonl` beside `assignments/part-*.parquet`; the parts become one table at the end."""

    def __init__(self, folder: Path, *, step: int) -> None:
        """Opens the journal for a run that goes on at `step`: what came later is forgotten."""
        self.folder, self.metrics = folder, folder / "metrics.jsonl"
        self._rows: list[Assignment] = []
        kept = [line for line in self._lines() if json.loads(line)["step"] < step]
        write_text(self.metrics, "".join(line + "\n" for line in kept))
        for part in self._parts():
            if _first(part) >= step:
                part.unlink()
        self._start = step
        self._file = self.metrics.open("a", encoding="utf-8")

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _lines(self) -> list[str]:
        if not self.metrics.is_file():
            return []
        # a kill may have cut the last line short
        return self.metrics.read_text(encoding="utf-8").split("\n")[:-1]

    def _parts(self) -> list[Path]:
        found = (self.folder / "assignments").glob("part-*.parquet")
        return sorted(part for part in found if part.stem.removeprefix("part-").isdigit())

    def write(self, metrics: Mapping[str, Any], rows: Sequence[Assignment]) -> None:
        self._file.write(json.dumps(metrics) + "\n")
        self._file.flush()
        self._rows += rows

    def checkpoint(self, step: int) -> None:
        """Puts the assignments since the last call on disk; called just before a checkpoint is saved."""
        if self._rows:
            write_table(self.folder / "assignments" / f"part-{self._start:08d}.parquet", Assignment, self._rows)
        self._rows, self._start = [], step

    def finish(self, target: Path) -> int:
        """Writes all assignments as one table, in the order of steps; returns how many."""
        return write_table(target, Assignment, self._read())

    def _read(self) -> Iterator[Assignment]:
        for part in self._parts():
            yield from read_table(part, Assignment)


def _first(part: Path) -> int:
    return int(part.stem.removeprefix("part-"))
