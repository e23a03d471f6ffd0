"""A server over real HTTP that answers with a student of this process, as vLLM, or as less, would."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from qrdistill.students.decode.decode import decode_requests
from qrdistill.students.decode.sampler import Request
from qrdistill.students.engines.tokens_written import token_log_probabilities
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded


@dataclass
class Served:
    """What the server has and does. ids: takes token ids; states: gives log-probabilities; samples: heeds temperature."""

    student: Student
    url: str = ""
    ids: bool = True
    states: bool = True
    samples: bool = True
    refusal: int = 400  # 500: as llama.cpp's Python server says that it takes no token ids
    failures: int = 0
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.asked.append((path, body))
        if self.failures:
            self.failures -= 1
            return 503, {"detail": "loading"}
        if path.endswith("lora_adapter"):
            return (404, {}) if path.startswith("/v1") else (200, "Success: adapter")
        if isinstance(body["prompt"], str):
            prompt = tuple(self.student.tokenizer(body["prompt"])["input_ids"])
        elif not self.ids:
            return self.refusal, {"detail": "prompt must be a string."}
        else:
            prompt = tuple(body["prompt"])
        temperature = body["temperature"] if self.samples else 0.0
        draws = torch.rand(body["max_tokens"], generator=torch.Generator().manual_seed(body.get("seed", 0)))
        request = Request(prompt, draws, body["max_tokens"])
        decode_requests(self.student, [request], batch_size=1, temperature=temperature)
        shown = [token for token in request.written if token not in self.student.codec.stop_ids]
        choice = {"text": self.student.codec.decode(shown), "finish_reason": "stop" if request.stopped else "length"}
        if self.states and body.get("logprobs"):
            read = (*prompt, *request.written) if body.get("echo") else tuple(request.written)
            start = 1 if body.get("echo") else 0
            path_ = Encoded(prompt[:1], read[1:], []) if start else Encoded(prompt, read, [])
            rows = token_log_probabilities(self.student, [path_])[0]
            choice["logprobs"] = {"token_logprobs": [*([None] * start), *rows]}
        if body.get("return_token_ids") and self.states:
            choice["token_ids"] = request.written
        return 200, {"choices": [choice], "usage": {"completion_tokens": len(request.written)}}


@contextmanager
def serving(served: Served) -> Generator[None]:
    """Answers at `served.url` as long as it is open."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                status, reply = served.answer(self.path, body)
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        served.url = f"http://127.0.0.1:{http.server_port}/v1"
        yield
        http.shutdown()
