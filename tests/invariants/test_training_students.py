"""Students of different families and ways of training in one run: full, LoRA, NF4 with LoRA."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from qrdistill.base.store import content_hash
from qrdistill.students import loading
from qrdistill.students.adapters import Bases
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.decode.decode import decode
from qrdistill.students.export import export_student
from qrdistill.students.loading import load_student
from qrdistill.students.packing.mixed import Mix
from qrdistill.students.student import Student

pytestmark = pytest.mark.filterwarnings("ignore")  # peft's and bitsandbytes' own


@pytest.fixture
def trio(tiny_student_folder: Callable[..., Path]) -> list[StudentConfig]:
    lora = LoraSettings(rank=4, dropout=0.1)
    return [
        StudentConfig(name="full", model=str(tiny_student_folder("mistral")), learning_rate=3e-3),
        StudentConfig(
            name="lora",
            model=str(tiny_student_folder("gemma", tokenizer="metaspace", seed=1)),
            lora=lora,
            learning_rate=1e-2,
        ),
        StudentConfig(
            name="nf4",
            model=str(tiny_student_folder("qwen2", seed=2, hidden_size=64, intermediate_size=128)),
            lora=lora,
            quantize="nf4",
            learning_rate=1e-2,
        ),
    ]


def test_three_ways_of_training_share_one_run_and_resume(
    train_run: Callable[..., Any], trio: list[StudentConfig], pool: Any
) -> None:
    from qrdistill.base.progress import Silent

    class StopAfterThree(Silent):
        steps = 0

        def advance(self, steps: int = 1, **facts: object) -> None:
            self.steps += bool(facts)
            if self.steps == 3:
                raise KeyboardInterrupt

    result, whole, _ = train_run("whole", students=trio, config={"paths_per_step": 9})
    with pytest.raises(KeyboardInterrupt):
        train_run("killed", students=trio, config={"paths_per_step": 9}, progress=StopAfterThree())
    _, killed, _ = train_run("killed", students=trio, config={"paths_per_step": 9})
    weights = {
        name: [content_hash(f) for f in sorted(folder.glob("students/*/*.safetensors"))]
        for name, folder in (("whole", whole), ("killed", killed))
    }
    assert len(weights["whole"]) == 3
    assert weights["whole"] == weights["killed"]
    assert content_hash(whole / "assignments.parquet") == content_hash(killed / "assignments.parquet")

    questions, paths, _ = pool
    for config in trio:
        trained = load_student(
            config.model_copy(update={"model": result.students[config.name]}),
            base_dir=Path("."),
            device="cpu",
        )
        base = load_student(config, base_dir=Path("."), device="cpu")
        losses = []
        for student in (base, trained):
            student.model.eval()
            with torch.no_grad():
                encoded = [student.encode(questions[path.question_id].question + "\n", path.text) for path in paths]
                losses.append(student.forward(encoded).nll_B.sum().item())
        assert losses[1] < losses[0], config.name  # what was exported is what learnt
        merged = export_student(trained, whole / "merged" / config.name, merge=True)
        in_plain_transformers = [merged] if config.quantize else [merged, Path(result.students[config.name])]
        prompts = [f"{questions[path.question_id].question}\n" for path in paths[:6:2]]
        for folder in in_plain_transformers:
            answers_and_losses_agree(trained, folder, prompts, paths[0].text)


def answers_and_losses_agree(student: Student, folder: Path, prompts: list[str], response: str) -> None:
    """transformers alone opens the folder, reads a response as the student does and writes the same answers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model.eval()
    for prompt, (completion,) in zip(prompts, decode(student, prompts, max_tokens=16), strict=True):
        path = student.encode(prompt, response)
        ids = torch.tensor([path.prompt_ids + path.response_ids])
        labels = ids.clone()
        labels[:, : len(path.prompt_ids)] = -100
        with torch.no_grad():
            loss = model(input_ids=ids, labels=labels).loss * path.num_targets
            torch.testing.assert_close(loss, student.forward([path]).nll_B[0], rtol=1e-4, atol=1e-4)
        asked = tokenizer(prompt, return_tensors="pt").input_ids
        out = model.generate(asked, attention_mask=torch.ones_like(asked), max_new_tokens=16, do_sample=False)
        assert tokenizer.decode(out[0, asked.shape[1] :], skip_special_tokens=True) == completion.text


def test_a_run_with_one_copy_of_the_base_is_the_run_with_two(
    train_run: Callable[..., Any], tiny_student_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tiny_student_folder("mistral"))
    students = [
        StudentConfig(name=name, model=folder, lora=LoraSettings(rank=rank), learning_rate=1e-2)
        for name, rank in (("ada", 2), ("bob", 4))
    ]
    loaded, read = list[Any](), list[int]()
    load, forward = loading._load_model, Mix.forward
    monkeypatch.setattr(loading, "_load_model", lambda *how: loaded.append(how) or load(*how))
    monkeypatch.setattr(Mix, "forward", lambda self, few, **how: read.append(len(few)) or forward(self, few, **how))
    _, shared, _ = train_run("shared", students=students)
    assert len(loaded) == 1
    assert read == [2] * 7  # a trial, and each step's paths of both students at once
    monkeypatch.setattr(Bases, "twin", lambda self, key, load: (load(), None))
    _, apart, _ = train_run("apart", students=students)
    assert (len(loaded), len(read)) == (3, 7)
    ours, theirs = ([json.loads(line) for line in (run / "metrics.jsonl").open()] for run in (shared, apart))
    for one, other in zip(ours, theirs, strict=True):
        assert (one["imitate"], one["mutual"]) == pytest.approx((other["imitate"], other["mutual"]), rel=1e-3)
    for student in students:
        file = f"students/{student.name}/adapter_model.safetensors"
        one, other = load_file(shared / file), load_file(apart / file)
        assert all(torch.allclose(one[name], other[name], rtol=1e-2, atol=2e-3) for name in one)
