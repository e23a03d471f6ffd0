"""Rows of a table by their id, without holding the table: a few of its batches at a time, and sixteen bytes a row.

Suffix: N rows.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow.parquet as pq

from qrdistill.base.records import Record
from qrdistill.base.store import read_batches, read_table, records_of, schema, shards

R = TypeVar("R", bound=Record)
_HELD = 4  # row groups whose records are held


class RowsById(Mapping[str, R], Generic[R]):
    """A table as a mapping from `id` to record, in file order; quick where neighbours are asked for one after the other.

    Memory: a hash and a place per row, and the records of the last few row groups. Raises DataError where the table
    is damaged.
    """

    def __init__(self, path: Path, record: type[R]) -> None:
        self._path, self._record = path, record
        names = (name for batch in read_batches(path, record, ["id"]) for name in batch.column("id").to_pylist())
        hashes_N = np.fromiter(map(_hash, names), np.uint64)
        self._order_N = np.argsort(hashes_N, kind="stable")
        self._hashes_N = hashes_N[self._order_N]
        self._groups: list[tuple[int, Path, int]] = []  # first row, file, group within it
        start = 0
        for file in shards(path):
            metadata = pq.read_metadata(file)
            for group in range(metadata.num_row_groups):
                self._groups.append((start, file, group))
                start += metadata.row_group(group).num_rows
        self._starts = np.array([start for start, _, _ in self._groups], np.int64)
        self._held: OrderedDict[int, list[R]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hashes_N)

    def __iter__(self) -> Iterator[str]:
        for batch in read_batches(self._path, self._record, ["id"]):
            yield from batch.column("id").to_pylist()

    def __getitem__(self, name: str) -> R:
        wanted = np.uint64(_hash(name))
        place = int(np.searchsorted(self._hashes_N, wanted))
        while place < len(self._hashes_N) and self._hashes_N[place] == wanted:
            row = self._row(int(self._order_N[place]))
            if vars(row)["id"] == name:
                return row
            place += 1
        raise KeyError(name)

    def stream(self) -> Iterator[R]:
        """All rows, in file order."""
        return read_table(self._path, self._record)

    def _row(self, number: int) -> R:
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        if group not in self._held:
            self._held[group] = list(self._read(group))
            if len(self._held) > _HELD:
                self._held.popitem(last=False)
        return self._held[group][number - int(self._starts[group])]

    def _read(self, group: int) -> Iterator[R]:
        _, file, number = self._groups[group]
        with pq.ParquetFile(file) as table:
            rows = table.read_row_group(number, columns=schema(self._record).names)
        for batch in rows.to_batches():
            yield from records_of(batch, self._record, where=file)


def _hash(name: Any) -> int:
    return int.from_bytes(hashlib.blake2b(str(name).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
