"""What the cache remembers of batches: written before anything is sent, so that a kill neither loses nor repeats one.

A request that is in an open batch can be claimed by nobody (`ReplyCache.claim`): its membership is the claim, and it
outlives the process. It leaves the batch in the very transaction that commits its reply, or says that it has none.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from qrdistill.llm.cache_file import CacheFile, pack, unpack


@dataclass(frozen=True)
class BatchRow:
    """One batch. `state` is `intended` (nothing was sent), `sending` (it may have been), or what the server says.

    Times are Unix seconds; `ended` is set once its results are in the cache.
    """

    token: str  # sent as metadata: by it a batch is found at the server whose answer was lost
    host: str
    model: str
    teacher: str
    file_hash: str
    total: int
    created: float
    state: str = "intended"
    file_id: str | None = None
    batch_id: str | None = None
    submitted: float | None = None
    done: int = 0
    failed: int = 0
    ended: float | None = None

    @property
    def claim(self) -> str:
        """Under this name a process claims the right to watch it."""
        return f"batch:{self.token}"

    @property
    def age(self) -> float:
        """Seconds from its submission to its end, or till now."""
        return (self.ended or time.time()) - (self.submitted or self.created)

    def __str__(self) -> str:
        counts = f" {self.done}/{self.total}" + (f" ({self.failed} failed)" if self.failed else "")
        return f"{self.batch_id or 'batch'} {self.state}{counts}, {duration(self.age)}"


def duration(seconds: float) -> str:
    """
    >>> duration(75), duration(7200)
    ('75 s', '2.0 h')
    """
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"


_COLUMNS = [field.name for field in fields(BatchRow)]
TABLES = f"""
CREATE TABLE IF NOT EXISTS batches ({", ".join(_COLUMNS)}, PRIMARY KEY (token));
CREATE TABLE IF NOT EXISTS in_batches (
    key TEXT PRIMARY KEY, token TEXT NOT NULL, place INTEGER NOT NULL, request BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS members ON in_batches (token);
"""


class BatchRecords(CacheFile):
    """The two tables of batches in the cache's file."""

    def _open(self) -> None:
        super()._open()
        with self._transaction() as run:
            for statement in TABLES.split(";"):
                run(statement)

    def begin_batch(self, row: BatchRow, members: Sequence[tuple[str, str]]) -> None:
        """Commits the intent: `members` are (key, request as text), in the file's order."""
        values = asdict(row)
        with self._transaction() as run:
            run(f"INSERT INTO batches VALUES ({', '.join('?' * len(_COLUMNS))})", [values[name] for name in _COLUMNS])
            for place, (key, request) in enumerate(members):
                run("INSERT INTO in_batches VALUES (?, ?, ?, ?)", (key, row.token, place, pack(request)))
                run("DELETE FROM claims WHERE key = ?", (key,))

    def keep_batch(self, row: BatchRow) -> None:
        """Commits what has become of it; one that has ended has no members any more."""
        values = asdict(row)
        with self._transaction() as run:
            changes = ", ".join(f"{name} = ?" for name in _COLUMNS)
            run(f"UPDATE batches SET {changes} WHERE token = ?", [*(values[name] for name in _COLUMNS), row.token])
            if row.ended is not None:
                run("DELETE FROM in_batches WHERE token = ?", (row.token,))
                run("DELETE FROM claims WHERE key = ?", (row.claim,))

    def batches(self, *, opened: bool = False) -> list[BatchRow]:
        """All of them, the oldest first, or the `opened` ones whose results are not in the cache yet."""
        where = "WHERE ended IS NULL" if opened else ""
        query = f"SELECT {', '.join(_COLUMNS)} FROM batches {where} ORDER BY created, token"
        return [BatchRow(*values) for values in self._read(query)]

    def members(self, token: str) -> Iterator[tuple[str, str]]:
        """(key, request as text) of those that have not left it, in the file's order."""
        rows = self._read("SELECT key, request FROM in_batches WHERE token = ? ORDER BY place", (token,))
        return ((key, unpack(request) or "") for key, request in rows)

    def give_up_batches(self) -> int:
        """Forgets the open ones, so that their requests are asked again; returns how many there were."""
        with self._transaction() as run:
            run("DELETE FROM in_batches")
            run("DELETE FROM claims WHERE key LIKE 'batch:%'")
            return run("UPDATE batches SET ended = ?, state = 'given up' WHERE ended IS NULL", (time.time(),)).rowcount

    @staticmethod
    def _is_member(run: Any, key: str) -> bool:
        return bool(run("SELECT 1 FROM in_batches WHERE key = ?", (key,)).fetchone())

    @staticmethod
    def _leave(run: Any, keys: Iterable[str]) -> None:
        for key in keys:
            run("DELETE FROM in_batches WHERE key = ?", (key,))
