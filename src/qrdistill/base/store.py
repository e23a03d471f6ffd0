"""The run directory: Parquet tables, the manifest, and atomic writes.

Nothing is ever half-written: every file appears under a temporary name, is synced and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import types
import typing
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from qrdistill.base.checksums import KEY, PLACEHOLDER, Damaged, check, seal
from qrdistill.base.errors import BoundaryError, DataError
from qrdistill.base.records import Record, unchecked
from qrdistill.base.untrusted.guarded_json import loads

R = TypeVar("R", bound=Record)
_ROWS_PER_GROUP = 4096
SHARD_ROWS = 1_000_000
"""Rows of one file of a table; a longer table is a folder of such files."""
_FORMAT_KEY, _FORMAT = "qrdistill.format", "1"  # of a table; one without it is of format 1 too
_SHARDS_KEY = "qrdistill.shards"  # in a table's last shard: how many shards there are
_TEMPORARY = ".qrdistill.tmp"


def content_hash(value: object) -> str:
    """16 hex digits over canonical JSON (or a file's bytes, given a Path)."""
    digest = hashlib.blake2b(digest_size=8)
    if isinstance(value, Path):
        with value.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    else:
        digest.update(json.dumps(value, sort_keys=True, default=_plain, separators=(",", ":")).encode())
    return digest.hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return str(value)


@contextmanager
def atomic(target: Path) -> Generator[Path]:
    """Yields a temporary path beside `target`; renames it when the block ends well, removes it otherwise.

    Works for a file and for a folder. What stood at `target` is removed, so it has to be ours (see
    `ownership`); where it is a symbolic link, the link goes and what it points to stays. Raises
    BoundaryError where the disk refuses.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}{_TEMPORARY}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        for path in [temporary, *temporary.rglob("*")] if temporary.is_dir() else [temporary]:
            _sync(path)
        if target.is_symlink():
            target.unlink()
        elif target.is_dir() and temporary.is_dir():  # a file never replaces a folder: the rename refuses
            shutil.rmtree(target)
        os.replace(temporary, target)
        _sync(target.parent)
    except Exception as error:
        reason = _refusal(error)
        if reason is None:
            raise
        raise BoundaryError(
            f"cannot write {target}: {reason}; free some space or choose another --run-dir, "
            "then run the same command again"
        ) from error
    finally:
        _remove(temporary)


@contextmanager
def temporary_folder(beside: Path) -> Generator[Path]:
    """A folder beside a file, gone with the block; what a kill leaves of it, `sweep` removes."""
    folder = beside.with_name(f".parts.{beside.name}.{os.getpid()}{_TEMPORARY}")
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        _remove(folder)


def _refusal(error: Exception) -> str | None:
    """Why the disk refused; None where it did not. Libraries in Rust (safetensors) wrap it in errors of their own."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    number = re.search(r"\(os error (\d+)\)", str(error))
    return os.strerror(int(number[1])) if number else None


def sweep(folder: Path) -> None:
    """Removes what writes left behind that a kill cut short; call it only where no other process writes."""
    for path in folder.rglob(f".*{_TEMPORARY}"):
        if is_temporary(path):
            _remove(path)


def is_temporary(path: Path) -> bool:
    """Whether a name is one that only `atomic` gives.

    >>> is_temporary(Path(".notes.tmp")), is_temporary(Path(".paths.parquet.4711.qrdistill.tmp"))
    (False, True)
    """
    return re.fullmatch(rf"\..+\.\d+{re.escape(_TEMPORARY)}", path.name) is not None


def _remove(path: Path) -> None:
    """A file, a folder with all that is in it, or a link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(target: Path, text: str) -> None:
    with atomic(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: object) -> None:
    write_text(target, json.dumps(value, indent=2, default=_plain) + "\n")


# --- tables ---------------------------------------------------------------------------------------


def schema(record: type[Record]) -> pa.Schema:
    """The Parquet schema of a record type. A dict field is stored as JSON text.

    >>> from qrdistill.base.records import Verdict
    >>> schema(Verdict).field("confidence").type
    DataType(double)
    """
    fields: list[pa.Field] = []
    for name, info in record.model_fields.items():
        annotation = info.annotation
        options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
        kind = next(option for option in options if option is not types.NoneType)
        fields.append(pa.field(name, _arrow_type(kind), nullable=types.NoneType in options))
    return pa.schema(fields)


def _arrow_type(kind: Any) -> pa.DataType:
    if typing.get_origin(kind) is typing.Literal or kind is str or typing.get_origin(kind) is dict:
        return pa.string()
    return {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[kind]


def _stored_as_json(record: type[Record]) -> list[str]:
    return [name for name, info in record.model_fields.items() if typing.get_origin(info.annotation) is dict]


def shard_name(number: int) -> str:
    """
    >>> shard_name(3)
    'part-00003.parquet'
    """
    return f"part-{number:05d}.parquet"


def shards(path: Path) -> list[Path]:
    """The files of a table, in order: itself, or what a folder of its name holds (`paths.parquet/part-00000.parquet`).

    Raises DataError where a shard is missing.
    """
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("part-*.parquet"))
    lost = next((shard_name(n) for n in range(max(1, len(files))) if path / shard_name(n) not in files), None)
    if lost:
        raise DataError(f"a shard of the table is missing ({lost}); delete the folder and run again", file=path)
    return files


class TableWriter:
    """Appends records to one Parquet table in constant memory; the table appears when `with` ends well.

    A table of more than `shard_rows` rows is a folder of files, each with its own checksum (`shards` lists them).
    """

    def __init__(self, path: Path, record: type[Record], *, shard_rows: int = SHARD_ROWS) -> None:
        self.path, self.record, self.count = path, record, 0
        self._schema, self._json = schema(record), _stored_as_json(record)
        self._most, self._whole_shards, self._in_shard = shard_rows, 0, 0
        self._rows: list[dict[str, Any]] = []
        self._waiting = self._schema.empty_table()  # Arrow rows that fill no group yet

    def __enter__(self) -> TableWriter:
        self._atomic = atomic(self.path)
        self._temporary = self._atomic.__enter__()
        try:
            self._open(self._temporary)
        except OSError as failure:
            self._atomic.__exit__(type(failure), failure, failure.__traceback__)
            raise
        return self

    def _open(self, file: Path) -> None:
        self._shard, self._in_shard = file, 0
        self._file = pq.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, record: Record) -> None:
        self._rows.append(vars(record))
        self.count += 1
        if len(self._rows) >= _ROWS_PER_GROUP:
            self._flush()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Appends rows that are Arrow columns already, as `read_batches` gives them; in the same row groups."""
        if self._rows:
            self._flush()
        added = pa.Table.from_batches([batch]).select(self._schema.names).cast(self._schema)
        self._waiting = pa.concat_tables([self._waiting, added])
        self.count += batch.num_rows
        whole = self._waiting.num_rows // _ROWS_PER_GROUP * _ROWS_PER_GROUP
        if whole:
            self._append(self._waiting.slice(0, whole).combine_chunks())
            self._waiting = self._waiting.slice(whole)

    def _flush(self) -> None:
        if self._waiting.num_rows:
            self._append(self._waiting.combine_chunks())
            self._waiting = self._schema.empty_table()
        if self._rows:
            columns = {name: [row[name] for row in self._rows] for name in self._schema.names}
            for name in self._json:
                columns[name] = [json.dumps(value, sort_keys=True, ensure_ascii=False) for value in columns[name]]
            self._append(pa.table(columns, schema=self._schema))
            self._rows = []

    def _append(self, rows: pa.Table) -> None:
        while rows.num_rows:
            if self._in_shard == self._most:
                self._next_shard()
            part = rows.slice(0, self._most - self._in_shard)
            self._file.write_table(part, row_group_size=_ROWS_PER_GROUP)
            self._in_shard += part.num_rows
            rows = rows.slice(part.num_rows)

    def _next_shard(self) -> None:
        """What was one file until now becomes the first of a folder."""
        self._close({})
        if not self._whole_shards:
            aside = self._temporary.with_name(f".first-shard{self._temporary.name}")
            os.replace(self._temporary, aside)
            self._temporary.mkdir()
            os.replace(aside, self._temporary / shard_name(0))
        self._whole_shards += 1
        self._open(self._temporary / shard_name(self._whole_shards))

    def _close(self, facts: dict[str, str]) -> None:
        self._file.add_key_value_metadata({_FORMAT_KEY: _FORMAT, **facts, KEY: PLACEHOLDER})
        self._file.close()
        seal(self._shard)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                self._flush()
                self._close({_SHARDS_KEY: str(self._whole_shards + 1)} if self._whole_shards else {})
                self._make_room()
            else:
                self._file.close()
        except OSError as failure:
            kind, error, trace = type(failure), failure, failure.__traceback__
            self._atomic.__exit__(kind, error, trace)
            raise
        self._atomic.__exit__(kind, error, trace)

    def _make_room(self) -> None:
        """A table that was a folder becomes a file, or the other way round; `atomic` replaces like by like."""
        if self._whole_shards and self.path.is_file():
            self.path.unlink()
        elif not self._whole_shards and self.path.is_dir() and not self.path.is_symlink():
            for file in self.path.glob("part-*.parquet"):
                file.unlink()
            self.path.rmdir()  # refuses where anything else is in it


def write_table(path: Path, record: type[R], rows: Iterable[R], *, shard_rows: int = SHARD_ROWS) -> int:
    """Writes all rows; returns how many."""
    with TableWriter(path, record, shard_rows=shard_rows) as table:
        for row in rows:
            table.write(row)
    return table.count


def read_batches(path: Path, record: type[Record], columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Streams a table (one file or its shards) as Arrow batches in file order, with these columns (None: all) in their order.

    A column that the table is too old to have holds the record's default; a dict is JSON text. Raises DataError where
    a file is damaged: no row of it is read then.
    """
    wanted = list(columns) if columns is not None else list(record.model_fields)
    files = shards(path)
    for number, place in enumerate(files):
        with _opened(place, record) as file:
            facts = {
                key.decode(): value.decode(errors="replace") for key, value in (file.metadata.metadata or {}).items()
            }
            last = facts.get(_SHARDS_KEY)
            if path.is_dir() and number == len(files) - 1 and _FORMAT_KEY in facts and last != str(len(files)):
                raise DataError("the table's last shards are missing; delete the folder and run again", file=path)
            there = [name for name in wanted if name in file.schema_arrow.names]
            for batch in file.iter_batches(_ROWS_PER_GROUP, columns=there):
                yield batch.select(there) if there == wanted else _filled(batch, record, wanted)


@contextmanager
def _opened(place: Path, record: type[Record]) -> Generator[pq.ParquetFile]:
    try:
        check(place)
        file = pq.ParquetFile(place)
    except Damaged as error:
        raise DataError(f"{error}; delete it and run again: the stage that made it makes it anew") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"not a readable Parquet table ({error}); delete it and run again", file=place) from error
    with file:
        lacking = [n for n, i in record.model_fields.items() if i.is_required() and n not in file.schema_arrow.names]
        if lacking:
            raise DataError(f"no table of ours: it has no column {', '.join(lacking)}; move it away", file=place)
        found = (file.metadata.metadata or {}).get(_FORMAT_KEY.encode(), _FORMAT.encode()).decode(errors="replace")
        if found != _FORMAT:
            raise DataError(
                f"a table of format {found}, which another version of qrdistill wrote (this one reads {_FORMAT}); use "
                "that version, or make the run anew in another folder",
                file=place,
            )
        yield file


def _filled(batch: pa.RecordBatch, record: type[Record], wanted: Sequence[str]) -> pa.RecordBatch:
    fields = schema(record)

    def column(name: str) -> pa.Array:
        if name in batch.schema.names:
            return batch.column(name)
        default = record.model_fields[name].get_default(call_default_factory=True)
        return pa.array(
            [json.dumps(default) if isinstance(default, dict) else default] * batch.num_rows, fields.field(name).type
        )

    return pa.RecordBatch.from_arrays(
        [column(name) for name in wanted], schema=pa.schema([fields.field(n) for n in wanted])
    )


def count_rows(path: Path) -> int:
    """How many rows a table has; only the files' ends are read."""
    return sum(pq.read_metadata(file).num_rows for file in shards(path))


def read_table(path: Path, record: type[R]) -> Iterator[R]:
    """Streams a table back as records, in file order. Raises DataError where it is damaged: no row is read then."""
    for batch in read_batches(path, record):
        yield from records_of(batch, record, where=path)


def records_of(batch: pa.RecordBatch, record: type[R], *, where: Path) -> Iterator[R]:
    """The rows of a batch with all of a record's columns, one by one."""
    names = _stored_as_json(record)
    for row in batch.to_pylist():
        for name in names:
            row[name] = {} if row[name] == "{}" else loads(row[name], where=where, nan=True)
        yield unchecked(record, row)
