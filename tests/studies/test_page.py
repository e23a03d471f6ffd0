"""Study pages say no more than the intervals do, also where there are none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.errors import InputError
from qrdistill.base.progress import Silent
from qrdistill.report.study_page import Chart, Line, Part, StudyResults, write_study_report
from qrdistill.runs.config import Config
from qrdistill.studies.ablation import summarise
from qrdistill.studies.filter import filter_study
from qrdistill.studies.grid.outcomes import Outcome
from qrdistill.studies.grid.page import sentence, write_pages
from qrdistill.studies.grid.study import Setup, Variant
from qrdistill.studies.mutual import figures, findings, mutual
from qrdistill.studies.routing import routing
from qrdistill.studies.samples import samples
from qrdistill.studies.student_similarity import Point, same_answers

TITLES = {"x": ("the x arm", "part"), "y": ("the y arm", "baseline")}


def outcomes(seeds: int) -> dict[str, list[Outcome]]:
    return {
        name: [
            Outcome(name, seed, {"a": base + seed / 50}, {"a": base}, {}, None, None, {"a": 5}) for seed in range(seeds)
        ]
        for name, base in (("x", 0.6), ("y", 0.5))
    }


def result(seeds: int) -> dict[str, Any]:
    variant = Variant("v", "a condition")
    asked = [("x", "y", "Is x better?")]
    return {
        "study": "ablation",
        "seeds": list(range(seeds)),
        "tuned": False,
        "arms": TITLES,
        "conditions": {"v": summarise(variant, outcomes(seeds), None, asked)},
    }


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_page_of_one_seed_shows_figures_and_no_infinity(tmp_path: Path, seeds: int) -> None:
    setup = Setup(Config(), tmp_path, Silent(), seeds=tuple(range(seeds)))
    page = write_pages(
        setup,
        result(seeds),
        "A study",
        "What?",
        findings=["First this."],
        caveats=["Then that."],
        warnings=["Mind it."],
    ).read_text()
    assert "inf" not in page.replace("information", "").replace("infer", "")
    for text in ("First this.", "Then that.", "Mind it.", "the x arm", "not tuned"):
        assert text in page
    assert page.index("First this.") < page.index("Is x better?")
    assert ("one seed, no interval" in page) == (seeds == 1)


def test_a_sentence_claims_only_what_its_interval_allows() -> None:
    row = {"question": "Is x better?", "first": "x", "second": "y", "n": 5, "positive": 5, "claims": True}
    titles = {name: title for name, (title, _) in TITLES.items()}
    clear = sentence({**row, "difference": 0.1, "low": 0.05, "high": 0.15}, titles)
    assert clear == (
        "Is x better? Yes: the x arm over the y arm +10.0 points (95 % interval +5.0 to +15.0, 5 of 5 seeds ahead)."
    )
    worse = sentence({**row, "difference": -0.1, "low": -0.15, "high": -0.05, "positive": 0}, titles)
    assert worse.startswith("Is x better? No, it costs accuracy: ")
    alone = {**row, "difference": 0.1, "low": -math.inf, "high": math.inf, "n": 1, "claims": False}
    assert sentence(alone, titles).endswith(
        "No difference shown: the x arm over the y arm +10.0 points (one seed, no interval)."
    )


def test_interval_bars_are_drawn(tmp_path: Path) -> None:
    def page(**ends: list[float]) -> str:
        line = Line(label="l", x=[1, 2], y=[5, 6], **ends)
        part = Part(title="p", charts=[Chart(kind="curves", caption="c", x="x", y="y", lines=[line])])
        target = tmp_path / "report.html"
        return write_study_report(StudyResults(name="n", title="t", parts=[part]), target).read_text()

    assert page(low=[4, 5], high=[6, 7]).count("LineCollection") > page().count("LineCollection")


def points(*cka: float) -> list[Point]:
    return [Point(step, value, 100, 0.5, 10, {"a": 0.5, "b": 0.7}) for step, value in enumerate(cka)]


def test_what_mutual_distillation_did_is_said_by_its_interval() -> None:
    final = {"agreement": 0.5, "both_wrong": 0.1, "same_mistake": math.nan}
    runs = {
        "mutual-0": {0: points(0.6, 0.60), 1: points(0.6, 0.62), 2: points(0.6, 0.61)},
        "mutual-1": {0: points(0.6, 0.80), 1: points(0.6, 0.83), 2: points(0.6, 0.82)},
        "mutual-0.2": {0: points(0.6, 0.55), 1: points(0.6, 0.70), 2: points(0.6, 0.61)},
    }
    found = figures(runs, {name: dict.fromkeys(own, final) for name, own in runs.items()})
    assert found["mutual-0"]["cka_change"] is None
    assert found["mutual-1"]["cka_change"]["estimate"] == pytest.approx(0.62 / 3)
    assert found["mutual-1"]["cka_change"]["low"] > 0.15
    assert found["mutual-1"]["same_mistake"] is None  # nobody made a mistake in common
    arms = {name: (f"mutual distillation {name}", "part") for name in runs}
    texts = findings({"arms": arms, "conditions": {}, "diversity": {"figures": found}})
    assert len(texts) == 2
    assert "makes the students' representations more alike (CKA +0.21, 95 % interval" in texts[0]
    assert "is not shown to change how alike the representations are" in texts[1]
    assert "no change of accuracy is shown" in texts[0]


def test_same_answers_of_three_students_are_averaged_over_pairs() -> None:
    # a and b agree on both, a and c on one, b and c on one
    assert same_answers([["1", "2"], ["1", "2"], ["1", "3"]]) == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert math.isnan(same_answers([["1"]]))


def test_studies_whose_arms_belong_together_refuse_a_choice_of_arms(tmp_path: Path) -> None:
    setup = Setup(Config(), tmp_path, Silent(), arms=("learned",))
    for study in (mutual, filter_study, routing, samples):
        with pytest.raises(InputError, match=r"--arms learned: this study compares all of its arms"):
            study(setup)
    assert not list(tmp_path.iterdir())
