"""What `run` and `show` print of a run's scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrdistill.base.records import Answer, Question
from qrdistill.commands.show import show
from qrdistill.runs.manifest import Manifest
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.score import score


def answered(student: str, question: str, style: str, right: bool | None, reason: str = "stop") -> Answer:
    said = None if right is None else "1" if right else "2"
    text = f"The answer is {said}."
    facts = {"text": text, "answer": said, "correct": right, "logprob": -1.0, "tokens": 5, "finish_reason": reason}
    return Answer(student=student, question_id=question, split="test", style=style, **facts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    facts = {"split": "test", "task": "t", "family": "f", "kind": "number", "gold": "1"}
    questions = {f"q{n}": Question(id=f"q{n}", question="?", **facts) for n in range(4)}
    rows = [
        answered("anna", "q0", "free", True),
        answered("anna", "q1", "free", None, "length"),
        answered("anna", "q2", "free", None),
        answered("anna", "q3", "free", True, "length"),
    ]
    (tmp_path / "scores.json").write_text(json.dumps(score(rows, questions, EvaluateConfig(vote=False))))
    manifest = Manifest(tmp_path, writing=True)
    manifest.finish("train", "k", (), counts={}, seconds=0.0, warnings=["the router never moved"])
    return tmp_path


def test_every_accuracy_stands_beside_what_was_cut_and_unreadable(folder: Path, capsys: pytest.CaptureFixture[str]):
    show(folder, "scores", [])
    shown = capsys.readouterr().out
    assert "50.0 (15.0-85.0)" in shown
    assert "2 cut, 2 unreadable" in shown


def test_the_warnings_of_the_run_stand_below(folder: Path, capsys: pytest.CaptureFixture[str]):
    show(folder, "scores", [])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert lines[0] == "warning: the router never moved"
    assert "anna: answers that were cut by evaluate.max_tokens: 2 of 4" in lines[1]
