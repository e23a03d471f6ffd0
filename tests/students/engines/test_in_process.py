"""What vLLM is asked, and what becomes of its answers: its stand-in shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.students.engines.vllm_stand_in import LLM, stand_in_for_vllm

from qrdistill.base.errors import BoundaryError
from qrdistill.base.progress import Silent
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.decode.decode import Completion
from qrdistill.students.engines.config import EngineConfig, VllmEngine
from qrdistill.students.engines.engine import Engine, Surroundings
from qrdistill.students.export import export_student
from qrdistill.students.loading import load_student

PROMPTS = ["Ann has 3 apples.", "x - 5 = 12", "A hen has 2 legs, " * 30]


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    return stand_in_for_vllm(monkeypatch)


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
