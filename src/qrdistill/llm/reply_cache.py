"""The reply cache: every teacher's and judge's reply, bought once, kept for all runs.

One SQLite file in WAL mode, the only mutable state there is. A reply is committed (and synced) before
anything uses it, so a killed process loses at most the replies that were on the wire or on their way to
the disk: twice the concurrency. Several processes may share the file: before a request is sent it is
*claimed*, and a claim whose process died (same machine) or fell silent for longer than the lease (another
one) is free again. The file must lie on a local disk; WAL does not work over network file systems.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from qrdistill.base.errors import DataError, QRDistillError
from qrdistill.base.progress import Progress
from qrdistill.base.store import atomic
from qrdistill.base.thoughts import Parted, part
from qrdistill.base.untrusted.guarded_json import loads
from qrdistill.llm.cache_file import COLUMNS, checksum, pack, unpack
from qrdistill.llm.claims import LEASE, Claims
from qrdistill.llm.finish_reasons import ended_by_itself

_VARIABLES = 500  # keys per query; SQLite's oldest limit is 999


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

    @cached_property
    def max_completion_tokens(self) -> int:
        """The limit under its newer name, where `extra` gives it; else 0."""
        given = json.loads(self.extra).get("max_completion_tokens")
        return given if type(given) is int else 0

    @property
    def limit(self) -> int:
        """Tokens of the reply, at most."""
        return self.max_completion_tokens or self.max_tokens

    def limited(self, max_tokens: int, max_completion_tokens: int = 0) -> ChatRequest:
        """The same request with other limits; the second is used where this request has one."""
        if not self.max_completion_tokens:
            return replace(self, max_tokens=max_tokens)
        extra = json.loads(self.extra) | {"max_completion_tokens": max_completion_tokens}
        return replace(self, max_tokens=max_tokens, extra=json.dumps(extra, sort_keys=True))

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
    finish_reason: str = "stop"  # as `finish_reasons.recorded`
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0  # US dollars
    latency: float = 0.0  # seconds
    response: str = ""
    sent: str = ""  # the request's body, where it was not sent as it is
    thought: str = ""  # what came in a field of its own; a thought in tags is still in `text` (see `base.thoughts`)

    @cached_property
    def parts(self) -> Parted:
        """Thought and answer."""
        return part(self.text, self.thought)


@dataclass(frozen=True)
class Failed:
    """Why a request has no reply; forgotten as soon as it gets one."""

    reason: str
    status: int | None = None
    attempts: int = 1


class ReplyCache(Claims):
    """`with ReplyCache(path) as cache: ...`; methods may be called from several threads.

    `put_aside` counts the replies that were found damaged: each is moved to the table `unreadable`, and is
    then no reply any more, so that it is asked for again; `warn` says so. Raises as CacheFile does.
    """

    def __init__(self, path: Path, *, lease: float = LEASE) -> None:
        super().__init__(path, lease=lease)
        self.put_aside = self._told = 0

    def __enter__(self) -> ReplyCache:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.release()
        except QRDistillError:
            if error is None:
                raise
        finally:
            self._close()

    # --- replies ------------------------------------------------------------------------------------

    def get(self, key: str) -> Reply | None:
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Reply]:
        """The replies that are there, without their `response`."""
        found: dict[str, Reply] = {}
        damaged: list[int] = []
        for row, *columns, said in self._of_keys(f"SELECT rowid, {COLUMNS}, checksum FROM replies", keys):
            if said == checksum(*columns):
                found[columns[0]] = Reply(*columns[3:9], thought=columns[10])
            else:
                damaged.append(row)
        self._put_aside(damaged)
        return found

    def replies(self, requests: Sequence[ChatRequest]) -> dict[str, Reply]:
        """By the request's key: its reply, or one that ended by itself under a lower limit of tokens."""
        found = self.get_many([request.key for request in requests])
        lacking = [request for request in requests if request.key not in found]
        limits = self._read("SELECT host, model, tokens, completion FROM limits") if lacking else []
        under: dict[str, str] = {}  # key under a lower limit -> the request's key; the highest come first
        for request in lacking:
            lower = [
                other
                for host, model, *given in limits
                if (host, model) == (request.host, request.model)
                and bool(given[1]) == bool(request.max_completion_tokens)
                if (other := request.limited(*given)).limit < request.limit
            ]
            under |= {other.key: request.key for other in sorted(lower, key=lambda one: -one.limit)}
        replies = self.get_many(list(under)) if under else {}
        for key, wanted in under.items():
            if key in replies and wanted not in found and ended_by_itself(replies[key].finish_reason):
                found[wanted] = replies[key]
        return found

    def _of_keys(self, query: str, keys: Sequence[str]) -> Iterator[Any]:
        for start in range(0, len(keys), _VARIABLES):
            part = keys[start : start + _VARIABLES]
            yield from self._read(f"{query} WHERE key IN ({','.join('?' * len(part))})", part)

    def _put_aside(self, rows: Sequence[int]) -> None:
        if not rows:
            return
        with self._transaction() as run:
            run("REINDEX replies")  # the damage may be in a key, which then would still be found, and have no row
            for row in rows:
                run("INSERT INTO unreadable SELECT * FROM replies WHERE rowid = ?", (row,))
                self.put_aside += run("DELETE FROM replies WHERE rowid = ?", (row,)).rowcount

    def warn(self, progress: Progress) -> None:
        """Of the replies that were put aside since the last call."""
        new, self._told = self.put_aside - self._told, self.put_aside
        if new:
            progress.warn(
                f"{new} replies in {self.path} were damaged (their checksums do not fit): put aside in its table "
                "`unreadable`, and asked for again where they are needed"
            )

    def response(self, key: str) -> str | None:
        """The server's whole body, as JSON text; None where there is none, or a damaged one."""
        rows = self._read("SELECT response FROM replies WHERE key = ?", (key,))
        return unpack(rows[0][0]) if rows else None

    def put(self, key: str, reply: Reply, request: ChatRequest | None = None) -> None:
        """Commits one reply before it returns."""
        with self._transaction() as run:
            self._put(run, key, reply, request)

    def settle(
        self,
        outcomes: Iterable[tuple[ChatRequest, Reply | Failed]],
        wasted: Iterable[tuple[str, Reply]] = (),
        *,
        leave: Iterable[str] = (),
    ) -> None:
        """Commits many outcomes at once and gives their claims back; `wasted` is what attempts cost beside.
        The requests in `leave` leave their batch."""
        with self._transaction() as run:
            for key, cost in wasted:
                run(
                    "INSERT INTO wasted VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET prompt_tokens = "
                    "prompt_tokens + excluded.prompt_tokens, completion_tokens = completion_tokens + "
                    "excluded.completion_tokens, cost = cost + excluded.cost",
                    (key, cost.prompt_tokens, cost.completion_tokens, cost.cost),
                )
            for request, outcome in outcomes:
                if isinstance(outcome, Reply):
                    self._put(run, request.key, outcome, request)
                else:
                    run(
                        "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?)",
                        (request.key, outcome.reason, outcome.status, outcome.attempts, time.time()),
                    )
                    run("DELETE FROM claims WHERE key = ?", (request.key,))
            self._leave(run, leave)

    def _put(self, run: Any, key: str, reply: Reply, request: ChatRequest | None) -> None:
        host, model = (request.host, request.model) if request else ("", "")
        counts = int(reply.prompt_tokens), int(reply.completion_tokens)
        columns = (key, host, model, reply.text, reply.finish_reason, *counts)
        columns = (*columns, float(reply.cost), float(reply.latency), time.time(), reply.thought)
        blobs = pack(reply.sent or (json.dumps(request.body()) if request else "")), pack(reply.response)
        run(
            f"INSERT OR REPLACE INTO replies ({COLUMNS}, request, response, checksum) VALUES ({', '.join('?' * 14)})",
            (*columns, *blobs, checksum(*columns)),
        )
        if request:
            limits = request.max_tokens, request.max_completion_tokens
            run("INSERT OR IGNORE INTO limits VALUES (?, ?, ?, ?)", (host, model, *limits))
        run("DELETE FROM claims WHERE key = ?", (key,))
        run("DELETE FROM failures WHERE key = ?", (key,))

    def failures(self, keys: Sequence[str]) -> dict[str, Failed]:
        """Why requests without a reply have none, where they were asked."""
        rows = self._of_keys("SELECT key, reason, status, attempts FROM failures", keys)
        return {key: Failed(*columns) for key, *columns in rows}

    def wasted(self, keys: Sequence[str]) -> list[Reply]:
        """What attempts at these requests cost that brought no reply; texts are empty."""
        rows = self._of_keys("SELECT prompt_tokens, completion_tokens, cost FROM wasted", keys)
        return [Reply("", prompt_tokens=prompt, completion_tokens=written, cost=cost) for prompt, written, cost in rows]

    # --- housekeeping -------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """What the cache holds, in all and per model; times are Unix seconds."""
        counted = ("replies", "truncated", "prompt_tokens", "completion_tokens", "usd")
        names = ("host", "model", *counted, "mean_latency", "first", "last")
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
            "wasted_usd": self._read("SELECT COALESCE(SUM(cost), 0.0) FROM wasted")[0][0],
            "failures": self._read("SELECT COUNT(*) FROM failures")[0][0],
            "unreadable": self._read("SELECT COUNT(*) FROM unreadable")[0][0],
            "models": models,
        }

    def export(self, target: Path) -> int:
        """Writes every reply as one JSON line, ordered by key, request and response included.

        A damaged reply is left out and put aside; a damaged request or response is null.
        """
        names = COLUMNS.split(", ")
        count, damaged = 0, list[int]()
        # a connection of its own: the reader's lock must not be held while a large file is written
        connection = self._connect()
        try:
            with atomic(target) as temporary, temporary.open("w", encoding="utf-8") as file:
                for row, *columns, request, response, said in connection.execute(
                    f"SELECT rowid, {COLUMNS}, request, response, checksum FROM replies ORDER BY key"
                ):
                    if said != checksum(*columns):
                        damaged.append(row)
                        continue
                    line: dict[str, Any] = dict(zip(names, columns, strict=True))
                    line |= {"request": _json_or_text(unpack(request)), "response": _json_or_text(unpack(response))}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    count += 1
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error
        finally:
            connection.close()
        self._put_aside(damaged)
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


def _json_or_text(text: str | None) -> Any:
    try:
        return loads(text, where="the cache", strict=False) if text else None
    except DataError:
        return text
