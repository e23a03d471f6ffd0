"""What a training takes, told before it: passes over the pool, minutes, memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.students.size import student_size
from qrdistill.training.config import TrainConfig
from qrdistill.training.estimate import CostRow, training_plan

ROW = CostRow("a", trained=1000, measured=0, equivalents=3000, ratio=1.0)


def test_a_student_s_size_is_read_from_its_files(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny_student_folder("llama")
    size = student_size(StudentConfig(name="a", model=str(folder)), tmp_path, tokens=0)
    assert size is not None
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert size.parameters == size.trained == sum(weight.numel() for weight in model.parameters())
    assert size.memory == 16 * size.parameters  # weight, gradient and two moments in 32 bits
    lora = StudentConfig(name="a", model=str(folder), lora=LoraSettings(rank=2))
    adapted = student_size(lora, tmp_path, tokens=0)
    assert adapted is not None
    adapters = load_student(lora, base_dir=tmp_path, device="cpu").trainable_parameters()
    assert adapted.trained == sum(weight.numel() for weight in adapters)
    assert adapted.memory == 4 * size.parameters + 12 * adapted.trained
    assert student_size(StudentConfig(name="a", model="some/hub-id"), tmp_path, tokens=0) is None


def test_a_damaged_header_is_an_unknown_size(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text('{"num_hidden_layers": 2, "hidden_size": 8, "vocab_size": 9}')
    for content in (b"", b"\xff" * 20, (3).to_bytes(8, "little") + b"[1]", (9).to_bytes(8, "little") + b"not json."):
        (tmp_path / "m/model.safetensors").write_bytes(content)
        assert student_size(StudentConfig(name="a", model="m"), tmp_path, tokens=0) is None


@pytest.mark.parametrize(("steps", "warned"), [(100, False), (101, True)])
def test_more_than_ten_passes_are_warned_about(tmp_path: Path, steps: int, warned: bool) -> None:
    students = [StudentConfig(name="a", model="some/hub-id")]
    plan = training_plan(students, TrainConfig(steps=steps, paths_per_step=4), [ROW], num_paths=40, base_dir=tmp_path)
    assert plan.passes == pytest.approx(steps / 10)
    assert (plan.minutes, plan.memory, plan.unknown) == (None, None, ["a"])
    warning = plan.warning(steps)
    assert (warning is not None) == warned
    assert not warned or "ten passes: 100" in str(warning)


def test_the_time_follows_from_the_tokens(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> None:
    students = [StudentConfig(name="a", model=str(tiny_student_folder("llama")))]
    config = TrainConfig(steps=10, paths_per_step=4)
    once, thrice = (
        training_plan(students, config, [row], num_paths=40, base_dir=tmp_path)
        for row in (ROW, CostRow("a", 3000, 0, 9000, 1.0))
    )
    assert once.minutes is not None
    assert thrice.minutes == pytest.approx(3 * once.minutes)
    assert once.memory is not None
    assert once.memory > 0
