"""Servers of every degree of openness, over real HTTP: a student of this process answers as vLLM, or as less, would."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from qrdistill.base.errors import BoundaryError, ConfigError, InputError
from qrdistill.base.progress import Silent
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.decode.decode import Completion, decode_requests
from qrdistill.students.decode.sampler import Request
from qrdistill.students.engines.config import EngineConfig, ServerEngine, VllmEngine
from qrdistill.students.engines.engine import Engine, Surroundings
from qrdistill.students.engines.preflight import check_engine
from qrdistill.students.engines.tokens_written import token_log_probabilities
from qrdistill.students.export import export_student
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded

PROMPTS = [f"Ann has {n} apples and buys {n + 3} more." for n in range(8)]


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


@pytest.fixture(scope="module")
def folder(tiny_student_folder: Callable[..., Path]) -> Path:
    return tiny_student_folder("llama", tokenizer="metaspace")


@pytest.fixture(scope="module")
def local(folder: Path) -> list[list[Completion]]:
    """What our own decoder writes."""
    return write(folder, EngineConfig())


@pytest.fixture
def server(folder: Path) -> Iterator[Served]:
    served = Served(load_student(StudentConfig(name="ada", model=str(folder)), base_dir=Path("/")))
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
        yield served
        http.shutdown()


def write(folder: Path, engine: EngineConfig, told: Silent | None = None, **how: Any) -> list[list[Completion]]:
    around = Surroundings(StudentConfig(name="ada", model=str(folder)), Path("/"), "cpu", 0, told or Silent())
    with Engine(engine, around) as asked:
        return asked(PROMPTS, **{"max_tokens": 8, **how})


def facts(written: list[list[Completion]]) -> list[tuple[str, int, str]]:
    return [(one.text, one.tokens, one.finish_reason) for several in written for one in several]


def weaken(student: Student, by: float) -> None:
    """Weights as they were a while ago."""
    with torch.no_grad():
        for parameter in student.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * by)


@pytest.mark.parametrize(("ids", "states"), [(True, True), (False, False)])
def test_the_same_text_and_numbers_from_every_kind_of_server(
    folder: Path, local: list[list[Completion]], server: Served, ids: bool, states: bool
) -> None:
    server.ids, server.states, server.refusal, told = ids, states, 500, Silent()
    theirs = write(folder, ServerEngine(base_url=server.url), told)
    assert facts(theirs) == facts(local)
    if states:  # random weights write tokens that no tokenizer would choose for the text
        assert [row[0].logprob for row in theirs] == pytest.approx([row[0].logprob for row in local], abs=1e-3)
    flagged = [line for line in told.warnings if "greedy texts were compared instead" in line]
    assert len(flagged) == (0 if ids and states else 1)
    assert {type(body["prompt"]) for _, body in server.asked[-8:]} == {list if ids else str}


@pytest.mark.parametrize("states", [True, False])
def test_stale_weights_stop_with_the_numbers(folder: Path, server: Served, states: bool) -> None:
    server.states = states
    weaken(server.student, 0.05)
    found = r"log-probabilities differ.*by \d.* nats a token \(at most" if states else r"greedy texts.*nats less likely"
    with pytest.raises(BoundaryError, match=rf"ada: engine openai has other weights.*{found}.*the bound is 0\."):
        write(folder, ServerEngine(base_url=server.url))
    told = Silent()
    if states:
        assert write(folder, ServerEngine(base_url=server.url, check=False), told)
        assert any("check: false" in line for line in told.warnings)
    else:
        assert write(folder, ServerEngine(base_url=server.url, tolerance=50))


def test_stated_numbers_of_other_weights_stop_too(
    folder: Path, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text and numbers of two models: what a cache left behind looks like, where no prompt can be measured."""
    server.ids = False
    real = Served.answer

    def answer(self: Served, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        status, reply = real(self, path, body)
        for choice in reply.get("choices", ()):
            choice["logprobs"]["token_logprobs"] = [one - 0.2 for one in choice["logprobs"]["token_logprobs"]]
        return status, reply

    monkeypatch.setattr(Served, "answer", answer)
    with pytest.raises(BoundaryError, match=r"states log-probabilities that differ by 0\.2 nats a token"):
        write(folder, ServerEngine(base_url=server.url))


def test_a_server_that_only_seems_to_sample_is_refused(folder: Path, server: Served) -> None:
    several = write(folder, ServerEngine(base_url=server.url), samples=2, temperature=1.0)
    assert any(first.text != second.text for first, second in several)
    server.samples = False
    with pytest.raises(BoundaryError, match="sampling switched off"):
        write(folder, ServerEngine(base_url=server.url), samples=2, temperature=1.0)


def test_an_adapter_is_loaded_under_a_name_of_its_own_and_unloaded(
    folder: Path, local: list[list[Completion]], server: Served, tmp_path: Path
) -> None:
    config = StudentConfig(name="ada", model=str(folder), lora=LoraSettings(rank=2))
    export_student(
        load_student(config, base_dir=Path("/")), tmp_path / "ada"
    )  # adapters start at zero: the base's text
    engine = ServerEngine(base_url=server.url, reload="lora", model="base")
    assert facts(write(tmp_path / "ada", engine)) == facts(local)
    calls = [(path, body) for path, body in server.asked if path.endswith("lora_adapter")]
    assert [path for path, _ in calls] == ["/v1/load_lora_adapter", "/load_lora_adapter", "/unload_lora_adapter"]
    names = {body["lora_name"] for _, body in calls}
    assert len(names) == 1
    assert calls[1][1]["lora_path"] == str(tmp_path / "ada")
    assert {body["model"] for path, body in server.asked if path.endswith("completions")} == names
    write(folder, engine)  # without an adapter: the base itself
    assert server.asked[-1][1]["model"] == "base"
    with pytest.raises(InputError, match="holds no adapter"):
        write(folder, ServerEngine(base_url=server.url, reload="lora"))


def test_a_busy_server_is_asked_again_and_a_key_is_never_shown(
    folder: Path, local: list[list[Completion]], server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_ENGINE", "sk-secret-engine-0123456789")
    server.failures = 1
    engine = ServerEngine(base_url=server.url, api_key_env="MY_ENGINE")
    assert facts(write(folder, engine)) == facts(local)

    def refuse(self: Served, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return 404, {"detail": "no model for sk-secret-engine-0123456789"}

    monkeypatch.setattr(Served, "answer", refuse)
    with pytest.raises(BoundaryError, match="answers no completion for the model .*HTTP 404: no model for <MY_ENGINE>"):
        write(folder, engine)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (VllmEngine(), r"evaluate\.engine vllm is not installed: pip install 'qrdistill\[vllm\]'"),
        (ServerEngine(base_url="localhost:8000"), r"evaluate\.engine\.base_url: 'localhost:8000' is not a web address"),
        (ServerEngine(base_url="http://x", api_key_env="NOT_SET"), r"api_key_env: the environment variable NOT_SET"),
    ],
)
def test_what_cannot_be_opened_is_said_before_anything_runs(engine: EngineConfig, said: str) -> None:
    with pytest.raises((InputError, ConfigError), match=said) as raised:
        check_engine(engine, "evaluate.engine")
    assert raised.value.exit_code == 2
