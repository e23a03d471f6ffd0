"""Students of different families and ways of training in one run: full, LoRA, NF4 with LoRA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qrdistill.store import content_hash
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.loading import load_student

pytestmark = pytest.mark.filterwarnings("ignore")  # peft's and bitsandbytes' own


@pytest.fixture
def trio(tiny_student_folder: Callable[..., Path]) -> list[StudentConfig]:
    lora = LoraSettings(rank=4, dropout=0.1)
    return [
        StudentConfig(name="full", model=str(tiny_student_folder("mistral")), learning_rate=3e-3),
        StudentConfig(
            name="lora", model=str(tiny_student_folder("gemma", tokenizer="metaspace", seed=1)), lora=lora, learning_rate=1e-2
        ),
        StudentConfig(
            name="nf4", model=str(tiny_student_folder("qwen2", seed=2, hidden_size=64, intermediate_size=128)),
            lora=lora, quantize="nf4", learning_rate=1e-2,
        ),
    ]  # fmt: skip


def test_three_ways_of_training_share_one_run_and_resume(
    train_run: Callable[..., Any], trio: list[StudentConfig], pool: Any
) -> None:
    pytest.importorskip("bitsandbytes")
    from qrdistill.progress import Silent

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
    weights = {name: [content_hash(f) for f in sorted(folder.glob("students/*/*.safetensors"))]
               for name, folder in (("whole", whole), ("killed", killed))}  # fmt: skip
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
                encoded = [
                    student.encode(questions[path.question_id].question + "\n", path.text) for path in paths
                ]
                losses.append(student.forward(encoded).nll_B.sum().item())
        assert losses[1] < losses[0], config.name  # what was exported is what learnt
