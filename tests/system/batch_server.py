"""A server with OpenAI's files and batches: real HTTP, standard library only, and as unreliable as it is told to be.

Results come in another order than the requests. `kill`, called before and after every call is handled (and before
it is answered), may end the client's process there.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_RENAMED = "Unsupported parameter: use 'max_completion_tokens' instead of 'max_tokens'"
Fault = Callable[[dict[str, Any], int], str | None]


def completion(body: dict[str, Any]) -> dict[str, Any]:
    said = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    message = {"role": "assistant", "content": f"Path {said[:8]}. The answer is 64."}
    usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


class BatchServer:
    """`with BatchServer() as server:`. A batch is over after `polls` looks at it. `fault(body, sight)` says what comes
    of one request: None (answered), `error` (500 in its line), `refused` (400), `expired`, `lost` (no line at all), or
    `charged` (500, with tokens counted all the same), `renamed` (400: another name for max_tokens).
    `refuse` maps a call, such as `POST /files`, to an HTTP status."""

    def __init__(
        self,
        *,
        polls: int = 2,
        fault: Fault = lambda body, sight: None,
        kill: Callable[[str], None] = lambda place: None,
        refuse: dict[str, int] | None = None,
        forgets_metadata: bool = False,
        failed: Callable[[int], str | None] = lambda number: None,
        text: Callable[[dict[str, Any]], str] | None = None,
    ) -> None:
        self._text = text
        self._polls, self._fault, self._kill, self.refuse = polls, fault, kill, refuse or {}
        self._forgets, self._failed = forgets_metadata, failed
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self._looks: Counter[str] = Counter()
        self.calls: list[str] = []
        self.seen: Counter[str] = Counter()  # custom ids that a batch was made with
        self.answered: Counter[str] = Counter()
        self.keys: set[str] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> BatchServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])))

            def do_GET(self) -> None:
                self._answer(b"")

            def _answer(self, content: bytes) -> None:
                path = self.path.removeprefix("/v1").split("?")[0]
                name = f"{self.command} {re.sub(r'(file|batch)-[^/]+', 'ID', path)}"
                outer.keys.add(self.headers.get("authorization", ""))
                if name == "POST /files":
                    assert "boundary=" in self.headers["content-type"]
                with outer._lock:
                    outer.calls.append(name)
                    outer._kill(f"before {name}")
                    status, said = outer._call(name, path, content)
                    outer._kill(f"after {name}")
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True  # the client was killed

            def log_message(self, format: str, *arguments: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        made = completion(body)
        if self._text:
            made["choices"][0]["message"]["content"] = self._text(body)
        return made

    def _call(self, name: str, path: str, content: bytes) -> tuple[int, Any]:
        if status := self.refuse.get(name):
            return status, {"error": {"message": f"no {name}", "code": "refused"}}
        match name:
            case "POST /files":
                file_id = f"file-{len(self.files)}"
                parts = content.split(content.split(b"\r\n")[0])  # by the boundary
                [part] = [part for part in parts if b'name="file"' in part]
                assert any(b'name="purpose"' in part and b"\r\n\r\nbatch\r\n" in part for part in parts)
                self.files[file_id] = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
                return 200, {"id": file_id, "object": "file", "purpose": "batch"}
            case "POST /batches":
                return 200, self._make(json.loads(content))
            case "GET /batches":
                newest = sorted(self.batches.values(), key=lambda one: -one["created_at"])
                return 200, {"object": "list", "data": newest, "has_more": False}
            case "GET /batches/ID":
                found = self.batches.get(path.split("/")[-1])
                return (200, self._look(found)) if found else (404, {"error": {"message": "no such batch"}})
            case "GET /files/ID/content":
                return 200, self.files[path.split("/")[-2]]
            case "POST /chat/completions":
                return 200, self._completion(json.loads(content))
        return 404, {"error": {"message": f"no {name}"}}

    def _make(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["endpoint"] == "/v1/chat/completions"
        number = len(self.batches)
        lines = self.files[asked["input_file_id"]].splitlines()
        batch = {
            "id": f"batch-{number}",
            "object": "batch",
            "status": "validating",
            "input_file_id": asked["input_file_id"],
            "metadata": None if self._forgets else asked["metadata"],
            "created_at": int(time.time()),
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        }
        if problem := self._failed(number):
            batch |= {"status": "failed", "errors": {"data": [{"code": problem, "message": "not like this"}]}}
        else:
            self.seen.update(json.loads(line)["custom_id"] for line in lines)
        self.batches[batch["id"]] = batch
        return batch

    def _look(self, batch: dict[str, Any]) -> dict[str, Any]:
        self._looks[batch["id"]] += 1
        if batch["status"] == "validating":
            batch["status"] = "in_progress"
        elif batch["status"] == "in_progress" and self._looks[batch["id"]] >= self._polls:
            self._end(batch)
        return batch

    def _end(self, batch: dict[str, Any]) -> None:
        out: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        expired = False
        for text in self.files[batch["input_file_id"]].splitlines():
            line = json.loads(text)
            key, body = line["custom_id"], line["body"]
            kind = self._fault(body, self.seen[key])
            said: dict[str, Any] = {"id": f"r-{key}", "custom_id": key, "response": None, "error": None}
            expired = expired or kind == "expired"
            if kind == "expired":
                bad.append(said | {"error": {"code": "batch_expired", "message": "not in time"}})
            elif kind in ("error", "refused", "charged", "renamed"):
                message = _RENAMED if kind == "renamed" else f"{kind} it is"
                problem: dict[str, Any] = {"error": {"message": message}}
                problem |= {"usage": {"prompt_tokens": 0, "completion_tokens": 10}} if kind == "charged" else {}
                bad.append(
                    said
                    | {"response": {"status_code": 400 if kind in ("refused", "renamed") else 500, "body": problem}}
                )
            elif kind != "lost":
                self.answered[key] += 1
                out.append(said | {"response": {"status_code": 200, "body": self._completion(body)}})
        out.sort(key=lambda line: hashlib.sha256(line["custom_id"].encode()).digest())
        out += [
            {"custom_id": "nobody's", "response": {"status_code": 200, "body": {}}},
            *out[:1],
        ]  # a stranger, a repeat
        for name, lines in (("output_file_id", out), ("error_file_id", bad)):
            file_id = f"file-{len(self.files)}"
            self.files[file_id] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            batch[name] = file_id if lines else None
        counts = {"completed": len(out) - 2, "failed": len(bad)}
        batch["request_counts"] |= counts
        batch["status"] = "expired" if expired else "completed"
