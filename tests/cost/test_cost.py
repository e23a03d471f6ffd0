"""The model of cost against what it is a model of: real weights, a real step's tensors, operations, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qrdistill.cost.memory import Reading, checkpoint_bytes, export_bytes, learning, step_peak, weights
from qrdistill.cost.rehearsal import Live
from qrdistill.cost.shape import read_shape
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.export import export_student
from qrdistill.students.loading import load_student
from qrdistill.students.tokens import Encoded

FORMS: list[dict[str, Any]] = [{}, {"lora": LoraSettings(rank=4)}, {"lora": LoraSettings(rank=4), "quantize": "nf4"}]


@pytest.fixture(params=["llama", "gemma3_text"])
def folder(request: pytest.FixtureRequest, tiny_student_folder: Callable[..., Path]) -> Path:
    return tiny_student_folder(request.param)


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
def test_weights_and_exports_are_those_of_the_loaded_student(
    folder: Path, tmp_path: Path, form: dict[str, Any]
) -> None:
    config = StudentConfig(name="a", model=str(folder), **form)
    shape, student = read_shape(config, tmp_path), load_student(config, base_dir=tmp_path)
    assert shape is not None
    assert shape.counts.trained == sum(weight.numel() for weight in student.trainable_parameters())
    assert shape.counts.tensors == len(student.trainable_parameters())
    assert weights(shape, gpu=False) == pytest.approx(bytes_of(student.model), rel=0.03 if config.quantize else 1e-9)
    written = export_student(student, tmp_path / "out")
    [tensors] = written.glob("*.safetensors")
    assert tensors.stat().st_size == pytest.approx(export_bytes(shape) - shape.tokenizer, rel=0.05, abs=6000)


@pytest.mark.parametrize("form", FORMS[:2], ids=["full", "lora"])
def test_a_step_keeps_and_computes_what_the_rehearsal_says(folder: Path, tmp_path: Path, form: dict[str, Any]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    config = StudentConfig(name="a", model=str(folder), **form)
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


def test_depth_two_tells_of_any_depth(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> None:
    from qrdistill.cost.rehearsal import rehearse

    folder = tiny_student_folder("llama", num_hidden_layers=5)
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


def test_what_loading_leaves_holds_no_whole_file(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> None:
    from qrdistill.students.out_of_memory import mapped_files

    before = len(mapped_files())
    folder = str(tiny_student_folder("llama"))
    config = StudentConfig(name="a", model=folder, lora=LoraSettings(rank=4), quantize="nf4")
    student = load_student(config, base_dir=tmp_path)
    assert len(mapped_files()) <= before
    assert torch.isfinite(student.forward([Encoded((5,) * 3, (6,) * 5, [])]).nll_B).all()
