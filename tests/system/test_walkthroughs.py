"""What a newcomer types: the examples' two commands each, and every command of docs/pipeline.md."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def shell(command: str, cwd: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("example", ["own-files", "reasoning-gym"])
def test_an_example_runs_and_its_students_answer_in_plain_transformers(example, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.copytree(ROOT / "examples" / example, tmp_path / "examples" / example)
    shutil.copy(ROOT / "examples/make_model.py", tmp_path / "examples")
    make, run = re.findall(
        r"^#   (python \S+|qrdistill run \S+)",
        (tmp_path / "examples" / example / "config.yaml").read_text(),
        re.MULTILINE,
    )
    shell(make, tmp_path)
    shell(f"{run} --set train.steps=4 --set train.warmup=1 --set evaluate.max_tokens=8", tmp_path)
    families = []
    for folder in sorted((tmp_path / "runs" / example / "students").iterdir()):
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        families.append(type(model).__name__)
        prompt = tokenizer("Which is heavier, a horse or a cat?\n", return_tensors="pt")
        answer = model.generate(**prompt, max_new_tokens=4, do_sample=False)
        assert answer.shape[1] > prompt["input_ids"].shape[1]
    assert families == ["LlamaForCausalLM", "Qwen2ForCausalLM"]


@pytest.mark.slow
def test_every_command_of_the_walk_through_runs(tmp_path):
    short = "questions: {train: 24, dev: 6, test: 8}\ntrain: {steps: 4, paths_per_step: 4, warmup: 1}\n"
    short += "evaluate: {max_tokens: 40}\n"
    (tmp_path / "config.yaml").write_text(short)
    (tmp_path / ".venv").symlink_to(BIN.parent)
    sizes = "questions.train=24 questions.dev=6 questions.test=8 train.steps=4 train.paths_per_step=32"
    sizes += " evaluate.max_tokens=40"
    demo = "qrdistill demo --quiet " + " ".join(f"--set {item}" for item in sizes.split())
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / "docs/pipeline.md").read_text(), re.MULTILINE | re.DOTALL)
    for language, block in blocks:
        if language == "python":
            printed = shell(f"python - <<'END'\n{block}END", tmp_path)
        elif "->" in block:
            continue
        else:
            printed = shell("set -e\n" + block.replace("make demo ", demo + " "), tmp_path)
        assert printed.strip()
        assert ": 0 of 0 rows" not in printed  # what the page names is there
    assert [language for language, _ in blocks].count("python") == 1
    assert (tmp_path / "runs/mine/report.html").exists()


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path):
    """All but the two commands that serve until Ctrl-C, and the study, which is the run several times over."""
    served = ("qrdistill view", "qrdistill serve", "qrdistill study")
    text = (ROOT / "docs/tutorial.md").read_text()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "python":
            shell(f"python - <<'END'\n{block}END", tmp_path)
            continue
        for line in block.splitlines():
            if not line.startswith(served):
                short = line.replace("config.yaml", "config.yaml --set train.steps=3 --set evaluate.max_tokens=16")
                shell(f"set -e -o pipefail; {short}", tmp_path)
    assert (tmp_path / "runs/farm/report.html").exists()
    assert (tmp_path / "farm-gemma/model.safetensors").exists()
    assert len((tmp_path / "farm-paths/train.jsonl").read_text().splitlines()) == 216
