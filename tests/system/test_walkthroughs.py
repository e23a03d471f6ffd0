"""What a newcomer types: the examples' two commands each, and every command of docs/pipeline.md and the tutorial."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from command import call, python, script

ROOT = Path(__file__).parents[2]
[MAKE_DEMO] = re.findall(r"^demo:.*\n\t\$\(BIN\)/(qrdistill .*)", (ROOT / "Makefile").read_text(), re.MULTILINE)


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of each block of a page; a shell's block has none."""
    return re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def lines(block: str) -> Iterator[str]:
    """A block's commands, each to its end: one goes on in the next line as long as a quotation mark is open."""
    begun = ""
    for line in block.splitlines(keepends=True):
        begun += line
        with suppress(ValueError):
            shlex.split(begun, comments=True)
            yield begun.strip()
            begun = ""
    assert not begun


def type_in(line: str, cwd: Path) -> str:
    """What a shell would do with a command; ours and Python's are forked. Its output."""
    before, _, last = line.rpartition(" | ")
    given = type_in(before, cwd) if before else ""
    name, *words = shlex.split(last, comments=True)
    name = Path(name).name
    if name == "qrdistill":
        done = call(*words, cwd=cwd, typed=given)
    elif name == "python" and words[0] == "-c":
        done = call(words[1], cwd=cwd, main=python)
    elif name == "python":
        done = call(*words, cwd=cwd, main=script)
    else:
        done = subprocess.run(["bash", "-c", last], cwd=cwd, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done.stdout


def settings(*items: str) -> str:
    return "".join(f" --set {shlex.quote(item)}" for item in items)


@pytest.mark.parametrize(
    ("example", "sizes"),
    [
        ("own-files", ["questions.train=8", "questions.dev=2", "questions.test=2"]),
        ("reasoning-gym", ["questions.dev=2", "questions.test=2"]),
    ],
)
def test_an_example_runs_and_its_students_answer_in_plain_transformers(example, sizes, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.copytree(ROOT / "examples" / example, tmp_path / "examples" / example)
    shutil.copy(ROOT / "examples/make_model.py", tmp_path / "examples")
    make, run = re.findall(
        r"^#   (python \S+|qrdistill run \S+)",
        (tmp_path / "examples" / example / "config.yaml").read_text(),
        re.MULTILINE,
    )
    type_in(make, tmp_path)
    short = settings("train.steps=2", "train.paths_per_step=4", "train.warmup=1", "evaluate.max_tokens=4")
    type_in(run + short + settings(*sizes), tmp_path)
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
    sizes = [
        "questions={train: 8, dev: 2, test: 6}",
        "paths.styles=[vanilla, program]",
        "train={steps: 2, paths_per_step: 16, warmup: 1}",
        "evaluate.max_tokens=16",
        "own_paths.max_tokens=16",
    ]
    demo = MAKE_DEMO + settings(*sizes)
    (tmp_path / "config.yaml").write_text("".join(item.replace("=", ": ", 1) + "\n" for item in sizes if "{" in item))
    with (tmp_path / "config.yaml").open("a") as config:
        config.write("evaluate: {max_tokens: 16}\npaths: {styles: [vanilla, program]}\n")
    found = blocks("docs/pipeline.md")
    for language, block in found:
        if language == "python":
            printed = call(block.replace("train.steps=50", "train.steps=2"), cwd=tmp_path, main=python).stdout
        elif "->" in block:
            continue
        else:
            printed = "".join(type_in(line.replace("make demo ", demo + " "), tmp_path) for line in lines(block))
        assert printed.strip(), block
        assert ": 0 of 0 rows" not in printed  # what the page names is there
    assert [language for language, _ in found].count("python") == 1
    assert (tmp_path / "runs/mine/report.html").exists()


def test_the_tutorial_runs(tmp_path):
    """All but the two commands that serve until Ctrl-C, and the study, which is the run several times over."""
    served = ("qrdistill view", "qrdistill serve", "qrdistill study")
    short = settings("train.steps=2", "train.paths_per_step=4", "train.warmup=1", "evaluate.max_tokens=8")
    for language, block in blocks("docs/tutorial.md"):
        if language == "python":
            done = call(block.replace(", 300)", ", 30)"), cwd=tmp_path, main=python)
            assert done.returncode == 0, done.stderr
            continue
        for line in lines(block):
            if not line.startswith(served):
                type_in(line.replace("config.yaml", f"config.yaml{short}"), tmp_path)
    assert (tmp_path / "runs/farm/report.html").exists()
    assert (tmp_path / "farm-gemma/model.safetensors").exists()
    assert len((tmp_path / "farm-paths/train.jsonl").read_text().splitlines()) > 12
