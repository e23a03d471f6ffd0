"""`study recipe`: who stands against whom, by hand-made outcomes; nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from qrdistill.base.progress import Silent
from qrdistill.report.study_results import Outcome, StudyResults
from qrdistill.runs.config import Config
from qrdistill.studies import load_study
from qrdistill.studies import recipe as module
from qrdistill.studies.grid.arms import Arm
from qrdistill.studies.grid.study import Setup, Variant

TRAINED = {"best-own": 0.9, "learned": 0.7}  # every other arm: 0.6
LOSS = {"even": 0.0, "uneven": 0.1, "scarce30": 0.2}


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StudyResults:
    def run_arms(setup: Setup, variant: Variant, arms: Sequence[Arm], chosen: object) -> dict[str, list[Outcome]]:
        def one(arm: str, seed: int) -> Outcome:
            right = TRAINED.get(arm, 0.6) - LOSS[variant.name] + 0.01 * seed * (arm == "best-own")
            figures = {"mistral": right, "gemma": right}
            return Outcome(
                arm=arm, seed=seed, styled=figures, free=figures, dev=figures, vote=right, consistency=right - 0.05
            )

        return {arm.name: [one(arm.name, seed) for seed in setup.seeds] for arm in arms}

    monkeypatch.setattr(module, "run_arms", run_arms)
    return module.recipe(Setup(Config(), tmp_path, Silent(), seeds=(0, 1)))


def asked(result: StudyResults, condition: str) -> dict[str, float]:
    rows = result.conditions[condition].comparisons
    return {row.question: round(row.difference, 3) for row in rows}


def test_every_baseline_stands_in_every_condition(result: StudyResults) -> None:
    assert list(result.conditions) == ["even", "uneven", "scarce30"]
    arms = {
        "zero-shot",
        "all",
        "all-wide",
        "random",
        "best-style",
        "fixed-loss",
        "style-split",
        "best-single",
    }
    for condition in result.conditions.values():
        assert arms | {"only-vanilla", "learned", "best-own"} <= set(condition.arms)
        beaten = {row.second for row in condition.comparisons if row.first == "best-own"}
        assert arms | {"only-vanilla", "learned"} <= beaten


def test_scarce_paths_are_held_against_all_of_them(result: StudyResults) -> None:
    scarce = asked(result, "scarce30")
    assert scarce["Is best-own above best-style?"] == 0.305
    assert scarce["Is best-own above best-style with paths for every question?"] == 0.105
    assert scarce["Is best-own above best-single with paths for every question?"] == 0.105
    assert not any("every question" in question for question in asked(result, "uneven"))


def test_the_recipe_stands_beside_the_papers_method_and_not_the_other_way_round(
    result: StudyResults,
) -> None:
    even = asked(result, "even")
    assert even["Is best-own above learned?"] == 0.205
    assert "Is learned above best-own?" not in even
    assert even["Does the vote of best-own beat self-consistency at equal decodes?"] == 0.05


def test_the_page_and_the_figures_are_written(result: StudyResults, tmp_path: Path) -> None:
    assert load_study(tmp_path / "study.json") == result
    assert "Does the recipe beat every plain baseline" in (tmp_path / "report.html").read_text()
