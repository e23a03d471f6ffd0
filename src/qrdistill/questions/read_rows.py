"""Where rows come from: local files (JSONL, JSON, CSV, Parquet) or a data set on the hub.

A row is a plain dict with the place it came from, so that every complaint can name file and line.
"""

from __future__ import annotations

import csv
import math
import os.path
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

from qrdistill.base.errors import BoundaryError, ConfigError, DataError, InputError
from qrdistill.base.untrusted.guarded_json import MAX_BYTES, loads
from qrdistill.base.untrusted.remote_file import fetched, is_url


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


_FORMATS = {  # the first bytes of what is no text of ours: what it is, and the mend
    b"\xff\xfe": "UTF-16 text; save the file as UTF-8",
    b"\xfe\xff": "UTF-16 text; save the file as UTF-8",
    b"\x1f\x8b": "a gzip file; unpack it (gunzip)",
    b"\x28\xb5\x2f\xfd": "a zstd file; unpack it (zstd -d)",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or export it as CSV",
}
_LONGEST_FIELD = 1 << 24  # characters of a CSV field; Python's own limit is 128 KB


def read_source(base_dir: Path, name: str) -> Iterator[Row]:
    """`read_file` of a name in a config: relative to `base_dir`, or an address (s3://, gs://, ...)."""
    if not is_url(name):
        return read_file(base_dir / name)
    return _read_copy(name)


def _read_copy(url: str) -> Iterator[Row]:
    try:
        for row in read_file(fetched(url)):
            yield Row(row.value, url, row.line)
    except DataError as error:
        raise DataError(error.message, file=url, line=error.line) from error


def read_file(path: Path) -> Iterator[Row]:
    """Streams the rows of a local file, or of a folder of Parquet shards; the format follows from its suffix.

    Raises DataError for what cannot be read, with the line.
    """
    if os.path.isdir(path) and (parts := sorted(path.glob("*.parquet"))):
        return chain.from_iterable(map(read_file, parts))
    if not os.path.isfile(path):
        folder = " (it is a folder without .parquet files)" if os.path.isdir(path) else ""
        raise DataError(f"no such file{folder}; check the path", file=path)
    readers = {
        ".jsonl": _jsonl,
        ".ndjson": _jsonl,
        ".json": _json,
        ".csv": _csv,
        ".tsv": _csv,
        ".parquet": _parquet,
    }
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror}); check the path and its rights", file=path) from error
    for magic, said in _FORMATS.items():
        if start.startswith(magic):
            raise DataError(f"this is {said}", file=path, line=1)
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"unknown format {path.suffix!r}; known: {', '.join(readers)}", file=path)
    return reader(path)


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, raw in enumerate(iter(lambda: file.readline(MAX_BYTES + 1), b""), start=1):
            line = _decoded(raw, path, number).removeprefix("\ufeff").strip()
            if not line:
                continue
            value = loads(line, where=path, line=number, mend="one JSON object per line is expected")
            if not isinstance(value, dict):
                raise DataError(f"a JSON object is expected, not {line[:60]!r}", file=path, line=number)
            yield Row(value, str(path), number)


def _decoded(raw: bytes, path: Path, line: int | None = None) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        place = line or raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"not UTF-8 text (byte {error.start}); save the file as UTF-8", file=path, line=place
        ) from error


def _json(path: Path) -> Iterator[Row]:
    """A list of objects, or an object of objects by id (TabMWP's own form): the key joins as `id`."""
    value = loads(_decoded(path.read_bytes(), path), where=path, mend="a list of objects is expected")
    rows = value if isinstance(value, list) else None
    if isinstance(value, dict):
        rows = [{"id": key, **row} if isinstance(row, dict) else row for key, row in value.items()]
    if rows is None or not all(isinstance(row, dict) for row in rows):
        raise DataError("a list of objects, or an object of objects by id, is expected", file=path, line=1)
    for number, row in enumerate(rows, start=1):
        yield Row(row, str(path), number)


def _csv(path: Path) -> Iterator[Row]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open("rb") as raw:
        for number, line in enumerate(raw, start=1):
            _decoded(line, path, number)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        try:
            names = reader.fieldnames or ()
            if repeated := [name for name, count in Counter(names).items() if count > 1]:
                raise DataError(f"two columns are named {repeated[0]!r}; give each its own name", file=path, line=1)
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(
                        f"{len(names)} fields are expected, as in the first line; put fields with a comma, a line end "
                        "or a quote into quotes",
                        file=path,
                        line=reader.line_num,
                    )
                yield Row(row, str(path), reader.line_num)
        except csv.Error as error:
            raise DataError(f"not readable as CSV: {error}", file=path, line=reader.line_num + 1) from error


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        table = pq.ParquetFile(path)
        for batch in table.iter_batches(1024):
            for row in batch.to_pylist():
                number += 1
                yield Row({name: _plain(value) for name, value in row.items()}, str(path), number)
    except (OSError, MemoryError, ValueError, TypeError, KeyError, IndexError, pa.ArrowException) as error:
        # a damaged file ends in any of these; ArrowInvalid and UnicodeDecodeError are ValueErrors
        raise DataError(
            f"not a readable Parquet file ({_first_line(error)}); write it again", file=path, line=number + 1
        ) from error


def _plain(value: Any) -> Any:
    """A cell as JSON has it: dates and decimals as text, a data frame's NaN as a missing value."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in cast("list[Any]", value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value if isinstance(value, str | int | float | None) else str(value)


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


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
