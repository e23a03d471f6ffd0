"""The reply cache: every teacher's and judge's reply, bought once, kept for all runs.

One SQLite file in WAL mode, the only mutable state there is. A reply is committed (and synced) before
anything uses it, so a killed process loses at most the replies that were still on the wire. Several
processes may share the file: before a request is sent it is *claimed*, and a claim whose process died
(same machine) or fell silent for longer than the lease (another one) is free again. The file must lie
on a local disk; WAL does not work over network file systems.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sqlite3
import threading
import time
import uuid
import zlib
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from qrdistill.base.errors import BoundaryError, DataError
from qrdistill.base.store import atomic

_VERSION = 1
_LEASE = 120.0  # seconds without a sign of life after which a claim is free
_VARIABLES = 500  # keys per query; SQLite's oldest limit is 999

_TABLES = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, host TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL,
    finish_reason TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    cost REAL NOT NULL, latency REAL NOT NULL, at REAL NOT NULL, request BLOB NOT NULL, response BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS claims (
    key TEXT PRIMARY KEY, owner TEXT NOT NULL, machine TEXT NOT NULL, pid INTEGER NOT NULL,
    born TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS failures (
    key TEXT PRIMARY KEY, reason TEXT NOT NULL, status INTEGER, attempts INTEGER NOT NULL, at REAL NOT NULL);
"""
_REPLY_COLUMNS = "text, finish_reason, prompt_tokens, completion_tokens, cost, latency"


@dataclass(frozen=True)
class ChatRequest:
    """Everything that shapes a reply, and `label` (a style, say), which only names it on screen.

    `sample` tells apart several samples of one prompt; it is not sent. `extra` is a JSON object of
    further body fields; a null there removes the standard field of that name.
    """

    host: str  # base_url's host and port: the same model name elsewhere is another model
    model: str
    messages: tuple[tuple[str, str], ...]  # (role, content)
    temperature: float = 0.8
    top_p: float = 1.0
    max_tokens: int = 1000
    seed: int | None = None
    sample: int = 0
    extra: str = "{}"
    label: str = field(default="", compare=False)

    @cached_property
    def key(self) -> str:
        """32 hex digits over all of it."""
        parts = (
            self.host,
            self.model,
            self.messages,
            float(self.temperature),
            float(self.top_p),
            self.max_tokens,
            self.seed,
            self.sample,
            self.extra,
        )
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    def body(self) -> dict[str, Any]:
        """The request's JSON body."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": content} for role, content in self.messages],
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }
        body |= json.loads(self.extra)
        return {name: value for name, value in body.items() if value is not None}


@dataclass(frozen=True)
class Reply:
    """What a model answered; `response` is the server's whole body, empty when read back by `get`."""

    text: str
    finish_reason: str = "stop"  # stop | length | content_filter
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0  # US dollars
    latency: float = 0.0  # seconds
    response: str = ""


@dataclass(frozen=True)
class Failed:
    """Why a request has no reply; forgotten as soon as it gets one."""

    reason: str
    status: int | None = None
    attempts: int = 1


