"""Servers of every degree of openness, over real HTTP: a student of this process answers as vLLM, or as less, would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.students.engines.stand_in import Served, serving

from qrdistill.base.errors import BoundaryError, ConfigError, InputError
from qrdistill.base.progress import Silent
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.decode.decode import Completion
from qrdistill.students.engines.config import EngineConfig, ServerEngine, VllmEngine
from qrdistill.students.engines.engine import Engine, Surroundings
from qrdistill.students.engines.preflight import check_engine
from qrdistill.students.export import export_student
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student

PROMPTS = [f"Ann has {n} apples and buys {n + 3} more." for n in range(8)]


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
    with serving(served):
        yield served


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


def test_two_prompts_may_be_alike_by_chance_six_may_not(folder: Path, server: Served) -> None:
    server.samples = False
    settings = StudentConfig(name="ada", model=str(folder), max_context=96)
    around = Surroundings(settings, Path("/"), "cpu", 0, Silent())
    with Engine(ServerEngine(base_url=server.url), around) as asked:
        for _ in range(2):
            assert asked(PROMPTS[:2], max_tokens=8, samples=2, temperature=1.0)
        with pytest.raises(BoundaryError, match="for 6 prompts, where the student's own samples differ for 2 of 2"):
            asked(PROMPTS[:2], max_tokens=8, samples=2, temperature=1.0)


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
