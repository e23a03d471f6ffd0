from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.records import Question, ReasoningPath, Verdict, path_id
from qrdistill.base.store import TableWriter, read_table
from qrdistill.llm.config import OpenAITeacher
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.verdicts.counts import FilterCounts
from qrdistill.verdicts.filter import filter_paths


@pytest.fixture
def seccomp() -> None:
    """Skips where the kernel has no seccomp; that is asked of the kernel, so that a broken sandbox cannot skip its own tests.

    It fails where CI is set: nobody would notice else that the sandbox has not been tried.
    """
    status = Path("/proc/self/status")
    if not status.exists() or "Seccomp:" not in status.read_text():
        if os.environ.get("CI"):
            pytest.fail("CI's kernel has no seccomp, so the sandbox cannot be tested")
        pytest.skip("no seccomp in this kernel; that nothing is run then is tested everywhere")


def _question(id: str = "train-1", gold: str = "7", **fields: Any) -> Question:
    defaults = {
        "split": "train",
        "task": "lab",
        "family": "chains",
        "kind": "number",
        "question": "What is 3 + 4?",
        "metadata": {},
    }
    return Question(id=id, gold=gold, **{**defaults, **fields})


def _path(
    text: str = "3 + 4 = 7. The answer is 7.",
    question_id: str = "train-1",
    style: str = "vanilla",
    sample: int = 0,
    teacher: str = "scripted",
    **fields: Any,
) -> ReasoningPath:
    return ReasoningPath(
        id=path_id(0, question_id, teacher, style, sample),
        question_id=question_id,
        teacher=teacher,
        style=style,
        sample=sample,
        prompt_hash="0",
        text=text,
        **{"answer": None, **fields},
    )


@pytest.fixture(scope="session")
def make_question() -> Callable[..., Question]:
    return _question


@pytest.fixture(scope="session")
def make_path() -> Callable[..., ReasoningPath]:
    return _path


@pytest.fixture
def run_filter(tmp_path: Path) -> Callable[..., tuple[FilterCounts, list[Verdict]]]:
    """Runs the filter and reads back what it wrote."""

    def run(
        questions: Iterable[Question], paths: Iterable[ReasoningPath], config: Any, **options: Any
    ) -> tuple[FilterCounts, list[Verdict]]:
        target = tmp_path / "verdicts.parquet"
        with TableWriter(target, Verdict) as out:
            counts = filter_paths({one.id: one for one in questions}, paths, config, out=out, **options)
        return counts, list(read_table(target, Verdict))

    return run


# --- a judge behind real HTTP -------------------------------------------------------------------

_ADDITION = re.compile(r"(\d+) \+ (\d+) = (\d+)")


def read_fence(prompt: str) -> tuple[str, str]:
    """(question, solution) as they stand between the fence's lines, found by the mark alone."""
    mark = re.search(r"carry the mark ([0-9a-f]{32})\.", prompt)[1]
    pieces = re.search(
        rf"^\[question {mark}\]\n(.*)\n\[end of question {mark}\]\n\n"
        rf"\[solution {mark}\]\n(.*)\n\[end of solution {mark}\]$",
        prompt,
        re.DOTALL | re.MULTILINE,
    )
    return pieces[1], pieces[2]


def honest(prompt: str) -> str:
    """Checks the additions in the fenced solution, and answers as asked."""
    _, solution = read_fence(prompt)
    steps = [(m[0], int(m[1]) + int(m[2]) == int(m[3])) for m in _ADDITION.finditer(solution)]
    wrong = next((step for step, holds in steps if not holds), None)
    verdict = "undecided" if not steps else "sound" if wrong is None else "spurious"
    reply = {
        "reason": f"{len(steps)} additions",
        "first_wrong_step": wrong,
        "verdict": verdict,
        "confidence": 0.9,
    }
    return json.dumps(reply)


class JudgeServer:
    """Speaks the chat-completions API. `answer(prompt)` is what the judge says; an int is an HTTP status."""

    def __init__(self) -> None:
        self.answer: Callable[[str], str | int] = honest
        self.takes_schema = True
        self.bodies: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                status, said = 200, outer.answer(body["messages"][0]["content"])
                if "response_format" in body and not outer.takes_schema:
                    status, said = 400, "response_format is not supported"
                elif isinstance(said, int):
                    status, said = said, "out of order"
                choice = {
                    "index": 0,
                    "message": {"role": "assistant", "content": said},
                    "finish_reason": "stop",
                }
                reply = {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}
                data = json.dumps(reply if status == 200 else {"error": {"message": said}}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *arguments: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128  # more at once than the judge sends

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def config(self, **settings: Any) -> OpenAITeacher:
        return OpenAITeacher(
            **{
                "kind": "openai",
                "name": "reader",
                "model": "m",
                "base_url": self.url,
                "max_attempts": 1,
                **settings,
            }
        )


@pytest.fixture
def judge_server() -> Iterator[JudgeServer]:
    server = JudgeServer()
    yield server
    server.close()


@pytest.fixture
def replies(tmp_path: Path) -> Iterator[ReplyCache]:
    with ReplyCache(tmp_path / "replies.sqlite") as cache:
        yield cache


@pytest.fixture(scope="session")
def honest_answer() -> Callable[[str], str]:
    return honest


@pytest.fixture(scope="session")
def fence_reader() -> Callable[[str], tuple[str, str]]:
    return read_fence
