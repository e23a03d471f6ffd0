"""vLLM needs a GPU: a stand-in that takes what vLLM takes, with a real student behind it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from qrdistill.students.config import StudentConfig
from qrdistill.students.decode.decode import decode_requests
from qrdistill.students.decode.sampler import Request
from qrdistill.students.engines import in_process, preflight
from qrdistill.students.engines.tokens_written import token_log_probabilities
from qrdistill.students.loading import load_student
from qrdistill.students.tokens import Encoded


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
            draws = torch.Generator().manual_seed(getattr(parameters, "seed", 0))
            limit = parameters.max_tokens
            asked = [
                Request(prompt, torch.rand(limit, generator=draws), limit) for _ in range(getattr(parameters, "n", 1))
            ]
            decode_requests(student, asked, batch_size=len(asked), temperature=parameters.temperature)
            written = [
                SimpleNamespace(
                    token_ids=one.written,
                    cumulative_logprob=one.logprob,
                    finish_reason="stop" if one.stopped else "length",
                )
                for one in asked
            ]
            yield SimpleNamespace(outputs=written, prompt_logprobs=measured)


def stand_in_for_vllm(patch: pytest.MonkeyPatch) -> type[LLM]:
    """Until `patch` is undone, `import vllm` finds it."""
    module, requests = ModuleType("vllm"), ModuleType("vllm.lora.request")
    module.LLM, module.SamplingParams = LLM, SimpleNamespace  # type: ignore[attr-defined]
    requests.LoRARequest = lambda name, number, path: SimpleNamespace(  # type: ignore[attr-defined]
        lora_name=name, lora_int_id=number, lora_path=path
    )
    for name, one in (("vllm", module), ("vllm.lora", ModuleType("vllm.lora")), ("vllm.lora.request", requests)):
        patch.setitem(sys.modules, name, one)
    patch.setattr(preflight, "find_spec", lambda name: name)
    patch.setattr(in_process, "_RESIDENT", {})
    patch.setattr(LLM, "made", [])
    patch.setattr(LLM, "forgets", False)
    return LLM
