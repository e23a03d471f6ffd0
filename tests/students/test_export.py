"""Exported folders: plain transformers opens them, and they answer as the student did."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from qrdistill.base.errors import TrainingError
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.decode.decode import decode
from qrdistill.students.export import export_student
from qrdistill.students.exports.card import Card
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student
from qrdistill.students.tokens import Codec, plain_template

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
    folder = export_student(student, tmp_path / "out", merge=merge, card=Card(text="## Scores\n\nnone yet"))
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
    from transformers import AutoModelForCausalLM

    folder = export_student(student, tmp_path / "out", merge=True)
    assert (folder / "model.safetensors").is_file()
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == (student.tokenizer.chat_template or plain_template(student.tokenizer))
    for prompt, (completion,) in zip(PROMPTS, decode(student, PROMPTS, max_tokens=12), strict=True):
        ids = torch.tensor([student.codec.prompt_ids(prompt)])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True) == completion.text


@pytest.mark.parametrize("merge", [False, True])
def test_every_export_says_where_to_stop_and_how_to_ask(student: Student, merge: bool, tmp_path: Path) -> None:
    folder = export_student(student, tmp_path / "out", merge=merge)
    settings = json.loads((folder / "generation_config.json").read_text())
    assert settings["eos_token_id"] == sorted(student.codec.stop_ids)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    message = {"role": "user", "content": PROMPTS[0].removesuffix("\n")}
    asked = tokenizer.apply_chat_template([message], add_generation_prompt=True)
    assert tuple(asked["input_ids"]) == student.codec.prompt_ids(PROMPTS[0])


def test_stop_ids_of_an_adapter_folder_are_read_back(student: Student, tmp_path: Path) -> None:
    folder = export_student(student, tmp_path / "out")
    file = folder / "generation_config.json"
    file.write_text(json.dumps({"eos_token_id": [2, 7]}))
    again = load_student(StudentConfig(name="again", model=str(folder)), base_dir=Path("/"))
    assert again.codec.stop_ids >= {2, 7}


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_the_bases_tokenizer_files_travel_along(
    kind: str, tiny_student_folder: Callable[..., Path], tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_student_folder("llama", tokenizer="metaspace"), tmp_path / "base")
    (base / "tokenizer.model").write_bytes(b"pieces")
    (base / "special_tokens_map.json").write_text("{}")
    student = load_student(StudentConfig(name="ada", model=str(base), **KINDS[kind]), base_dir=tmp_path)
    folder = export_student(student, tmp_path / "out")
    assert (folder / "tokenizer.model").read_bytes() == b"pieces"
    assert (folder / "special_tokens_map.json").is_file()
    again = load_student(StudentConfig(name="again", model=str(folder)), base_dir=tmp_path)
    further = export_student(again, tmp_path / "further", merge=True)
    assert (further / "tokenizer.model").read_bytes() == b"pieces"


def test_a_student_without_a_template_trains_as_before_once_it_has_the_plain_one(
    tiny_student_folder: Callable[..., Path],
) -> None:
    for kind in ("byte_level", "metaspace"):
        tokenizer: Any = AutoTokenizer.from_pretrained(tiny_student_folder("llama", tokenizer=kind))
        before = Codec(tokenizer, name="ada").encode("Is it 7?\nThink.\n", "It is </s> 7.")
        tokenizer.chat_template = plain_template(tokenizer)
        codec = Codec(tokenizer, name="ada")
        assert not codec.has_template
        assert codec.encode("Is it 7?\nThink.\n", "It is </s> 7.") == before
        turns = [{"role": r, "content": r[:4]} for r in ("system", "user", "assistant", "user")]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        assert text == "<s>syst\nuser\nassi</s>user\n"


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


def test_weights_leave_in_the_type_of_their_source(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> None:
    """A bfloat16 source is trained in float32 and left at twice its size."""
    from transformers import AutoModelForCausalLM

    source = tiny_student_folder("llama", tie_word_embeddings=True, dtype="bfloat16")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    half = tmp_path / "half"
    model.save_pretrained(half)
    for file in source.glob("*token*"):
        (half / file.name).write_bytes(file.read_bytes())
    for name, lora in (("full", None), ("merged", LoraSettings(rank=2))):
        student = load_student(StudentConfig(name=name, model=str(half), lora=lora), base_dir=Path("/"))
        assert next(iter(student.core.parameters())).dtype == torch.float32
        folder = export_student(student, tmp_path / name, merge=True)
        sizes = [(place / "model.safetensors").stat().st_size for place in (folder, half)]
        assert sizes[0] <= 1.05 * sizes[1]
        again = AutoModelForCausalLM.from_pretrained(folder)
        assert again.dtype == torch.bfloat16
        for one, two in zip(again.parameters(), model.parameters(), strict=True):
            assert torch.equal(one, two), "untrained weights come back bit for bit"
