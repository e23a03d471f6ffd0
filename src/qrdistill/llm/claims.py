"""Who asks what: a request is claimed before it is sent, so that processes that share a cache buy nothing twice.

A claim is free again when its process has died (same machine) or fallen silent for longer than the lease (another one).
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from qrdistill.llm.batch.records import BatchRecords

LEASE = 120.0  # seconds without a sign of life after which a claim is free


class Claims(BatchRecords):
    """The claims in the cache's file."""

    def __init__(self, path: Path, *, lease: float = LEASE) -> None:
        super().__init__(path)
        self._lease = lease
        self.owner = uuid.uuid4().hex
        self._machine, self._pid = socket.gethostname(), os.getpid()
        self._born = _birth(self._pid)

    def claim(self, keys: Sequence[str]) -> set[str]:
        """The keys that are now this cache object's to ask.

        The others have a reply by now, are being asked by a living process, or are in a batch: look again later.
        """
        mine: set[str] = set()
        alive: dict[tuple[Any, ...], bool] = {}  # few processes hold many claims
        now = time.time()
        with self._transaction() as run:
            for key in keys:
                if run("SELECT 1 FROM replies WHERE key = ?", (key,)).fetchone():
                    continue
                if self._is_member(run, key):
                    continue
                holder = run("SELECT machine, pid, born, at FROM claims WHERE key = ?", (key,)).fetchone()
                if holder and now - holder[3] <= self._lease:
                    process = holder[:3]
                    if process not in alive:
                        alive[process] = self._alive(*process)
                    if alive[process]:
                        continue
                run(
                    "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?)",
                    (key, self.owner, self._machine, self._pid, self._born, now),
                )
                mine.add(key)
        return mine

    def _alive(self, machine: str, pid: int, born: str) -> bool:
        return machine != self._machine or _birth(pid) == born

    def keep_claims(self) -> None:
        """A sign of life for all claims held; call it several times per lease."""
        with self._transaction() as run:
            run("UPDATE claims SET at = ? WHERE owner = ?", (time.time(), self.owner))

    def release(self, keys: Sequence[str] | None = None) -> None:
        """Gives claims back unasked; all of them by default."""
        with self._transaction() as run:
            if keys is None:
                run("DELETE FROM claims WHERE owner = ?", (self.owner,))
            for key in keys or ():
                run("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self.owner))


def _birth(pid: int) -> str:
    """When a process began, so that a number given out again is not taken for it; '' if it is gone."""
    try:
        with suppress(PermissionError):  # it lives, under another user
            os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "unknown"  # no /proc on this system: being alive has to do
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
