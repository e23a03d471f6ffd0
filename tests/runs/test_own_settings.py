"""A student's own settings hold wherever it is loaded: in training, in sampling and in evaluation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from qrdistill import run
from qrdistill.base.records import Answer
from qrdistill.base.store import read_table

CODE = """from transformers import LlamaConfig, LlamaForCausalLM

class PupilConfig(LlamaConfig):
    model_type = "pupil"

class PupilForCausalLM(LlamaForCausalLM):
    config_class = PupilConfig
"""


def test_a_student_with_code_of_its_own_trains_and_is_evaluated(
    tmp_path: Path, tiny_student_folder: Callable[..., Path]
) -> None:
    folder = tmp_path / "pupil"
    shutil.copytree(tiny_student_folder("llama"), folder)
    (folder / "pupil_code.py").write_text(CODE)
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "pupil_code.PupilConfig", "AutoModelForCausalLM": "pupil_code.PupilForCausalLM"}
    config |= {"model_type": "pupil", "architectures": ["PupilForCausalLM"], "auto_map": own}
    (folder / "config.json").write_text(json.dumps(config))
    student = {"name": "one", "model": str(folder), "trust_remote_code": True, "max_context": 200, "dtype": "bfloat16"}
    finished = run(
        {
            "name": "tiny",
            "questions": {"task": "lab", "train": 4, "dev": 1, "test": 1},
            "paths": {"styles": ["vanilla"]},
            "students": [student],
            "router": {"kind": "all"},
            "train": {"steps": 1, "paths_per_step": 2},
            "evaluate": {"max_tokens": 240, "styles": ["vanilla"]},
        },
        tmp_path / "run",
        until="evaluate",
    )
    assert (tmp_path / "run/students/one/pupil_code.py").is_file()
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "run/students/one")
    prompts = {row.id: len(tokenizer(f"{row.question}\nSolve it.\n")["input_ids"]) for row in finished.questions()}
    untrained = read_table(tmp_path / "run/untrained.parquet", Answer)
    for answers in (finished.answers(), untrained):
        styled = [row for row in answers if row.style == "vanilla"]
        cut = [row.tokens + prompts[row.question_id] for row in styled if row.finish_reason == "length"]
        assert cut
        assert set(cut) == {200}, "the student's own context, not the model's 256"