class ReplyCache:
    """`with ReplyCache(path) as cache: ...`; methods may be called from several threads.

    Raises DataError for a file that is not a reply cache, BoundaryError where the disk refuses.
    """

    def __init__(self, path: Path, *, lease: float = _LEASE) -> None:
        self.path, self._lease = path, lease
        self.owner = uuid.uuid4().hex
        self._machine, self._pid = socket.gethostname(), os.getpid()
        self._born = _birth(self._pid)
        self._reading, self._writing = threading.Lock(), threading.Lock()

    def __enter__(self) -> ReplyCache:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._refuse_other_database()
            self._writer, self._reader = self._connect(), self._connect()
            version = self._writer.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise DataError(
                    f"was written by another version of qrdistill (format {version}); move it away",
                    file=self.path,
                )
            with self._transaction() as run:
                for statement in _TABLES.split(";"):
                    run(statement, ())
                run(f"PRAGMA user_version={_VERSION}", ())
        except sqlite3.DatabaseError as error:
            raise DataError(f"is not a reply cache ({error}); move it away", file=self.path) from error
        except OSError as error:
            raise BoundaryError(f"cannot open {self.path}: {error.strerror or error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.release()
        except BoundaryError:
            if error is None:
                raise
        finally:
            self._reader.close()
            self._writer.close()

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

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
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

    def _read(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._reading:
            return self._reader.execute(query, values).fetchall()

    # --- replies ------------------------------------------------------------------------------------

    def get(self, key: str) -> Reply | None:
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Reply]:
        """The replies that are there, without their `response`."""
        found: dict[str, Reply] = {}
        for start in range(0, len(keys), _VARIABLES):
            part = keys[start : start + _VARIABLES]
            marks = ",".join("?" * len(part))
            for key, *columns in self._read(f"SELECT key, {_REPLY_COLUMNS} FROM replies WHERE key IN ({marks})", part):
                found[key] = Reply(*columns)
        return found

    def response(self, key: str) -> str | None:
        """The server's whole body, as JSON text."""
        rows = self._read("SELECT response FROM replies WHERE key = ?", (key,))
        return _unpack(rows[0][0]) if rows else None

    def put(self, key: str, reply: Reply, request: ChatRequest | None = None) -> None:
        """Commits one reply before it returns."""
        with self._transaction() as run:
            self._put(run, key, reply, request)

    def settle(self, outcomes: Iterable[tuple[ChatRequest, Reply | Failed]]) -> None:
        """Commits many outcomes at once and gives their claims back."""
        with self._transaction() as run:
            for request, outcome in outcomes:
                if isinstance(outcome, Reply):
                    self._put(run, request.key, outcome, request)
                else:
                    run(
                        "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?)",
                        (request.key, outcome.reason, outcome.status, outcome.attempts, time.time()),
                    )
                    run("DELETE FROM claims WHERE key = ?", (request.key,))

    def _put(self, run: Any, key: str, reply: Reply, request: ChatRequest | None) -> None:
        host, model = (request.host, request.model) if request else ("", "")
        run(
            "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                host,
                model,
                reply.text,
                reply.finish_reason,
                reply.prompt_tokens,
                reply.completion_tokens,
                reply.cost,
                reply.latency,
                time.time(),
                _pack(json.dumps(request.body()) if request else ""),
                _pack(reply.response),
            ),
        )
        run("DELETE FROM claims WHERE key = ?", (key,))
        run("DELETE FROM failures WHERE key = ?", (key,))

    def failures(self, keys: Sequence[str]) -> dict[str, Failed]:
        """Why requests without a reply have none, where they were asked."""
        found: dict[str, Failed] = {}
        for start in range(0, len(keys), _VARIABLES):
            part = keys[start : start + _VARIABLES]
            marks = ",".join("?" * len(part))
            for key, *columns in self._read(
                f"SELECT key, reason, status, attempts FROM failures WHERE key IN ({marks})", part
            ):
                found[key] = Failed(*columns)
        return found

    # --- claims -------------------------------------------------------------------------------------

    def claim(self, keys: Sequence[str]) -> set[str]:
        """The keys that are now this cache object's to ask.

        The others have a reply by now, or are being asked by a living process: look again later.
        """
        mine: set[str] = set()
        alive: dict[tuple[Any, ...], bool] = {}  # few processes hold many claims
        now = time.time()
        with self._transaction() as run:
            for key in keys:
                if run("SELECT 1 FROM replies WHERE key = ?", (key,)).fetchone():
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

    # --- housekeeping -------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """What the cache holds, in all and per model; times are Unix seconds."""
        names = (
            "host",
            "model",
            "replies",
            "truncated",
            "prompt_tokens",
            "completion_tokens",
            "usd",
            "mean_latency",
            "first",
            "last",
        )
        models = [
            dict(zip(names, row, strict=True))
            for row in self._read(
                "SELECT host, model, COUNT(*), SUM(finish_reason = 'length'), SUM(prompt_tokens), "
                "SUM(completion_tokens), SUM(cost), AVG(latency), MIN(at), MAX(at) FROM replies "
                "GROUP BY host, model ORDER BY host, model"
            )
        ]
        return {
            "file": str(self.path),
            "bytes": sum(file.stat().st_size for file in self.path.parent.glob(self.path.name + "*")),
            "replies": sum(model["replies"] for model in models),
            "usd": sum(model["usd"] for model in models),
            "failures": self._read("SELECT COUNT(*) FROM failures")[0][0],
            "models": models,
        }

    def export(self, target: Path) -> int:
        """Writes every reply as one JSON line, ordered by key, request and response included."""
        names = (
            "key",
            "host",
            "model",
            "text",
            "finish_reason",
            "prompt_tokens",
            "completion_tokens",
            "cost",
            "latency",
            "at",
        )
        count = 0
        # a connection of its own: the reader's lock must not be held while a large file is written
        connection = self._connect()
        try:
            with atomic(target) as temporary, temporary.open("w", encoding="utf-8") as file:
                for row in connection.execute(
                    f"SELECT {', '.join(names)}, request, response FROM replies ORDER BY key"
                ):
                    line: dict[str, Any] = dict(zip(names, row, strict=False))
                    line["request"] = json.loads(_unpack(row[-2]) or "null")
                    line["response"] = _json_or_text(_unpack(row[-1]))
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    count += 1
        finally:
            connection.close()
        return count

    def prune(self, *, older_than_days: float | None = None, model: str | None = None, truncated: bool = False) -> int:
        """Deletes the replies that meet every condition given (none given: nothing); returns how many."""
        conditions: list[tuple[str, object]] = []
        if older_than_days is not None:
            conditions.append(("at < ?", time.time() - older_than_days * 86400))
        if model is not None:
            conditions.append(("model = ?", model))
        if truncated:
            conditions.append(("finish_reason = ?", "length"))
        if not conditions:
            return 0
        where = " AND ".join(condition for condition, _ in conditions)
        with self._transaction() as run:
            count = run(f"DELETE FROM replies WHERE {where}", [value for _, value in conditions]).rowcount
        with self._writing:
            self._writer.execute("VACUUM")
        return count


def _pack(text: str) -> bytes:
    return zlib.compress(text.encode(), 1) if text else b""


def _unpack(data: bytes) -> str:
    return zlib.decompress(data).decode() if data else ""


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text or "null")
    except json.JSONDecodeError:
        return text


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
