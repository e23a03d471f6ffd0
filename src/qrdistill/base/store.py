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
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from qrdistill.base.checksums import KEY, PLACEHOLDER, Damaged, check, seal
from qrdistill.base.errors import BoundaryError, DataError
from qrdistill.base.records import Record
from qrdistill.base.untrusted.guarded_json import loads

R = TypeVar("R", bound=Record)
_ROWS_PER_GROUP = 4096
_FORMAT_KEY, _FORMAT = "qrdistill.format", "1"  # of a table; one without it is of format 1 too
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


class TableWriter:
    """Appends records to one Parquet table in constant memory; the file appears when `with` ends well."""

    def __init__(self, path: Path, record: type[Record]) -> None:
        self.path, self.record, self.count = path, record, 0
        self._schema = schema(record)
        self._json = [n for n, i in record.model_fields.items() if typing.get_origin(i.annotation) is dict]
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> TableWriter:
        self._atomic = atomic(self.path)
        self._temporary = self._atomic.__enter__()
        try:
            self._file = pq.ParquetWriter(self._temporary, self._schema, compression="zstd")
        except OSError as failure:
            self._atomic.__exit__(type(failure), failure, failure.__traceback__)
            raise
        return self

    def write(self, record: Record) -> None:
        row = record.model_dump()
        for name in self._json:
            row[name] = json.dumps(row[name], sort_keys=True, ensure_ascii=False)
        self._rows.append(row)
        self.count += 1
        if len(self._rows) >= _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                self._flush()
                self._file.add_key_value_metadata({_FORMAT_KEY: _FORMAT, KEY: PLACEHOLDER})
            self._file.close()
            if kind is None:
                seal(self._temporary)
        except OSError as failure:
            kind, error, trace = type(failure), failure, failure.__traceback__
            self._atomic.__exit__(kind, error, trace)
            raise
        self._atomic.__exit__(kind, error, trace)


def write_table(path: Path, record: type[R], rows: Iterable[R]) -> int:
    """Writes all rows; returns how many."""
    with TableWriter(path, record) as table:
        for row in rows:
            table.write(row)
    return table.count


def read_table(path: Path, record: type[R]) -> Iterator[R]:
    """Streams a table back as records, in file order. Raises DataError where it is damaged: no row is read then."""
    names = [n for n, i in record.model_fields.items() if typing.get_origin(i.annotation) is dict]
    try:
        check(path)
        file = pq.ParquetFile(path)
    except Damaged as error:
        raise DataError(f"{error}; delete it and run again: the stage that made it makes it anew") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"not a readable Parquet table ({error}); delete it and run again", file=path) from error
    lacking = [n for n, i in record.model_fields.items() if i.is_required() and n not in file.schema_arrow.names]
    if lacking:
        file.close()
        raise DataError(f"no table of ours: it has no column {', '.join(lacking)}; move it away", file=path)
    with file:
        found = (file.metadata.metadata or {}).get(_FORMAT_KEY.encode(), _FORMAT.encode()).decode(errors="replace")
        if found != _FORMAT:
            raise DataError(
                f"a table of format {found}, which another version of qrdistill wrote (this one reads {_FORMAT}); use "
                "that version, or make the run anew in another folder",
                file=path,
            )
        for batch in file.iter_batches(_ROWS_PER_GROUP):
            for row in batch.to_pylist():
                for name in names:
                    row[name] = loads(row[name], where=path, nan=True)
                yield record.model_construct(**row)
