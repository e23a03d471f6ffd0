"""The paths that train, as a stream: those of a table whose closing verdict keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa

from qrdistill.base.records import ReasoningPath, Verdict
from qrdistill.base.store import read_batches, records_of


def kept_paths(paths: Path, verdicts: Path) -> Iterator[ReasoningPath]:
    """In the table's order, in constant memory where the verdicts have the same order: so does every filter of one table."""
    closings, kept = _closings(verdicts), None
    for batch in read_batches(paths, ReasoningPath):
        names = batch.column("id").to_pylist()
        if kept is None:
            said = list(islice(closings, len(names)))
            if [name for name, _ in said] == names:
                mask = [keeps for _, keeps in said]
            else:  # the verdicts of several tables in one: another order
                kept = {name for name, keeps in _closings(verdicts) if keeps}
                mask = [name in kept for name in names]
        else:
            mask = [name in kept for name in names]
        yield from records_of(batch.filter(pa.array(mask, pa.bool_())), ReasoningPath, where=paths)


def _closings(verdicts: Path) -> Iterator[tuple[str, bool]]:
    """(path id, whether it trains) of each closing verdict."""
    for batch in read_batches(verdicts, Verdict, ["path_id", "check", "outcome"]):
        for name, check, outcome in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if check == "filter":
                yield name, outcome == "keep"
