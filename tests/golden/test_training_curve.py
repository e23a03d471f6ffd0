"""A short loss curve that a refactoring must not change.

After a change that is meant to change it: QRDISTILL_UPDATE_GOLDEN=1 pytest tests/golden, and say in
the commit why.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qrdistill.base.records import Question, ReasoningPath
from qrdistill.paths.styles import STYLES
from qrdistill.routing.config import EncoderConfig, RouterConfig
from qrdistill.routing.embed import embed
from qrdistill.students.config import StudentConfig
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.train import train

GOLDEN = Path(__file__).with_name("training_curve.json")
FIELDS = ("imitate", "mutual", "competence", "route", "balance")


def test_the_curve_is_the_golden_one(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> None:
    questions = {
        f"q{n}": Question(
            id=f"q{n}",
            split="train",
            task="t",
            family="f",
            kind="number",
            question=f"Ann has {n} apples and buys 4 more. How many?",
            gold=str(n + 4),
        )
        for n in range(12)
    }
    texts = {"chain_of_thought": "She buys 4 more.\n{} + 4 = {}", "program": "x = {} + 4\nprint(x)  # {}"}
    paths = [
        ReasoningPath(
            id=f"{name}/{style}",
            question_id=name,
            teacher="t",
            style=style,
            prompt_hash="",
            text=text.format(name[1:], question.gold),
            answer=question.gold,
        )
        for name, question in questions.items()
        for style, text in texts.items()
    ]
    students = [
        StudentConfig(name="a", model=str(tiny_student_folder("mistral")), learning_rate=3e-3),
        StudentConfig(name="b", model=str(tiny_student_folder("gemma", tokenizer="metaspace")), learning_rate=3e-3),
    ]
    pairs = [(questions[path.question_id].question, path.text) for path in paths]
    train(
        TrainData(questions, paths, STYLES, np.concatenate([*embed(pairs, EncoderConfig(dimension=16), seed=0)])),
        TrainPlan(
            students,
            RouterConfig(peer_loss="fresh"),
            MutualConfig(weight=0.2),
            TrainConfig(steps=12, paths_per_step=8, warmup=2, device="cpu"),
        ),
        tmp_path,
        base_dir=tmp_path,
        seed=0,
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    curve = {name: [round(line[name], 5) for line in lines] for name in FIELDS}
    if os.environ.get("QRDISTILL_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(curve, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    for name in FIELDS:
        # platforms round differently, and a gate at the edge may then fall the other way late in the run
        assert curve[name][:6] == pytest.approx(golden[name][:6], rel=2e-3, abs=2e-4), name
        assert curve[name] == pytest.approx(golden[name], rel=0.2, abs=0.2), name
    assert curve["imitate"][-1] < 0.8 * curve["imitate"][0]
