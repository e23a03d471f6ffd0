"""A finished run of the embedded default, asked again with one key changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from qrdistill.base.progress import Silent
from qrdistill.base.store import content_hash
from qrdistill.runs import pipeline
from qrdistill.runs.load_config import load_config
from qrdistill.runs.manifest import Manifest
from qrdistill.runs.pipeline import due, run
from qrdistill.scores import evaluate

SMALL = {
    "name": "small",
    "questions": {"train": 6, "dev": 4, "test": 2, "options": {"hard": 0.0}},
    "paths": {"styles": ["vanilla", "facts", "program"]},
    "train": {"steps": 2, "paths_per_step": 4, "warmup": 1},
    "evaluate": {"max_tokens": 60, "vote_above": 0.0},
}
LAST = ["evaluate", "untrained", "score", "report"]
PLAN = ["load", "generate", "filter", "embed", "train", *LAST]


class Counted(Silent):
    """Which stages really ran: what else was said is `done before`."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped: list[str] = []

    def log(self, message: str) -> None:
        if message.endswith(": done before"):
            self.skipped.append(message.partition(":")[0])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    run(SMALL, folder)
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "small")
    return tmp_path / "small"


def ran(folder: Path, *overrides: str) -> list[str]:
    told = Counted()
    run(SMALL, folder, overrides, progress=told)
    return [name for name in PLAN if name not in told.skipped]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("paths.budget_usd=100", []),
        ("paths.budget_tokens=1000000", []),
        ("filter.budget_usd=100", []),
        ("train.checkpoint_every=1", []),
        ("train.keep_last=7", []),
        ("train.keep_finished=true", []),
        ("train.track=[tensorboard]", []),
        ("train.max_tokens_per_batch=99", []),
        ("evaluate.batch_size=3", []),
        ("encoder.batch_size=3", []),
        ("teachers.0.coverage=0.9", ["generate", "report"]),
        ("filter.near_duplicate=0.95", ["filter", "report"]),
        ("encoder.dimension=16", ["embed", "report"]),
        ("router.hidden=8", ["train", "report"]),
        ("mutual.share=0.5", ["train", "report"]),
        ("students.gemma.learning_rate=0.5", ["train", "report"]),
        ("students.gemma.model=lab:gemma-tiny-2", ["train", "untrained", "report"]),
        ("evaluate.vote_styles=1", ["evaluate", "score", "report"]),
        ("evaluate.base=false", ["untrained", "report"]),
        ("evaluate.fallback=true", ["score", "report"]),
        ("name=other", ["report"]),
        ("seed=1", [name for name in PLAN if name not in ("untrained", "score")]),
    ],
)
def test_what_is_due_after_a_change(finished, override, expected):
    assert due(load_config(SMALL, [override]), finished) == expected


def test_nothing_is_due_of_a_finished_run_and_a_budget_changes_no_byte(copied):
    before = {path: content_hash(path) for path in copied.rglob("*.parquet")}
    assert ran(copied) == []
    assert ran(copied, "paths.budget_usd=3", "train.checkpoint_every=1", "evaluate.batch_size=1") == []
    assert {path: content_hash(path) for path in copied.rglob("*.parquet")} == before
    assert "budget_usd: 3" in (copied / "config.yaml").read_text()


def test_another_vote_decodes_nothing_and_a_new_voter_alone_is_asked(copied, monkeypatch):
    asked: list[str] = []

    class Watched(evaluate.Engine):
        def __call__(self, prompts, **how):
            asked.append(self.name)
            return super().__call__(prompts, **how)

    monkeypatch.setattr(evaluate, "Engine", Watched)
    full = (copied / "answers.parquet").read_bytes()
    rows = len(pq.read_table(copied / "answers.parquet"))
    assert ran(copied, "evaluate.fallback=true") == ["score", "report"]
    assert ran(copied, "evaluate.vote=false") == LAST
    assert len(pq.read_table(copied / "answers.parquet")) < rows
    assert ran(copied) == LAST
    assert (copied / "answers.parquet").read_bytes() == full
    assert asked == []
    assert ran(copied, "evaluate.free=false") == LAST
    assert asked == []
    assert ran(copied, "evaluate.styles=all", "evaluate.max_tokens=13") == LAST
    assert set(asked) == {"gemma", "mistral"}


def test_a_view_of_the_config_is_enough_for_every_verb(copied):
    """Each stage saw only the keys that it declares; this run was made so."""
    stages = json.loads((copied / "manifest.json").read_text())["stages"]
    assert [name for name, record in stages.items() if record["state"] == "done"] == PLAN


def test_going_over_to_rounds_and_back_trains_and_answers_again(copied):
    """Both plans write students/: what the other one replaced is not taken for its own."""
    rounds = (
        "own_paths.rounds=1",
        "own_paths.samples=1",
        "own_paths.max_tokens=8",
        "train.steps=4",
        "evaluate.max_tokens=8",
    )
    before = (copied / "answers.parquet").read_bytes()
    assert "evaluate" in ran(copied, *rounds)
    assert "train" not in Manifest(copied).stages
    assert {"train", "evaluate"} <= set(ran(copied))
    assert (copied / "answers.parquet").read_bytes() == before
    assert "gather" not in Manifest(copied).stages


def test_the_same_package_elsewhere_trains_nothing_again(finished, tmp_path, monkeypatch):
    from qrdistill import lab

    monkeypatch.chdir(tmp_path)
    shutil.copytree(lab._STUDENTS, tmp_path / "elsewhere")
    monkeypatch.setattr(lab, "_STUDENTS", tmp_path / "elsewhere")
    assert due(load_config(SMALL), finished) == []
    weights = tmp_path / "elsewhere/gemma-tiny/generation_config.json"
    weights.write_text(weights.read_text() + "\n")
    assert due(load_config(SMALL), finished) == ["train", "untrained", "report"]


def test_what_is_checked_before_paths_are_bought_sees_the_whole_config(tmp_path):
    with pytest.raises(Exception, match="unknown judge 'nobody'"):
        run(SMALL, tmp_path / "run", ["filter.judges=[nobody]"], until="generate")
    assert not (tmp_path / "run/paths.parquet").exists()
    assert Manifest(tmp_path / "run").stages["generate"]["state"] == "failed"
    assert pipeline.plan(load_config(SMALL), "generate")[-1].name == "generate"
