"""The SQLite file below the reply cache: its format and versions, transactions, and what a damaged row is.

`PRAGMA user_version` says which format a file has. Version 1 had no checksums and no `wasted`; version 2 no
`thought` and no `limits`, and `stop` for every end but `length`. Both are upgraded in place when they are opened.
A row whose checksum does not fit is moved to the table `unreadable`.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import zlib
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qrdistill.base.errors import BoundaryError, DataError
from qrdistill.base.untrusted.guarded_json import loads
from qrdistill.llm.finish_reasons import NONE, STOP, recorded
from qrdistill.llm.reply_body import said

VERSION = 3

# what a reply's checksum covers; request and response are compressed, which brings a checksum of its own
_BEFORE = "key, host, model, text, finish_reason, prompt_tokens, completion_tokens, cost, latency, at"
COLUMNS = f"{_BEFORE}, thought"

_TABLES = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, host TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL,
    finish_reason TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    cost REAL NOT NULL, latency REAL NOT NULL, at REAL NOT NULL, request BLOB NOT NULL, response BLOB NOT NULL,
    checksum TEXT, thought TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS unreadable (
    key, host, model, text, finish_reason, prompt_tokens, completion_tokens, cost, latency, at, request, response,
    checksum, thought);
CREATE TABLE IF NOT EXISTS limits (
    host TEXT NOT NULL, model TEXT NOT NULL, tokens INTEGER NOT NULL, completion INTEGER NOT NULL,
    PRIMARY KEY (host, model, tokens, completion));
CREATE TABLE IF NOT EXISTS wasted (
    key TEXT PRIMARY KEY, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost REAL NOT NULL);
CREATE TABLE IF NOT EXISTS claims (
    key TEXT PRIMARY KEY, owner TEXT NOT NULL, machine TEXT NOT NULL, pid INTEGER NOT NULL,
    born TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS failures (
    key TEXT PRIMARY KEY, reason TEXT NOT NULL, status INTEGER, attempts INTEGER NOT NULL, at REAL NOT NULL);
"""


def checksum(*columns: object) -> str:
    """16 hex digits over the values of COLUMNS, in that order."""
    return hashlib.blake2b(repr(columns).encode(errors="backslashreplace"), digest_size=8).hexdigest()


def _read_anew(response: bytes, finish: str) -> tuple[str, str]:
    """(thought, finish reason) of a body that was stored before these were read; as it was where it tells nothing."""
    try:
        body = loads(unpack(response) or "null", where="the cache", strict=False)
    except DataError:
        return "", finish
    read = said(body) if isinstance(body, dict) else None
    if read is None or read.problem:
        return "", finish
    now = recorded(read.finish)
    return read.thought, now if finish == STOP and now != NONE else finish


def _limits(request: bytes) -> tuple[int, int] | None:
    """(max_tokens, max_completion_tokens or 0) of a stored request."""
    try:
        body = loads(unpack(request) or "null", where="the cache", strict=False)
    except DataError:
        return None
    given = [body.get(name) for name in ("max_tokens", "max_completion_tokens")] if isinstance(body, dict) else []
    return (given[0], given[1] if type(given[1]) is int else 0) if given and type(given[0]) is int else None


def pack(text: str) -> bytes:
    return zlib.compress(text.encode(), 1) if text else b""


def unpack(data: bytes) -> str | None:
    """The text; None where the bytes are damaged."""
    try:
        return zlib.decompress(data).decode() if data else ""
    except (zlib.error, UnicodeDecodeError, TypeError):
        return None


class CacheFile:
    """One connection that writes and one that reads; methods may be called from several threads.

    Raises DataError for a file that is not a reply cache, or a damaged one; BoundaryError where the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reading, self._writing = threading.Lock(), threading.Lock()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._refuse_other_database()
            self._writer, self._reader = self._connect(), self._connect()
            with self._transaction() as run:
                version = run("PRAGMA user_version").fetchone()[0]
                if not 0 <= version <= VERSION:
                    raise DataError(
                        f"was written by another version of qrdistill (format {version}; this one reads 1 to "
                        f"{VERSION}); use that version, or move the file away",
                        file=self.path,
                    )
                if version == VERSION:
                    return
                for statement in _TABLES.split(";"):
                    run(statement)
                if version:
                    self._upgrade(run, version)
                run(f"PRAGMA user_version={VERSION}")
        except sqlite3.DatabaseError as error:
            raise DataError(f"is not a reply cache ({error}); move it away", file=self.path) from error
        except OSError as error:
            raise BoundaryError(f"cannot open {self.path}: {error.strerror or error}") from error

    def _upgrade(self, run: Any, version: int) -> None:
        self._writer.create_function("checksum_of", -1, checksum, deterministic=True)
        if version == 1:
            run("ALTER TABLE replies ADD COLUMN checksum TEXT")
            run(f"UPDATE replies SET checksum = checksum_of({_BEFORE})")
        else:
            run("ALTER TABLE unreadable ADD COLUMN thought")
        run("ALTER TABLE replies ADD COLUMN thought TEXT NOT NULL DEFAULT ''")
        fitting = run(f"SELECT rowid FROM replies WHERE checksum = checksum_of({_BEFORE})").fetchall()
        for (row,) in fitting:  # one at a time: bodies are long
            query = "SELECT host, model, finish_reason, request, response FROM replies WHERE rowid = ?"
            host, model, finish, request, response = run(query, (row,)).fetchone()
            if limits := _limits(request):
                run("INSERT OR IGNORE INTO limits VALUES (?, ?, ?, ?)", (host, model, *limits))
            thought, finish = _read_anew(response, finish)
            run("UPDATE replies SET thought = ?, finish_reason = ? WHERE rowid = ?", (thought, finish, row))
            run(f"UPDATE replies SET checksum = checksum_of({COLUMNS}) WHERE rowid = ?", (row,))

    def _refuse_other_database(self) -> None:
        """Looks before anything is changed: opening for writing alone changes a database's journal mode."""
        if not self.path.exists() or not self.path.stat().st_size:
            return
        address = f"file:{quote(str(self.path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=60)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        # version 0 without tables: a cache whose making was cut short
        if tables and (not version or "replies" not in tables):
            raise DataError("is a database, and no reply cache; move it away", file=self.path)

    def _close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        connection.text_factory = _text
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # a committed reply survives a power cut too
        return connection

    @contextmanager
    def _transaction(self) -> Generator[Any]:
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer.execute
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:
                raise BoundaryError(
                    f"cannot write {self.path}: {error}; free some space or check that the disk is local, then "
                    "run the same command again"
                ) from error
            except sqlite3.DatabaseError as error:
                raise self._damaged(error) from error

    def _read(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._reading:
            try:
                return self._reader.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"is damaged ({error}); copy it, save what can be saved with `sqlite3 FILE .recover`, or move it away",
            file=self.path,
        )


def _text(data: bytes) -> str:
    """A flipped bit may leave bytes that no text has; the checksum then tells."""
    return data.decode(errors="replace")
