"""What training writes as it goes: a metrics line per step, and the assignments in parts.

Both are cut back to the checkpoint on resume, so a killed run leaves no line twice. A checkpoint notes what stood
in them, so that what was damaged since is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from qrdistill.base.checksums import Damaged, check
from qrdistill.base.records import Assignment
from qrdistill.base.store import read_table, write_table, write_text
from qrdistill.base.untrusted.guarded_json import loads


class Journal:
    """`metrics.jsonl` beside `assignments/part-*.parquet`; the parts become one table at the end."""

    def __init__(self, folder: Path, *, step: int) -> None:
        """Opens the journal for a run that goes on at `step`: what came later is forgotten."""
        self.folder, self.metrics = folder, folder / "metrics.jsonl"
        self._rows: list[Assignment] = []
        write_text(self.metrics, "".join(line + "\n" for line in self._lines(step)))
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

    def _lines(self, step: int) -> Iterator[str]:
        """Those before a step; what comes later, a line that a kill cut short among it, is not looked at."""
        if step and self.metrics.is_file():
            for line in self.metrics.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
                yield line
                if loads(line, where=self.metrics, nan=True)["step"] == step - 1:
                    break

    def _parts(self) -> list[Path]:
        found = (self.folder / "assignments").glob("part-*.parquet")
        return sorted(part for part in found if part.stem.removeprefix("part-").isdigit())

    def write(self, metrics: Mapping[str, Any], rows: Sequence[Assignment]) -> None:
        self._file.write(json.dumps(metrics) + "\n")
        self._file.flush()
        self._rows += rows

    def checkpoint(self, step: int) -> dict[str, Any]:
        """Puts the assignments since the last call on disk, just before a checkpoint is saved; what stands here now."""
        if self._rows:
            write_table(self.folder / "assignments" / f"part-{self._start:08d}.parquet", Assignment, self._rows)
        self._rows, self._start = [], step
        content = self.metrics.read_bytes()
        return {"parts": [part.name for part in self._parts()], "bytes": len(content), "metrics": _hash(content)}

    def finish(self, target: Path) -> int:
        """Writes all assignments as one table, in the order of steps; returns how many."""
        return write_table(target, Assignment, self._read())

    def _read(self) -> Iterator[Assignment]:
        for part in self._parts():
            yield from read_table(part, Assignment)


class Unwritten:
    """The journal of a process beside the first: nothing is written twice."""

    def __enter__(self) -> Unwritten:
        return self

    def __exit__(self, *error: object) -> None: ...

    def write(self, metrics: Mapping[str, Any], rows: Sequence[Assignment]) -> None: ...

    def checkpoint(self, step: int) -> dict[str, Any]:
        return {}

    def finish(self, target: Path) -> int:
        return 0


def check_journal(folder: Path, noted: Mapping[str, Any]) -> None:
    """Raises Damaged where a journal no longer begins with what a checkpoint noted."""
    for name in noted["parts"]:
        check(folder / "assignments" / name, required=True)
    metrics = folder / "metrics.jsonl"
    content = metrics.read_bytes() if metrics.is_file() else b""
    if _hash(content[: noted["bytes"]]) != noted["metrics"]:
        raise Damaged(f"{metrics} is damaged (its checksum differs)")


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _first(part: Path) -> int:
    return int(part.stem.removeprefix("part-"))
