"""`train.closing_line` reaches every prompt that a student reads; `evaluate.stop` every completion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qrdistill import run
from qrdistill.base.records import Question
from qrdistill.paths.styles import with_closing_line


def test_a_question_asks_for_the_line_that_teachers_close_with() -> None:
    facts = {"split": "test", "task": "t", "family": "f", "gold": "1"}
    asked = with_closing_line(Question(id="1", kind="number", question="What is 3 + 4?", **facts))
    assert asked.question == "What is 3 + 4?\nEnd with: The answer is N."


def test_students_train_and_answer_with_it(tmp_path: Path, tiny_student_folder: Callable[..., Path]) -> None:
    settings: dict[str, Any] = {
        "name": "tiny",
        "questions": {"task": "lab", "train": 4, "dev": 1, "test": 2},
        "paths": {"styles": ["vanilla"]},
        "students": [{"name": "one", "model": str(tiny_student_folder("mistral"))}],
        "router": {"kind": "all"},
        "train": {"steps": 2, "paths_per_step": 4},
        "own_paths": {"rounds": 1, "warm_share": 0.5, "samples": 1, "max_tokens": 12, "ask": "all"},
        "evaluate": {"max_tokens": 12, "styles": ["vanilla"], "free": False},
    }
    plain = run(settings, tmp_path / "plain", until="evaluate")
    letters = sorted(
        {letter for row in plain.answers() for letter in row.text if letter.isascii() and letter.isalnum()}
    )
    told = run(settings, tmp_path / "told", ["train.closing_line=true", f"evaluate.stop={json.dumps(letters)}"])

    def first(name: str) -> dict[str, Any]:
        return json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0])

    assert [row.question for row in plain.questions()] == [row.question for row in told.questions()]
    assert first("told")["tokens"]["one"] > first("plain")["tokens"]["one"]
    assert first("told")["nll"] != first("plain")["nll"]
    assert all(set(row.text).isdisjoint(letters) for row in told.answers())
    own = [path.text for path in told.own_paths()]
    assert own
    assert all(set(text).isdisjoint(letters) for text in own)
