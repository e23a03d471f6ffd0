"""Each of the eight tasks' sample files goes through all stages, with a replay teacher."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import qrdistill
from qrdistill.base.records import Answer, Question, ReasoningPath, Verdict
from qrdistill.base.store import read_table

SAMPLES = Path(__file__).parents[2] / "examples" / "tasks"


@pytest.mark.parametrize("config", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_sample_runs_through_all_stages(config: Path, tmp_path: Path) -> None:
    run = qrdistill.run(config, tmp_path / "run", ["train.steps=2"])
    folder = run.folder
    questions = {question.id: question for question in read_table(folder / "questions.parquet", Question)}
    assert Counter(q.split for q in questions.values()) == {"train": 6, "dev": 2, "test": 4}
    paths = list(read_table(folder / "paths.parquet", ReasoningPath))
    verdicts = [v for v in read_table(folder / "verdicts.parquet", Verdict) if v.check == "filter"]
    assert {verdict.path_id for verdict in verdicts} == {path.id for path in paths}
    assert len(verdicts) == len(paths) == 18  # kept + dropped + undecided = generated
    assert Counter(verdict.outcome for verdict in verdicts)["keep"] >= 10
    assert {answer.student for answer in read_table(folder / "answers.parquet", Answer)} == {
        "mistral",
        "gemma",
    }
    assert (folder / "report.html").stat().st_size > 1000
