"""Where rows come from: local files (JSONL, JSON, CSV, Parquet) or a data set on the hub.

A row is a plain dict with the place it came from, so that every complaint can name file and line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrdistill.base.errors import BoundaryError, ConfigError, DataError, InputError


@dataclass(frozen=True)
class Row:
    """One record of a source; `line` counts from 1 (rows, where the format has no lines)."""

    value: Mapping[str, Any]
    file: str
    line: int

    def error(self, message: str) -> DataError:
        return DataError(message, file=self.file, line=self.line)

    def get(self, field: str) -> Any:
        """A field that has to be there; raises DataError naming the fields that are."""
        if field not in self.value:
            raise self.error(
                f"no field {field!r} (there are: {', '.join(map(str, self.value)) or 'none'}); "
                "name yours in questions.fields"
            )
        return self.value[field]

    def text(self, field: str) -> str:
        value = self.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"field {field!r} has to be a text that is not empty, not {value!r:.80}")
        return value.strip()


def read_file(path: Path) -> Iterator[Row]:
    """Streams the rows of a local file; the format follows from its suffix.

    Raises DataError for what cannot be read, with the line.
    """
    if not path.is_file():
        raise DataError(f"no such file{' (it is a folder)' if path.is_dir() else ''}; check the path", file=path)
    readers = {
        ".jsonl": _jsonl,
        ".ndjson": _jsonl,
        ".json": _json,
        ".csv": _csv,
        ".tsv": _csv,
        ".parquet": _parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"unknown format {path.suffix!r}; known: {', '.join(readers)}", file=path)
    return reader(path)


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            line = _decoded(raw, path, number).strip().removeprefix("\ufeff")
            if not line:
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                detail = (
                    f"{error.msg} at column {error.colno}"
                    if isinstance(error, json.JSONDecodeError)
                    else "nested too deeply"
                )
                raise DataError(
                    f"not JSON ({detail}): {line[:60]!r}; one JSON object per line is expected",
                    file=path,
                    line=number,
                ) from error
            if not isinstance(value, dict):
                raise DataError(f"a JSON object is expected, not {line[:60]!r}", file=path, line=number)
            yield Row(value, str(path), number)


def _decoded(raw: bytes, path: Path, line: int | None = None) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text (byte {error.start}); save the file as UTF-8", file=path, line=line) from error


def _json(path: Path) -> Iterator[Row]:
    """A list of objects, or an object of objects by id (TabMWP's own form): the key joins as `id`."""
    try:
        value = json.loads(_decoded(path.read_bytes(), path))
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error.msg} at column {error.colno})", file=path, line=error.lineno) from error
    rows = value if isinstance(value, list) else None
    if isinstance(value, dict):
        rows = [{"id": key, **row} if isinstance(row, dict) else row for key, row in value.items()]
    if rows is None or not all(isinstance(row, dict) for row in rows):
        raise DataError("a list of objects, or an object of objects by id, is expected", file=path)
    for number, row in enumerate(rows, start=1):
        yield Row(row, str(path), number)


def _csv(path: Path) -> Iterator[Row]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(
                        f"{len(reader.fieldnames or ())} fields are expected", file=path, line=reader.line_num
                    )
                yield Row(row, str(path), reader.line_num)
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"not readable as CSV: {error}", file=path, line=reader.line_num + 1) from error


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        number = 0
        for batch in table.iter_batches(1024):
            for row in batch.to_pylist():
                number += 1
                yield Row(row, str(path), number)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"not a readable Parquet file ({error})", file=path) from error


def read_hub(name: str, subset: str | None, split: str, *, streaming: bool = True) -> Iterator[Row]:
    """Streams one split of a data set on the hub, or of a local folder that `datasets` opens."""
    try:
        import datasets
        from datasets.exceptions import DatasetNotFoundError, DatasetsError
    except ImportError as error:
        raise InputError("reading from the hub needs the package datasets: pip install 'qrdistill[hub]'") from error
    place = f"{name}{f'/{subset}' if subset else ''}[{split}]"
    try:
        rows = datasets.load_dataset(name, subset, split=split, streaming=streaming)
        for number, row in enumerate(rows, start=1):
            yield Row(dict(row), place, number)
    except (FileNotFoundError, DatasetNotFoundError, ValueError) as error:
        raise ConfigError(
            f"cannot open {place}: {_first_line(error)}; check the id, its subset and split, or give local files "
            "(questions.train_file, questions.test_file)",
            key="questions.hub",
        ) from error
    except (OSError, DatasetsError) as error:
        raise BoundaryError(
            f"cannot read {place}: {_first_line(error)}; check the network (HF_HUB_OFFLINE unset?) and run again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
