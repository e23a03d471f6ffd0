"""The studies that are plans hang together, and small ones run for real."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.errors import InputError
from qrdistill.base.progress import Silent
from qrdistill.report.study_results import Outcome
from qrdistill.runs.config import Config
from qrdistill.studies import STUDIES, load_study, own_paths, signals, students, teachers, thinking
from qrdistill.studies.grid.outcomes import compare
from qrdistill.studies.grid.plan import Plan
from qrdistill.studies.grid.study import Setup
from qrdistill.studies.vote import methods, vote

SMALL: dict[str, Any] = {
    "questions": {"train": 8, "dev": 3, "test": 2},
    "paths": {"styles": ["vanilla", "program"]},
    "train": {"steps": 2, "paths_per_step": 6, "warmup": 1},
    "evaluate": {"max_tokens": 24, "vote_above": 0.0},
}


PLANS = (own_paths.PLAN, signals.PLAN, students.PLAN, teachers.PLAN, thinking.PLAN)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_a_plan_asks_about_arms_it_has_and_every_arm_is_a_valid_config(plan: Plan) -> None:
    config = Config()
    arms = {arm.name: arm for arm in plan.arms(config)}
    assert {arm for first, second, _ in plan.asks for arm in (first, second)} <= set(arms)
    assert plan.name in STUDIES
    for variant in plan.conditions(config):
        for arm in arms.values():
            arm.config(config, variant.changes)


@pytest.mark.parametrize("size", ["small", "large"])
def test_the_first_teacher_is_good_at_the_first_two_fifths_of_the_families(size: str) -> None:
    from qrdistill.lab.mixes import MIXES

    config = Config.model_validate({"questions": {"options": {"size": size}}})
    (arm,) = [arm for arm in teachers.PLAN.arms(config) if arm.name == "halves-learned"]
    first, second = (teacher["strength"] for teacher in arm.changes["teachers"])
    families = MIXES[size].families
    half = len(families) * 2 // 5
    assert [first[family] for family in families] == [0.05] * half + [0.6] * (len(families) - half)
    assert [second[family] for family in families] == [0.6] * half + [0.05] * (len(families) - half)


def test_students_that_only_one_arm_has_are_in_no_comparison() -> None:
    def run(arm: str, styled: dict[str, float]) -> list[Outcome]:
        return [Outcome(arm=arm, seed=0, styled=styled)]

    found = compare(run("three", {"a": 0.5, "b": 0.7, "c": 0.1}), run("two", {"a": 0.4, "b": 0.6}))
    assert found is not None
    assert found.difference == pytest.approx(0.1)


def test_a_study_of_the_lab_s_teachers_needs_the_lab(tmp_path: Path) -> None:
    config = Config.model_validate(
        {
            "questions": {"task": "gsm8k"},
            "teachers": [{"kind": "replay", "name": "r", "file": "x"}],
            "students": [{"name": "a", "model": "m"}],
        }
    )
    with pytest.raises(InputError, match="start from a config of task lab"):
        teachers.teachers(Setup(config, tmp_path, Silent()))


def scores(folder: Path, right: int) -> Path:
    def one(name: str, method: str, accuracy: float, decodes: float, equal: float | None) -> dict[str, Any]:
        cost = None if equal is None else {"difference": equal}
        return {
            "name": name,
            "method": method,
            "members": ["a/x"],
            "accuracy": accuracy,
            "decodes": decodes,
            "against_single": {"second": "a/x", "difference": accuracy - 0.5},
            "against_equal_cost": cost,
        }

    folder.mkdir()
    rows = [
        one("majority, students", "majority", 0.5, 2, 0.1),
        one("weighted by dev, students, early stop", "weighted", right / 10, 1.5, 0.2),
        one("self-consistency of a/x, 2 samples", "self_consistency", 0.4, 2, None),
        {**one("self-consistency of b/y, 2 samples", "self_consistency", 0.9, 2, None), "members": ["b/y"]},
    ]
    (folder / "scores.json").write_text(json.dumps({"ensembles": rows}))
    return folder


def test_ways_to_answer_over_seeds_by_hand(tmp_path: Path) -> None:
    found = {one.name: one for one in methods([scores(tmp_path / "0", 6), scores(tmp_path / "1", 8)])}
    # of self-consistency, only the best pair's; cheapest first
    assert list(found) == ["weighted vote", "majority vote", "self-consistency, 2 samples"]
    weighted = found["weighted vote"]
    assert (weighted.accuracy.estimate, weighted.decodes) == (pytest.approx(0.7), 1.5)
    assert weighted.over_single is not None
    assert weighted.over_single.estimate == pytest.approx(0.2)
    # two seeds are too few for an interval: they stand themselves
    assert (weighted.over_single.low, weighted.over_single.by_seed) == (None, pytest.approx((0.1, 0.3)))
    assert found["self-consistency, 2 samples"].over_equal_cost is None


@pytest.mark.slow
def test_small_studies_run_and_explain_themselves(tmp_path: Path) -> None:
    def setup(name: str, *arms: str) -> Setup:
        return Setup(Config.model_validate(SMALL), tmp_path / name, Silent(), seeds=(0,), workers=1, arms=arms)

    found = vote(setup("vote", "learned", "best-style"))
    ways = {row.name for row in found.methods["even"]["learned"]}
    assert {"weighted vote", "judge fallback", "self-consistency, 8 samples"} <= ways
    uneven = found.conditions["uneven"]
    between, sampled = uneven.comparisons
    votes = {arm: uneven.arms[arm].vote.estimate for arm in ("learned", "best-style")}
    assert between.difference == pytest.approx(votes["learned"] - votes["best-style"])
    assert (between.n, between.low, between.claim) == (1, None, 0)
    spent = next(one for one in found.methods["uneven"]["learned"] if one.name == "weighted vote").decodes
    samples = max(2, math.ceil(spent))
    assert sampled.question == f"Is the vote of learned above {samples} sampled answers of best-style?"
    second = {row.name: row for row in found.methods["uneven"]["best-style"]}
    accuracy = second[f"self-consistency, {samples} samples"].accuracy
    assert sampled.difference == pytest.approx(votes["learned"] - accuracy.estimate)
    assert load_study(tmp_path / "vote/study.json") == found
    page = (tmp_path / "vote/report.html").read_text()
    assert "Is the vote of learned above the vote of best-style?" in page
    assert "judge fallback" in page
    assert "uneven teacher" in page
    facts = teachers.teachers(setup("teachers", "halves-learned"))
    known = [(one.arm, one.seed, one.fact) for one in facts.router_information]
    assert known == [("halves-learned", 0, fact) for fact in ("teacher", "style", "family")]
    assert "tell the teachers apart" in (tmp_path / "teachers/report.html").read_text()
    assert load_study(tmp_path / "teachers/study.json") == facts


@pytest.mark.slow
def test_what_a_thinking_teacher_teaches_is_compared_by_length(tmp_path: Path) -> None:
    config = Config.model_validate({**SMALL, "evaluate": {**SMALL["evaluate"], "styles": ["vanilla"], "vote": False}})
    found = thinking.thinking(Setup(config, tmp_path / "s", Silent(), seeds=(0,), workers=1))
    lessons = {one.arm: one.lesson for one in found.lengths}
    assert lessons["answer"] < lessons["thought"] < lessons["both"]
    tags = len("<think>\n\n</think>\n\n")
    assert lessons["both"] == pytest.approx(lessons["answer"] + lessons["thought"] + tags), (
        "the same paths in every arm"
    )
    assert {(row.first, row.second) for row in found.conditions["even"].comparisons} == {
        ("both", "answer"),
        ("thought", "answer"),
        ("both", "thought"),
    }
    assert load_study(tmp_path / "s/study.json") == found
    assert "tokens of an answer" in (tmp_path / "s/report.html").read_text()
