"""The lab's teacher behind an OpenAI-compatible address, and the questions it knows.

    python teacher_server.py QUESTIONS.jsonl      writes the questions, then serves on port 8765

GET /count says how many replies were sold since the last GET. Every reply takes 0.2 s.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from qrdistill.lab.config import LabTeacher
from qrdistill.lab.questions import load
from qrdistill.lab.teacher import LabTeacherImplementation
from qrdistill.paths.styles import STYLES
from qrdistill.questions.config import QuestionsConfig

QUESTIONS = list(load(QuestionsConfig(task="lab", train=60, dev=20, test=60), seed=0, base_dir=Path()))
BY_TEXT = {question.question: question for question in QUESTIONS}
TEACHER = LabTeacherImplementation(LabTeacher(name="lab", kind="lab"), base_dir=Path(), seed=0, questions=QUESTIONS)
LOCK = threading.Lock()
sold = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        global sold
        with LOCK:
            self.answer(sold)
            sold = 0

    def do_POST(self) -> None:
        global sold
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][-1]["content"]
        content = content if isinstance(content, str) else content[0]["text"]
        question, _, instruction = content.partition("\n\n")
        style = STYLES["program" if "Python program" in instruction else "chain_of_thought"]
        draft = TEACHER.path(BY_TEXT[question], style, 0)
        assert draft is not None
        time.sleep(0.2)
        with LOCK:
            sold += 1
        tokens = {"prompt_tokens": draft.prompt_tokens, "completion_tokens": draft.completion_tokens}
        message = {"role": "assistant", "content": draft.text}
        self.answer(
            {"id": "lab", "object": "chat.completion", "created": 0, "model": "lab"}
            | {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
            | {"usage": tokens | {"total_tokens": sum(tokens.values())}}
        )

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients that are killed hang up: nothing to tell."""


if __name__ == "__main__":
    rows = [{"id": q.id, "split": q.split, "question": q.question, "gold": q.gold} for q in QUESTIONS]
    Path(sys.argv[1]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    Server(("127.0.0.1", 8765), Handler).serve_forever()
