"""The model of cost against what it is a model of: real weights, a real step's tensors, operations, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qrdistill.cost.memory import (
    Reading,
    checkpoint_bytes,
    export_bytes,
    learning,
    learning_together,
    loading,
    step_peak,
    weights,
)
from qrdistill.cost.rehearsal import Live
from qrdistill.cost.shape import read_shape
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.export import export_student
from qrdistill.students.loading import load_student
from qrdistill.students.tokens import Encoded

FORMS: list[dict[str, Any]] = [{}, {"lora": LoraSettings(rank=4)}, {"lora": LoraSettings(rank=4), "quantize": "nf4"}]


def bytes_of(model: Any) -> int:
    states = [getattr(weight, "quant_state", None) for weight in model.parameters()]
    scales = sum(
        each.nbytes
        for state in states
        if state is not None
        for each in (state.absmax, state.code, state.state2.absmax, state.state2.code)
    )
    return scales + sum(weight.nbytes for weight in model.parameters())


@pytest.mark.parametrize("form", FORMS, ids=["full", "lora", "nf4"])
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_weights_and_exports_are_those_of_the_loaded_student(
    tiny_student_folder: Callable[..., Path], tmp_path: Path, family: str, form: dict[str, Any]
) -> None:
    config = StudentConfig(name="a", model=str(tiny_student_folder(family)), **form)
    shape, student = read_shape(config, tmp_path), load_student(config, base_dir=tmp_path)
    assert shape is not None
    assert shape.counts.trained == sum(weight.numel() for weight in student.trainable_parameters())
    assert shape.counts.tensors == len(student.trainable_parameters())
    assert weights(shape, gpu=False) == pytest.approx(bytes_of(student.model), rel=0.03 if config.quantize else 1e-9)
    written = export_student(student, tmp_path / "out")
    [tensors] = written.glob("*.safetensors")
    assert tensors.stat().st_size == pytest.approx(export_bytes(shape) - shape.tokenizer, rel=0.05, abs=6000)


@pytest.mark.parametrize(("family", "form"), [("gemma3_text", FORMS[0]), ("llama", FORMS[1])], ids=["full", "lora"])
def test_a_step_keeps_and_computes_what_the_rehearsal_says(
    tiny_student_folder: Callable[..., Path], tmp_path: Path, family: str, form: dict[str, Any]
) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    config = StudentConfig(name="a", model=str(tiny_student_folder(family)), **form)
    shape, student = read_shape(config, tmp_path), load_student(config, base_dir=tmp_path)
    assert shape is not None
    paths = [Encoded((5,) * 30, (6,) * 51, []) for _ in range(6)]
    live, counter = Live(), FlopCounterMode(display=False)
    for weight in (*student.model.parameters(), *student.model.buffers()):
        live.ignore(weight)
    with live, counter:
        student.forward(paths, shared_prefix=False).nll_B.sum().backward()
    held = learning(shape, Reading(tokens=6 * 80, labels=6 * 51, length=80))
    assert step_peak([held]) - held.weights - held.optimizer == pytest.approx(live.peak, rel=0.05)
    from qrdistill.cost.rehearsal import rehearse

    run = rehearse(shape, tokens=6 * 80, labels=6 * 51, length=80)
    assert run.forward + run.backward == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.parametrize("changes", [{}, {"vocab_size": 100_000}], ids=["plain", "fused"])
def test_depth_two_tells_of_any_depth(
    tiny_student_folder: Callable[..., Path], tmp_path: Path, changes: dict[str, int]
) -> None:
    from qrdistill.cost.rehearsal import rehearse

    folder = tiny_student_folder("llama", num_hidden_layers=5, **changes)
    shape = read_shape(StudentConfig(name="a", model=str(folder)), tmp_path)
    assert shape is not None
    student = load_student(shape.student, base_dir=tmp_path)
    live = Live()
    for weight in (*student.model.parameters(), *student.model.buffers()):
        live.ignore(weight)
    with live:
        student.forward([Encoded((5,) * 30, (6,) * 51, [])] * 4, shared_prefix=False).nll_B.sum().backward()
    run = rehearse(shape, tokens=320, labels=204, length=80)
    assert run.kept + run.head == pytest.approx(live.peak, rel=0.05)


def test_a_checkpoint_is_as_large_as_the_one_that_a_training_writes(
    tiny_student_folder: Callable[..., Path], tmp_path: Path
) -> None:
    from qrdistill.runs.pipeline import run

    model = str(tiny_student_folder("llama"))
    students = [{"name": "full", "model": model}, {"name": "adapted", "model": model, "lora": {"rank": 4}}]
    train = {"steps": 1, "paths_per_step": 4, "warmup": 0, "keep_finished": True}
    asked = {"questions": {"train": 4, "dev": 1, "test": 1}, "paths": {"styles": ["vanilla", "facts"]}}
    finished = run({**asked, "students": students, "train": train, "router": {"kind": "all"}}, tmp_path, until="train")
    [step] = (tmp_path / "checkpoints").glob("step-*")
    written = sum(file.stat().st_size for file in step.rglob("*") if file.is_file())
    shapes = [read_shape(student, tmp_path) for student in finished.config.students]
    assert written == pytest.approx(checkpoint_bytes([shape for shape in shapes if shape]), rel=0.05)


def test_loading_leaves_in_memory_what_is_used_of_a_file(
    tiny_student_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_student_folder("llama", hidden_size=256, intermediate_size=1024)
    config = StudentConfig(name="a", model=str(folder), lora=LoraSettings(rank=4), quantize="nf4")
    student = load_student(config, base_dir=tmp_path)
    maps = Path("/proc/self/smaps").read_text().split("\n")
    own = [at for at, line in enumerate(maps) if line.endswith(f"{folder}/model.safetensors")]
    there = sum(next(int(line.split()[1]) for line in maps[at:] if line.startswith("Rss:")) for at in own)
    used = {one.data_ptr(): one.nbytes for one in student.model.parameters() if one.dtype == torch.float32}
    assert 1024 * there < sum(used.values()) + (1 << 20) < (folder / "model.safetensors").stat().st_size / 2
    assert torch.isfinite(student.forward([Encoded((5,) * 3, (6,) * 5, [])]).nll_B).all()


def test_students_of_one_base_bring_it_once(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> None:
    students = [StudentConfig(name=n, model=str(tiny_student_folder("llama")), lora=LoraSettings(rank=2)) for n in "ab"]
    shapes = [shape for student in students if (shape := read_shape(student, tmp_path))]
    read = Reading(tokens=100, labels=50, length=50)
    one, two = (learning_together(shapes[:count], [read] * count) for count in (1, 2))
    assert two[0] == one[0]
    assert two[1].weights == 4 * shapes[0].counts.trained
    assert loading(shapes) - loading(shapes[:1]) == two[1].weights
