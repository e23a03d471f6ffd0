"""The paths that train, as a stream: those of a table whose closing verdict keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
from pyarrow.compute import equal  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]

from qrdistill.base.records import Question, ReasoningPath, Verdict
from qrdistill.base.store import read_batches, records_of
from qrdistill.paths.styles import closed

COLUMNS = ("id", "question_id", "style", "text", "thought", "thinking")
"""What training reads of a path."""


def kept_paths(paths: Path, verdicts: Path) -> Iterator[ReasoningPath]:
    """In the table's order, in constant memory where the verdicts have the same order: so does every filter of one table."""
    for batch in kept_batches(paths, verdicts):
        yield from records_of(batch, ReasoningPath, where=paths)


def kept_batches(paths: Path, verdicts: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The same as Arrow batches with these columns, `id` among them (None: all)."""
    closings, kept = _closings(verdicts), None
    for batch in read_batches(paths, ReasoningPath, columns):
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
        yield batch.filter(pa.array(mask, pa.bool_()))


def asked_texts(questions: Path, *, closing_line: bool) -> dict[str, str]:
    """Question id -> its text as students read it."""
    asked: dict[str, str] = {}
    for batch in read_batches(questions, Question, ["id", "question", "kind"]):
        for name, question, kind in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            asked[name] = closed(question, kind) if closing_line else question
    return asked


def pool_batches(batches: Iterable[pa.RecordBatch], asked: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """`COLUMNS` of paths as `training.pool` takes them."""
    from qrdistill.training.pool import SCHEMA

    for batch in batches:
        names = batch.column("question_id")
        texts = pa.array([asked[name] for name in names.to_pylist()], pa.string())
        columns = [batch.column("id"), names, batch.column("style"), texts, _lessons(batch)]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def lesson_texts(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, str]]:
    """Question id and lesson of each path, from its `COLUMNS`."""
    for batch in batches:
        yield from zip(batch.column("question_id").to_pylist(), _lessons(batch).to_pylist(), strict=True)


def _lessons(batch: pa.RecordBatch) -> pa.Array:
    """`ReasoningPath.lesson` of each row."""
    if set(batch.column("thinking").to_pylist()) <= {"drop"}:
        return batch.column("text")
    paths = (ReasoningPath.model_construct(**row) for row in batch.to_pylist())
    return pa.array([path.lesson for path in paths], pa.string())


def _closings(verdicts: Path) -> Iterator[tuple[str, bool]]:
    """(path id, whether it trains) of each closing verdict."""
    for batch in read_batches(verdicts, Verdict, ["path_id", "check", "outcome"]):
        closing = batch.filter(equal(batch.column("check"), "filter"))
        yield from zip(
            closing.column("path_id").to_pylist(), equal(closing.column("outcome"), "keep").to_pylist(), strict=True
        )
