"""Rounds and evaluation through a real `transformers serve`, which loads whatever folder a request names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from serve_runner import serving

from qrdistill.base.errors import BoundaryError
from qrdistill.base.progress import Silent
from qrdistill.base.records import Answer, ReasoningPath
from qrdistill.base.store import read_table
from qrdistill.runs.pipeline import run

SMALL = {
    "name": "small",
    "questions": {"train": 4, "dev": 1, "test": 1},
    "paths": {"styles": ["vanilla"]},
    "train": {"steps": 4, "paths_per_step": 4},
    "students": [
        {"name": "gemma", "model": "lab:gemma-tiny", "learning_rate": 0.01},
        {"name": "mistral", "model": "lab:mistral-tiny", "learning_rate": 0.01, "lora": {"rank": 4}},
    ],
    "own_paths": {"rounds": 1, "samples": 5, "max_tokens": 8, "ask": "all"},
    "evaluate": {"max_tokens": 8, "base": False, "vote": False},
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.mark.slow
def test_rounds_and_evaluation_by_a_server(url: str, tmp_path: Path) -> None:
    """It samples round 1 from round 0's students, answers for the last ones as our own decoder does, and a server that
    still has other weights stops the run, with the numbers."""
    engine = json.dumps({"kind": "openai", "base_url": url, "export_to": str(tmp_path / "seen")})
    told = Silent()
    run(SMALL, tmp_path / "run", [f"own_paths.engine={engine}"], progress=told)
    assert sum("greedy texts were compared instead" in line for line in told.warnings) == 2
    paths = list(read_table(tmp_path / "run/own_paths.parquet", ReasoningPath))
    assert {(path.teacher, path.round) for path in paths} == {("gemma", 1), ("mistral", 1)}
    assert len({path.text for path in paths if path.teacher == "gemma"}) > 2, "samples differ"
    own = list(read_table(tmp_path / "run/answers.parquet", Answer))

    run(SMALL, tmp_path / "run", [f"own_paths.engine={engine}", f"evaluate.engine={engine}"])
    theirs = list(read_table(tmp_path / "run/answers.parquet", Answer))
    facts = ("student", "question_id", "style", "text", "finish_reason", "tokens")
    assert [[getattr(row, fact) for fact in facts] for row in theirs] == [
        [getattr(row, fact) for fact in facts] for row in own
    ]
    assert [row.logprob for row in theirs] == pytest.approx([row.logprob for row in own], abs=1e-3)
    assert not list((tmp_path / "seen").iterdir())

    before = (tmp_path / "run/answers.parquet").read_bytes()
    old = {"kind": "openai", "base_url": url, "reload": "none", "model": str(tmp_path / "run/rounds/0/students/gemma")}
    with pytest.raises(
        BoundaryError, match=r"gemma: engine openai has other weights.*nats less likely.*; the bound is 0\."
    ):
        run(SMALL, tmp_path / "run", [f"own_paths.engine={engine}", f"evaluate.engine={json.dumps(old)}"])
    assert (tmp_path / "run/answers.parquet").read_bytes() == before
