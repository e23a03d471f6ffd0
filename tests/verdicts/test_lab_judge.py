"""The lab's planted errors as known truth: what judges and votes are worth there."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrdistill.base.records import Failure, ReasoningPath, Truth, Verdict
from qrdistill.base.store import TableWriter, read_table
from qrdistill.lab.config import LabJudge, LabTeacher
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.paths.config import PathsConfig
from qrdistill.paths.generate import GenerateWriters, generate
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.load import load_questions
from qrdistill.verdicts.audit.calibration import calibrate
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.filter import filter_paths


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    questions = load_questions(QuestionsConfig(train=150, dev=20, test=20), seed=0, base_dir=Path())
    with (
        ReplyCache(folder / "replies.sqlite") as cache,
        TableWriter(folder / "paths.parquet", ReasoningPath) as paths,
        TableWriter(folder / "failures.parquet", Failure) as failures,
        TableWriter(folder / "truth.parquet", Truth) as truth,
    ):
        writers = GenerateWriters(paths, failures, truth)
        generate(questions, [LabTeacher()], PathsConfig(), out=writers, cache=cache, base_dir=folder, seed=0)
    labels = {one.path_id: one.label for one in read_table(folder / "truth.parquet", Truth)}
    return (
        {one.id: one for one in questions},
        list(read_table(folder / "paths.parquet", ReasoningPath)),
        labels,
    )


@pytest.fixture
def measure(pool, tmp_path):
    questions, paths, labels = pool

    def measure(**config):
        with TableWriter(tmp_path / "verdicts.parquet", Verdict) as out:
            counts = filter_paths(questions, paths, FilterConfig(**config), out=out)
        return calibrate(read_table(tmp_path / "verdicts.parquet", Verdict), labels), counts

    return measure


def noisy(rate: float, name: str = "rules") -> LabJudge:
    return LabJudge(kind="lab", name=name, error_rate=rate)


def test_the_answer_check_finds_every_planted_wrong_answer(measure) -> None:
    answer = measure(judges=[])[0]["answer"]
    assert answer.precision.value == answer.recall.value == answer.caught.value == answer.kappa == 1.0


def test_the_rule_judge_matches_the_planted_truth(measure) -> None:
    judge = measure(judges=["lab"])[0]["judge"]
    assert judge.recall.value == 1.0
    assert judge.precision.low > 0.95
    assert judge.caught.low > 0.85


def test_measured_error_covers_the_planted_one(measure) -> None:
    """Recall of a judge that errs at rate e is 1 - e: the interval must hold it."""
    for rate in (0.05, 0.15, 0.3):
        recall = measure(judges=[noisy(rate)])[0]["judge"].recall
        assert recall.low <= 1 - rate <= recall.high


def test_three_votes_beat_one(measure) -> None:
    one = measure(judges=[noisy(0.15)])[0]["judge"]
    three, counts = measure(judges=[noisy(0.15)], votes=3)
    three = three["judge"]
    # intervals apart, not just means: of three independent votes two err with 3 e^2 - 2 e^3 = 0.061
    assert three.recall.low > one.recall.high
    assert three.precision.value > one.precision.value
    assert three.kappa > one.kappa + 0.1
    assert three.recall.low <= 1 - 0.06075 <= three.recall.high
    assert 0.68 < counts.agreement["rules"] < 0.81  # (1 - e)^2 + e^2 = 0.745


def test_three_judges_vote_like_three_votes(measure) -> None:
    panel = measure(judges=[noisy(0.15, name) for name in ("a", "b", "c")])[0]["judge"]
    assert panel.recall.low > 1 - 0.15


def test_the_same_seed_gives_identical_bytes(pool, tmp_path) -> None:
    questions, paths, _ = pool
    config = FilterConfig(judges=[noisy(0.15)], votes=3, keep=2)
    for name in ("first", "second"):
        with TableWriter(tmp_path / name, Verdict) as out:
            filter_paths(questions, paths, config, out=out, seed=5)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
