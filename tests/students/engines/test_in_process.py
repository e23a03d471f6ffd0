"""vLLM needs a GPU: a stand-in that takes what vLLM takes shows what it is asked and what becomes of its answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from qrdistill.base.errors import BoundaryError
from qrdistill.base.progress import Silent
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.decode.decode import Completion, decode_requests
from qrdistill.students.decode.sampler import Request
from qrdistill.students.engines import in_process, preflight
from qrdistill.students.engines.config import EngineConfig, VllmEngine
from qrdistill.students.engines.engine import Engine, Surroundings
from qrdistill.students.engines.tokens_written import token_log_probabilities
from qrdistill.students.export import export_student
from qrdistill.students.loading import load_student
from qrdistill.students.tokens import Encoded

PROMPTS = ["Ann has 3 apples.", "x - 5 = 12", "A hen has 2 legs, " * 30]


class LLM:
    """A student behind vLLM's interface. forgets: it wakes up without its weights' values, as has happened."""

    made: list[LLM] = []
    forgets = False

    def __init__(self, **settings: Any) -> None:
        self.settings, self.calls = settings, []
        self._load(settings["model"])
        self.adapted: dict[str, Any] = {}
        LLM.made.append(self)

    def _load(self, folder: str) -> None:
        self.student = load_student(StudentConfig(name="s", model=folder), base_dir=Path("/"))

    def sleep(self, level: int) -> None:
        self.calls.append(f"sleep {level}")

    def wake_up(self) -> None:
        self.calls.append("wake up")
        if self.forgets:
            torch.nn.init.normal_(next(self.student.model.parameters()))

    def collective_rpc(self, method: str, kwargs: dict[str, str]) -> None:
        self.calls.append(method)
        self._load(kwargs["weights_path"])

    def reset_prefix_cache(self) -> None:
        self.calls.append("reset prefix cache")

    def generate(
        self, requests: list[Any], parameters: Any, use_tqdm: bool, lora_request: Any = None
    ) -> Iterator[SimpleNamespace]:
        student = self.student
        if lora_request is not None:
            assert lora_request.lora_path not in [one for one in self.adapted if self.adapted[one] != lora_request]
            self.adapted[lora_request.lora_path] = lora_request
            student = load_student(StudentConfig(name="s", model=lora_request.lora_path), base_dir=Path("/"))
        for request in requests:
            prompt = tuple(request["prompt_token_ids"])
            assert len(prompt) < (self.settings["max_model_len"] or 1 << 40)  # vLLM refuses all at once
            measured = None
            if hasattr(parameters, "prompt_logprobs"):
                row = token_log_probabilities(student, [Encoded(prompt[:1], prompt[1:], [])])[0]
                measured = [None, *({t: SimpleNamespace(logprob=p)} for t, p in zip(prompt[1:], row, strict=True))]
            asked = Request(prompt, torch.zeros(parameters.max_tokens), parameters.max_tokens)
            decode_requests(student, [asked], batch_size=1, temperature=0.0)
            one = SimpleNamespace(
                token_ids=asked.written,
                cumulative_logprob=asked.logprob,
                finish_reason="stop" if asked.stopped else "length",
            )
            yield SimpleNamespace(outputs=[one] * getattr(parameters, "n", 1), prompt_logprobs=measured)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    module, requests = ModuleType("vllm"), ModuleType("vllm.lora.request")
    module.LLM, module.SamplingParams = LLM, SimpleNamespace  # type: ignore[attr-defined]
    requests.LoRARequest = lambda name, number, path: SimpleNamespace(  # type: ignore[attr-defined]
        lora_name=name, lora_int_id=number, lora_path=path
    )
    for name, one in (("vllm", module), ("vllm.lora", ModuleType("vllm.lora")), ("vllm.lora.request", requests)):
        monkeypatch.setitem(sys.modules, name, one)
    monkeypatch.setattr(preflight, "find_spec", lambda name: name)
    monkeypatch.setattr(in_process, "_RESIDENT", {})
    monkeypatch.setattr(LLM, "made", [])
    monkeypatch.setattr(LLM, "forgets", False)
    return LLM


def write(folder: Path, engine: EngineConfig) -> list[tuple[str, float, int, str]]:
    settings = StudentConfig(name="ada", model=str(folder), max_context=96)
    with Engine(engine, Surroundings(settings, Path("/"), "cpu", 0, Silent())) as asked:
        written: list[list[Completion]] = asked(PROMPTS, max_tokens=8)
    return [(one.text, round(one.logprob, 3), one.tokens, one.finish_reason) for [one] in written]


def test_whole_weights_are_exchanged_in_place_and_proven(
    vllm: type[LLM], tiny_student_folder: Callable[..., Path]
) -> None:
    first, second = (tiny_student_folder("mistral", seed=seed) for seed in (0, 1))
    assert write(first, VllmEngine()) == write(first, EngineConfig())
    assert write(second, VllmEngine()) == write(second, EngineConfig()) != write(first, EngineConfig())
    [made] = vllm.made
    assert made.calls == ["sleep 1", "wake up", "reload_weights", "reset prefix cache", "sleep 1"]
    assert made.settings["enable_sleep_mode"]
    vllm.forgets = True
    with pytest.raises(BoundaryError, match=r"ada: engine vllm has other weights.*nats a token"):
        write(second, VllmEngine())


def test_adapters_go_along_unmerged_each_under_its_own_number(
    vllm: type[LLM], tiny_student_folder: Callable[..., Path], tmp_path: Path
) -> None:
    base = tiny_student_folder("mistral")
    config = StudentConfig(name="ada", model=str(base), lora=LoraSettings(rank=2))
    student = load_student(config, base_dir=Path("/"))
    for place in ("one", "two"):
        for parameter in student.trainable_parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        export_student(student, tmp_path / place)
    texts = [write(tmp_path / place, VllmEngine()) for place in ("one", "two", "one")]
    assert texts[0] == texts[2] == write(tmp_path / "one", EngineConfig())
    assert texts[1] == write(tmp_path / "two", EngineConfig()) != texts[0]
    [made] = vllm.made
    assert (made.settings["model"], made.settings["enable_lora"]) == (str(base), True)
    assert sorted(one.lora_int_id for one in made.adapted.values()) == [1, 2]
