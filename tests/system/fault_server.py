"""An OpenAI-compatible server that misbehaves on purpose: real HTTP on a real socket, standard library only.

What happens to a request follows from a hash of its body and from how often that body was seen, so
that a run can be repeated. Kinds that pass fail on their first sight only; `refuse` fails for ever.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

KINDS = (
    "busy",  # 429 with Retry-After
    "error",  # 500
    "reset",  # the connection is cut in the middle of the body
    "malformed",  # 200, but the body is no JSON
    "empty",  # 200, but no choices
    "many",  # two choices where one was asked for
    "length",  # a reply cut at max_tokens
    "drip",  # one byte now and then, never an end
    "late",  # three times the latency
    "refuse",  # 400, and the body echoes the key it was sent
)
BY_NAME = (
    "filtered",  # a content filter
    "charged",  # 500, with tokens counted all the same
    "bomb",  # 64 MiB of blanks, compressed to 64 KiB
    "long",  # twelve megabytes of reply
    "deep",  # a hundred thousand lists in each other
    "digits",  # a number of a hundred thousand digits
    "codec",  # a character set that is none
    "moved",  # a redirect
)
FREE = frozenset({"busy", "error", "refuse", "moved"})  # no token is charged for these
LASTING = frozenset({"many", "length", "refuse", "late"})  # the same on every sight


def digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class FaultServer:
    """`with FaultServer(...) as server:` serves on `server.url` from a thread of its own.

    `fault(body, sight)` chooses a kind or None; by default `rate` of all bodies get one of `kinds`,
    of which those in `without` are left out (the others stay with the bodies that they had).
    `quirk(body)` gives status and JSON of every answer itself, as a provider of its own mind does, `delay(n)` the
    seconds that the n-th takes.
    `seen` counts each body's digest, `replied` those that were answered in full; `watch` is called
    with every body before it is answered.
    """

    def __init__(
        self,
        *,
        rate: float = 0.0,
        kinds: tuple[str, ...] = KINDS,
        without: frozenset[str] = frozenset(),
        latency: float = 0.0,
        retry_after: str = "0.05",
        fault: Callable[[dict[str, Any], int], str | None] | None = None,
        watch: Callable[[dict[str, Any]], None] | None = None,
        status: int | None = None,
        text: Callable[[dict[str, Any]], str] | None = None,
        quirk: Callable[[dict[str, Any]], tuple[int, Any]] | None = None,
        delay: Callable[[int], float] = lambda number: 0.0,
    ) -> None:
        self._rate, self._kinds, self._latency, self._retry_after = rate, kinds, latency, retry_after
        self._without, self._quirk, self._delay = without, quirk, delay
        self._fault, self._watch, self._status = fault or self._by_hash, watch, status
        self._text = text or (lambda body: f"Path {digest(body)[:8]}. The answer is {len(digest(body))}.")
        self.seen: Counter[str] = Counter()
        self.replied: Counter[str] = Counter()
        self.served: Counter[str] = Counter()  # per kind
        self._asked = 0
        self.charges = 0  # requests that a text was generated for, of ten tokens each
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.in_flight = self.most_in_flight = 0
        self.errors: list[BaseException] = []

    def __enter__(self) -> FaultServer:
        self._loop = asyncio.new_event_loop()
        started = threading.Event()

        def serve() -> None:
            asyncio.set_event_loop(self._loop)
            self._server = self._loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0))
            started.set()
            self._loop.run_forever()

        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()
        started.wait()
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        async def close() -> None:
            self._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        assert not self.errors, self.errors

    def _by_hash(self, body: dict[str, Any], sight: int) -> str | None:
        number = int(digest(body), 16)
        if number % 1000 >= 1000 * self._rate:
            return None
        kind = self._kinds[number // 1000 % len(self._kinds)]
        passing = kind in self._without or (kind not in LASTING and sight > 1)
        return None if passing else kind

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if head[0].startswith("GET"):  # for its models: whether it is there
            return await _send(writer, self._status or 200, b'{"object": "list", "data": []}')
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.bodies.append(body)
        self.headers.append(headers)
        self.times.append(time.monotonic())
        if self._watch:
            try:
                self._watch(body)
            except BaseException as error:
                self.errors.append(error)
        name = digest(body)
        self.seen[name] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            kind = self._fault(body, self.seen[name])
            self.served[kind or "fine"] += 1
            self.charges += kind not in FREE and self._status is None
            await asyncio.sleep(self._latency * (3 if kind == "late" else 1))
            return await self._answer(kind, body, headers, writer)
        finally:
            self.in_flight -= 1

    async def _answer(
        self, kind: str | None, body: dict[str, Any], headers: dict[str, str], writer: asyncio.StreamWriter
    ) -> bool:
        if self._quirk:
            number = self._asked
            self._asked += 1
            status, value = self._quirk(body)
            await asyncio.sleep(self._delay(number))
            self.replied[digest(body)] += status == 200
            return await _send(writer, status, json.dumps(value).encode())
        key = headers.get("authorization", "").removeprefix("Bearer ")
        if self._status or kind in ("error", "busy", "refuse", "charged", "moved"):
            statuses = {"error": 500, "busy": 429, "refuse": 400, "charged": 500, "moved": 307}
            status = self._status or statuses[str(kind)]
            message = f"no: {kind}, your key is {key}, or ESCAPED, or ?key=QUOTED"
            usage = {"usage": {"prompt_tokens": 0, "completion_tokens": 10}} if kind == "charged" else {}
            content = _escaped({"error": {"message": message, "code": kind}, **usage}, key)
            more = f"x-echo: {key}\r\n" + (f"retry-after: {self._retry_after}\r\n" if status == 429 else "")
            more += "location: http://127.0.0.1:9/v2\r\n" if status == 307 else ""
            return await _send(writer, status, content, more)
        completion = self._completion(kind, body, key)
        content = _escaped(completion, key)
        if kind == "malformed":
            content = content[: len(content) // 2] + key.encode()
        if kind in _UNBOUNDED:
            content, more = _UNBOUNDED[kind](content)
            return await _send(writer, 200, content, more)
        if kind == "reset":
            writer.write(_head(200, len(content)) + content[: len(content) // 2])
            await writer.drain()
            writer.transport.abort()
            return False
        if kind == "drip":
            writer.write(_head(200, len(content)))
            for byte in content:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.2)
            return True
        if kind not in ("empty", "malformed"):
            self.replied[digest(body)] += 1
        return await _send(writer, 200, content)

    def _completion(self, kind: str | None, body: dict[str, Any], key: str) -> dict[str, Any]:
        text = self._text(body)
        finish = "length" if kind == "length" and body.get("max_tokens", 0) < 2000 else "stop"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        other = {"index": 1, "message": {"role": "assistant", "content": "unasked"}, "finish_reason": "stop"}
        if kind == "filtered":
            choice |= {"message": {"role": "assistant", "content": None}, "finish_reason": "content_filter"}
        choices = [] if kind == "empty" else [choice, other] if kind == "many" else [choice]
        prompt = sum(len(message["content"].split()) for message in body["messages"])
        usage = {"prompt_tokens": prompt, "completion_tokens": 10, "total_tokens": prompt + 10}
        return {
            "id": f"echo {key} ESCAPED QUOTED",
            "object": "chat.completion",
            "choices": choices,
            "usage": usage,
        }


def _bomb(content: bytes) -> tuple[bytes, str]:
    if "bomb" not in _MADE:
        squeeze = zlib.compressobj(9, wbits=31)
        blanks = b" " * (1 << 20)
        parts = [squeeze.compress(content), *(squeeze.compress(blanks) for _ in range(64)), squeeze.flush()]
        _MADE["bomb"] = b"".join(parts)
    return _MADE["bomb"], "content-encoding: gzip\r\n"


_MADE: dict[str, bytes] = {}
_UNBOUNDED: dict[str, Callable[[bytes], tuple[bytes, str]]] = {
    "bomb": _bomb,
    "long": lambda content: (content[:-1] + b" " * (12 << 20) + b"}", ""),
    "deep": lambda content: (content[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", ""),
    "digits": lambda content: (content[:-1] + b',"created":' + b"9" * 100_000 + b"}", ""),
    "codec": lambda content: (zlib.compress(content), "content-type: application/json; charset=zlib\r\n"),
}


def _escaped(value: object, key: str) -> bytes:
    """JSON in which ESCAPED stands for the key with one letter as a JSON escape, QUOTED for it in a URL."""
    spelled = key[:3] + f"\\u{ord(key[3]):04x}" + key[4:] if len(key) > 3 else key
    return json.dumps(value).replace("ESCAPED", spelled).replace("QUOTED", quote(key, safe="")).encode()


def _head(status: int, length: int, more: str = "") -> bytes:
    kind = "" if "content-type" in more else "content-type: application/json\r\n"
    return f"HTTP/1.1 {status} X\r\n{kind}{more}content-length: {length}\r\n\r\n".encode()


async def _send(writer: asyncio.StreamWriter, status: int, content: bytes, more: str = "") -> bool:
    writer.write(_head(status, len(content), more) + content)
    await writer.drain()
    return True


if __name__ == "__main__":  # a server of its own, for benchmarks: prints its address, serves until killed
    import sys

    with FaultServer(latency=float(sys.argv[1])) as server:
        print(server.url, flush=True)
        threading.Event().wait()
