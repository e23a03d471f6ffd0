"""The paths that training draws from: their texts in a file that is mapped into memory, a few numbers a path beside it.

A pool is a hundred times what one training reads of it at a time, so no record of a path is held: a row is read from
the file when it is drawn. The file has no name and is gone with the process; making it costs less than checking one
that somebody may have changed.

Tensor suffix: N paths of the pool.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qrdistill.base.errors import BoundaryError
from qrdistill.base.records import Question, ReasoningPath
from qrdistill.students.tokens import weight

T = TypeVar("T")
_ROWS = 4096


class PoolPath(NamedTuple):
    """One path as training reads it. asked: the question as students read it. lesson: what is learnt."""

    id: str
    question_id: str
    style: str
    asked: str
    lesson: str


SCHEMA = pa.schema([(name, pa.string()) for name in PoolPath._fields])


def batches_of(paths: Iterable[ReasoningPath], asked: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """Records as a pool takes them. asked: their questions' texts, by id."""
    rows = (PoolPath(path.id, path.question_id, path.style, asked[path.question_id], path.lesson) for path in paths)
    while chunk := list(islice(rows, _ROWS)):
        columns = [pa.array(column, pa.string()) for column in zip(*chunk, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


class Lazy(Sequence[T], Generic[T]):
    """A sequence that holds nothing: `made(place)` for each place."""

    def __init__(self, length: int, made: Callable[[int], T]) -> None:
        self._length, self._made = length, made

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self._made(place) for place in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return self._made(index % self._length)


class Pool(Lazy[PoolPath]):
    """Paths by row, in the order in which they came.

    asked_N, characters_N: characters of a path's question and of its lesson. weight_N: `tokens.weight` of both.
    question_N: the number of its question; style_N: of its style among `styles`. blank_N: nothing but white space.
    digest: of all texts and ids, in order.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], folder: Path | None = None) -> None:
        """batches: of `SCHEMA`. folder: where the file lies while it is used; None: the system's temporary folder.

        Raises BoundaryError where the disk refuses.
        """
        try:
            with _nameless(folder) as file:
                facts = _Facts()
                with pa.ipc.new_file(file, SCHEMA) as writer:
                    for batch in batches:
                        facts.add(batch)
                        writer.write_batch(batch)
                file.flush()
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise BoundaryError(
                f"cannot write the paths' texts into {folder or tempfile.gettempdir()}: {error.strerror or error}; free "
                "some space, then run the same command again"
            ) from error
        pa.default_memory_pool().release_unused()  # what reading the tables took
        self._table = pa.ipc.open_file(pa.py_buffer(self._map)).read_all()
        self.asked_N, self.characters_N, self.weight_N, self.question_N, self.style_N, self.blank_N = facts.columns()
        self.styles, self.digest = list(facts.styles), facts.digest.hexdigest()
        super().__init__(self._table.num_rows, self._row)

    @classmethod
    def of(
        cls, paths: Sequence[ReasoningPath] | Pool, questions: Mapping[str, Question], folder: Path | None = None
    ) -> Pool:
        """Of records and their questions, by id; a pool is one already."""
        if isinstance(paths, Pool):
            return paths
        return cls(batches_of(paths, {name: row.question for name, row in questions.items()}), folder)

    def _row(self, row: int) -> PoolPath:
        return PoolPath(*(column[row].as_py() for column in self._table.columns))

    def id(self, row: int) -> str:
        return self._table["id"][row].as_py()

    def ids(self) -> Iterator[str]:
        for chunk in self._table["id"].chunks:
            yield from chunk.to_pylist()

    def let_go(self) -> None:
        """What was read of the file needs no memory until it is read again; after a look at all of it."""
        self._map.madvise(mmap.MADV_DONTNEED)


class _Facts:
    """What is known of each path once its text has gone by."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b()
        self.questions: dict[str, int] = {}
        self.styles: dict[str, int] = {}
        self._parts: list[NDArray[np.int32]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        ids, questions, styles, asked, lessons = (column.to_pylist() for column in batch.columns)
        for texts in zip(ids, asked, lessons, strict=True):
            sizes = ",".join(str(len(text)) for text in texts)
            self.digest.update(f"{sizes}:{''.join(texts)}".encode())
        self._parts.append(
            np.array(
                [
                    [len(text) for text in asked],
                    [len(text) for text in lessons],
                    [weight(one) + weight(other) for one, other in zip(asked, lessons, strict=True)],
                    [self.questions.setdefault(name, len(self.questions)) for name in questions],
                    [self.styles.setdefault(name, len(self.styles)) for name in styles],
                    [not text or text.isspace() for text in lessons],
                ],
                np.int32,
            ).reshape(6, -1)
        )

    def columns(self) -> list[NDArray[np.int32]]:
        return list(np.concatenate(self._parts, axis=1) if self._parts else np.zeros((6, 0), np.int32))


def _nameless(folder: Path | None) -> Any:
    """A file that no kill leaves behind; where the system cannot make one, its name is one that `store.sweep` removes."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder, prefix=".pool.", suffix=f".{os.getpid()}.qrdistill.tmp")
