"""Exported folders: plain transformers opens them, and they answer as the student did."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qrdistill.base.errors import TrainingError
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.decode.decode import decode
from qrdistill.students.export import export_student
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student

PROMPTS = ["Ann has 3 apples.\nThink step by step.\n", "Bob drives 30 km.\n", "x - 5 = 12\n"]
KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"lora": LoraSettings(dropout=0.0)},
    "dora": {"lora": LoraSettings(dropout=0.0, dora=True, rslora=True, targets="all-linear")},
    "nf4": {"lora": LoraSettings(dropout=0.0), "quantize": "nf4"},
}


def trained(folder: Path, kind: str) -> Student:
    """A student whose weights have moved: three steps at a high rate."""
    config = StudentConfig(name="pupil", model=str(folder), **KINDS[kind])
    student = load_student(config, base_dir=Path("/"), seed=3)
    paths = [student.encode(prompt, "3 + 4 = 7, so the answer is 7.") for prompt in PROMPTS]
    optimizer = torch.optim.AdamW(student.trainable_parameters(), lr=2e-2)
    before = float(student.forward(paths).nll_B.detach().sum())
    for _ in range(3):
        optimizer.zero_grad()
        student.forward(paths).nll_B.sum().backward()
        assert all(parameter.grad is not None for parameter in student.trainable_parameters())
        optimizer.step()
    assert float(student.forward(paths).nll_B.detach().sum()) < before - 1
    student.model.eval()
    return student


@pytest.fixture(scope="module", params=list(KINDS))
def student(request: pytest.FixtureRequest, tiny_student_folder: Callable[..., Path]) -> Student:
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<turn>{% endfor %}assistant: "
    folder = tiny_student_folder(
        "mistral",
        hidden_size=64,
        intermediate_size=128,
        chat_template=template if request.param == "lora" else None,
    )
    return trained(folder, request.param)


@pytest.mark.parametrize("merge", [False, True])
def test_an_exported_student_answers_as_before(student: Student, merge: bool, tmp_path: Path) -> None:
    folder = export_student(student, tmp_path / "out", merge=merge, card="## Scores\n\nnone yet")
    again = load_student(StudentConfig(name="again", model=str(folder)), base_dir=Path("/"))
    again.model.eval()
    paths = [student.encode(prompt, "the answer is 7.") for prompt in PROMPTS]
    with torch.no_grad():
        torch.testing.assert_close(again.forward(paths).nll_B, student.forward(paths).nll_B, rtol=1e-4, atol=1e-4)
    assert [again.encode(prompt, "7") for prompt in PROMPTS] == [student.encode(p, "7") for p in PROMPTS]
    ours, theirs = (decode(s, PROMPTS, max_tokens=12) for s in (student, again))
    assert [row[0].text for row in ours] == [row[0].text for row in theirs]
    card = (folder / "README.md").read_text()
    assert "pupil" in card
    assert "none yet" in card
    assert not list(tmp_path.glob(".*"))  # nothing temporary is left


def test_merged_weights_open_in_plain_transformers(student: Student, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = export_student(student, tmp_path / "out", merge=True)
    assert (folder / "model.safetensors").is_file()
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == student.tokenizer.chat_template
    for prompt, (completion,) in zip(PROMPTS, decode(student, PROMPTS, max_tokens=12), strict=True):
        ids = torch.tensor([student.codec.prompt_ids(prompt)])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True) == completion.text


def test_merging_leaves_the_student_itself_alone(student: Student, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in student.model.state_dict().items()}
    export_student(student, tmp_path / "out", merge=True)
    after = student.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_two_exports_are_the_same_bytes(student: Student, tmp_path: Path) -> None:
    first, second = (export_student(student, tmp_path / name) for name in ("a", "b"))
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_weights_that_are_not_finite_are_not_exported(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> None:
    student = load_student(StudentConfig(name="s", model=str(tiny_student_folder("llama"))), base_dir=Path("/"))
    with torch.no_grad():
        student.trainable_parameters()[0][0, 0] = float("nan")
    with pytest.raises(TrainingError, match="not finite"):
        export_student(student, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_an_exported_student(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> None:
    student = load_student(StudentConfig(name="ada", model=str(tiny_student_folder("llama"))), base_dir=tmp_path)
    before = os.umask(0o022)
    try:
        folder = export_student(student, tmp_path / "out")
    finally:
        os.umask(before)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in folder.rglob("*") if file.is_file()}
    assert modes == dict.fromkeys(modes, "0o644")
    assert "model.safetensors" in modes
