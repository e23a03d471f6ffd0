"""vLLM needs a GPU: a stand-in that takes what vLLM takes shows what it is asked and what becomes of its answers."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from qrdistill.base.progress import Silent
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.engines import open_engine
from qrdistill.students.config import StudentConfig


class LLM:
    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def generate(self, requests: list[dict[str, list[int]]], parameters: Any, use_tqdm: bool) -> list[Any]:
        limit = self.settings["max_model_len"]
        assert all(len(request["prompt_token_ids"]) < limit for request in requests)  # vLLM refuses all at once
        assert parameters.stop_token_ids == [2]
        one = SimpleNamespace(token_ids=[11, 2], cumulative_logprob=-1.5, finish_reason="stop")
        return [SimpleNamespace(outputs=[one] * parameters.n) for _ in requests]


def test_vllm_answers_as_torch_would(
    student_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm = ModuleType("vllm")
    vllm.LLM, vllm.SamplingParams = LLM, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    settings = StudentConfig(name="anna", model=str(student_folders["anna"]), max_context=6)
    write = open_engine(
        settings, EvaluateConfig(engine="vllm"), base_dir=tmp_path, device="cpu", seed=0, progress=Silent()
    )
    short, long, again = write(["7 + 4 = ?", "7 + " * 9, "3"], samples=2)
    assert [(c.text, c.logprob, c.tokens, c.finish_reason) for c in short] == [("7", -1.5, 2, "stop")] * 2
    assert [(c.text, c.tokens, c.finish_reason) for c in long] == [("", 0, "length")] * 2
    assert again == short
    assert write(["7 + " * 9])[0][0].finish_reason == "length"
