"""A student leaves its run: the card tells what the run knows, chat and serve ask what was trained."""

from __future__ import annotations

import io
import json
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import Command
from serve_runner import until_healthy

from qrdistill.base.errors import BoundaryError, InputError
from qrdistill.base.records import Assignment, Question
from qrdistill.base.store import write_table
from qrdistill.base.untrusted.clean_text import clean_text
from qrdistill.commands import way_out
from qrdistill.runs.leaving.export import export_from_run
from qrdistill.runs.leaving.try_out import Asked
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.decode.decode import decode
from qrdistill.students.export import export_student
from qrdistill.students.loading import load_student

SCORE = {"split": "test", "family": "all", "n": 400, "undecided": 0, "accuracy": 0.5, "low": 0.45, "high": 0.55}
GAIN = {"difference": 0.2, "low": 0.1, "high": 0.3, "n": 400}


def _headline(student: str, base: bool, correct: int, **more: Any) -> dict[str, Any]:
    score = {**SCORE, "correct": correct, "accuracy": correct / 400, "truncated": 3}
    return {
        "student": student,
        "base": base,
        "styled": {**score, "style": "facts"},
        "free": {**score, "style": "free"},
        **more,
    }


@pytest.fixture(scope="module")
def run_dir(tiny_student_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as far as a student's leaving goes: config, tables, scores, two students (ada whole, bob adapters)."""
    folder = tmp_path_factory.mktemp("run")
    base = tiny_student_folder("llama")
    students = {"ada": {}, "bob": {"lora": LoraSettings()}}
    config = {
        "name": "small",
        "seed": 7,
        "questions": {"task": "gsm8k"},
        "teachers": [{"name": "t", "kind": "openai", "model": "big-1", "base_url": "http://127.0.0.1:9/v1"}],
        "students": [{"name": name, "model": str(base)} for name in students],
    }
    config["students"][1]["lora"] = {"rank": 8}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    counts = {
        "generate": {"counts": {"paths": 90, "failures": 10}},
        "filter": {"counts": {"kept": 60, "dropped": 20, "undecided": 10}},
    }
    stages = {name: {"state": "done", "key": "k", "outputs": {}, **stage} for name, stage in counts.items()}
    (folder / "manifest.json").write_text(json.dumps({"qrdistill": "0.1.0", "format": 2, "stages": stages}))
    gained = _headline("ada", False, 300, styled_gain=GAIN, free_gain=None)
    scores = {"headlines": [gained, _headline("ada@base", True, 220)], "best_style": {"ada": "facts"}}
    (folder / "scores.json").write_text(json.dumps(scores))
    question = Question(
        id="q1", split="test", question="Ann has 3 apples. How many?", gold="3", task="t", kind="number", family="f"
    )
    write_table(folder / "questions.parquet", Question, [question])
    for name, settings in students.items():
        student = load_student(StudentConfig(name=name, model=str(base), **settings), base_dir=folder)
        export_student(student, folder / "students" / name)
    return folder


def test_the_card_holds_what_the_run_knows(run_dir: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    done = export_from_run(run_dir, "ada", tmp_path / "ada")
    card = ModelCard.load(done.folder / "README.md")
    [styled, _free] = card.data.eval_results
    assert (styled.metric_value, styled.dataset_type, styled.dataset_split) == (0.75, "gsm8k", "test")
    assert card.data.datasets == ["openai/gsm8k"]
    for words in (
        "| before training | asked for facts | 55.0 % |",
        "| after training | asked for facts | 75.0 % | 45.0 to 55.0 | 400 (test) |",
        "Asked for facts: +20.0 points over its untrained self",
        "t (big-1)",
        "100 asked for, 90 written; 60 kept by the filter, 20 dropped, 10 undecided",
        "- seed: 7",
        "the provider's terms",
        "Questions (gsm8k): MIT",
        "name: small",
        "3 of 400 answers",
        "With qrdistill 0.1.0",
    ):
        assert words in card.text, words
    assert "`full`" not in card.text
    assert f"`{load_base(run_dir)}`" in card.text
    assert {"model.safetensors", "generation_config.json", "chat_template.jinja", "Modelfile"} <= set(done.files)


def load_base(run_dir: Path) -> str:
    return Path(yaml.safe_load((run_dir / "config.yaml").read_text())["students"][0]["model"]).name


def test_a_gguf_joins_and_adapters_are_merged_into_it(run_dir: Path, tmp_path: Path) -> None:
    done = export_from_run(run_dir, "bob", tmp_path / "bob", gguf="Q8_0")
    assert "bob-q8_0.gguf" in done.files
    assert "adapter_config.json" not in done.files
    assert "llama-server -m bob-q8_0.gguf" in (done.folder / "README.md").read_text()


def test_a_dry_run_writes_and_uploads_nothing(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"merge": False, "gguf": None, "push": "me/ada", "private": True, "as_json": False, "quiet": True}
    way_out.export(run_dir, "ada", tmp_path / "ada", dry_run=True, **arguments)
    out = capsys.readouterr().out
    assert "model.safetensors" in out
    assert "not pushed (--dry-run): all of it would go to the private repository me/ada" in out
    with pytest.raises((BoundaryError, InputError), match="me/"):
        way_out.export(run_dir, "ada", tmp_path / "two", dry_run=False, **{**arguments, "push": "me/a b"})


def test_chat_writes_what_decoding_writes(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    student = load_student(StudentConfig(name="ada", model=str(run_dir / "students/ada")), base_dir=run_dir)
    asked = Asked(run_dir, "ada", style=None, temperature=0.0, max_tokens=12, device="cpu")
    assert asked.manner == "asked for facts"
    free = Asked(run_dir, "ada", style="free", temperature=0.0, max_tokens=12, device="cpu")
    pieces: list[str] = []
    free.answer("Ann has 3 apples.", pieces.append)
    [[expected]] = decode(student, ["Ann has 3 apples.\n"], max_tokens=12)
    assert "".join(pieces) == expected.text
    assert len(pieces) > 3  # as it is written
    monkeypatch.setattr(sys, "stdin", io.StringIO("Ann has 3 apples.\n\n" + "apples " * 400 + "\n"))
    way_out.chat(run_dir, "ada", style="free", temperature=0.0, max_tokens=12, device="cpu")
    said = capsys.readouterr()
    assert clean_text(expected.text) + "\n" in said.out
    assert "the student's context holds 256" in said.err
    with pytest.raises(InputError, match=r"--style nosuch: .* has vanilla, .*free"):
        Asked(run_dir, "ada", style="nosuch", temperature=0.0, max_tokens=12, device="cpu")


@pytest.mark.slow
def test_serve_answers_a_chat_request(run_dir: Path) -> None:
    """The base has no chat template: before, every chat request was answered with an error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = Command(
        *("serve", run_dir, "ada", "--with", "transformers", "--port", port), environment={"HF_HUB_OFFLINE": "1"}
    )
    try:
        until_healthy(process, port)
        reply = _asked(f"http://127.0.0.1:{port}", str(run_dir / "students/ada"))
    finally:
        process.send_signal(signal.SIGTERM)
        ended = process.said(60)
    assert reply["choices"][0]["message"]["role"] == "assistant"
    assert reply["usage"]["completion_tokens"] > 0
    assert ended.returncode == 130
    assert f"http://127.0.0.1:{port}/v1/chat/completions" in ended.stderr
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)  # the server went with us


def _asked(url: str, model: str) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "Ann has 3 apples."}], "max_tokens": 8}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.status == 200
        return json.load(reply)


def test_what_a_student_read_is_counted(run_dir: Path, tmp_path: Path) -> None:
    from qrdistill.runs.leaving.card import card_of
    from qrdistill.runs.run import Run

    rows = [
        Assignment(step=step, path_id=path, student="ada", probability=1.0, chosen=chosen, nll=None)
        for step, path, chosen in ((0, "a", True), (1, "a", True), (1, "b", True), (1, "c", False))
    ]
    write_table(run_dir / "assignments.parquet", Assignment, rows)
    try:
        assert "2 different paths, 3 readings" in card_of(Run(run_dir), "ada").text
    finally:
        (run_dir / "assignments.parquet").unlink()
