"""Study pages say no more than the intervals do, also where there are none."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from qrdistill.base.errors import InputError
from qrdistill.base.progress import Silent
from qrdistill.report.study_page import write_study_report
from qrdistill.report.study_results import ArmTitle, Chart, Comparison, Line, Outcome, Part, StudyResults
from qrdistill.report.study_words import answer
from qrdistill.runs.config import Config
from qrdistill.studies.filter import filter_study
from qrdistill.studies.grid.page import finish
from qrdistill.studies.grid.study import Setup, Variant
from qrdistill.studies.grid.summary import summarise
from qrdistill.studies.measures.student_similarity import FinalAgreement, Point, same_answers
from qrdistill.studies.mutual import MutualResults, alikeness, findings, mutual
from qrdistill.studies.routing import routing
from qrdistill.studies.samples import samples

ARMS = {
    "x": ArmTitle(title="the x arm", group="part"),
    "y": ArmTitle(title="the y arm", group="baseline"),
}


def outcomes(seeds: int) -> dict[str, list[Outcome]]:
    return {
        name: [
            Outcome(arm=name, seed=seed, styled={"a": base + seed * slope}, free={"a": base}, tokens={"a": 5})
            for seed in range(seeds)
        ]
        for name, base, slope in (("x", 0.6, 0.03), ("y", 0.5, 0.02))
    }


def result(seeds: int) -> StudyResults:
    asked = [("x", "y", "Is x better?")]
    return StudyResults(
        study="ablation",
        title="A study",
        question="What?",
        seeds=tuple(range(seeds)),
        arms=ARMS,
        conditions={"v": summarise(Variant("v", "a condition"), outcomes(seeds), None, asked)},
    )


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_a_page_shows_figures_and_no_infinity(tmp_path: Path, seeds: int) -> None:
    setup = Setup(Config(), tmp_path, Silent(), seeds=tuple(range(seeds)))
    finish(setup, result(seeds), findings=["First this."], caveats=["Then that."], warnings=["Mind it."])
    page = re.sub("<script>.*?</script>", "", (tmp_path / "report.html").read_text(), flags=re.DOTALL)
    page = re.sub('<script type="module">.*?</script>', "", page, flags=re.DOTALL)
    assert "inf" not in page.replace("information", "").replace("infer", "")
    for text in ("First this.", "Then that.", "Mind it.", "the x arm", "not tuned"):
        assert text in page
    assert page.index("First this.") < page.index("Is x better?")
    assert ("one seed, no interval" in page) == (seeds == 1)
    assert ("seeds +10.0, +11.0, no interval" in page) == (seeds == 2)
    assert ("Yes: the x arm over the y arm" in page) == (seeds == 4)


def compared(difference: float, low: float | None, high: float | None, over: str | None, *seeds: float) -> Comparison:
    row = {"question": "Is x better?", "first": "x", "second": "y", "n": len(seeds)}
    figures = {"difference": difference, "low": low, "high": high, "over": over, "by_seed": seeds}
    return Comparison.model_validate({**row, **figures, "positive": sum(seed > 0 for seed in seeds)})


def test_a_sentence_claims_only_what_its_interval_allows() -> None:
    titles = {name: arm.title for name, arm in ARMS.items()}
    clear = answer(compared(0.1, 0.05, 0.15, "seeds", *[0.1] * 5), titles)
    assert clear == (
        "Is x better? Yes: the x arm over the y arm +10.0 points (95 % interval +5.0 to +15.0, 5 of 5 seeds ahead)."
    )
    worse = answer(compared(-0.1, -0.15, -0.05, "seeds", *[-0.1] * 5), titles)
    assert worse.startswith("Is x better? No, it costs accuracy: ")
    alone = answer(compared(0.1, None, None, None, 0.1), titles)
    assert alone.endswith("No difference shown: the x arm over the y arm +10.0 points (one seed, no interval).")
    same = answer(compared(-0.025, None, None, None, -0.025, -0.025), titles)
    assert same.endswith("-2.5 points (seeds -2.5, -2.5, no interval).")
    two = answer(compared(0.1, 0.02, 0.18, "questions", 0.05, 0.15), titles)
    assert two == (
        "Is x better? Ahead in these 2 seeds, of others nothing is shown: the x arm over the y arm +10.0 points "
        "(seeds +5.0, +15.0; 95 % interval over their questions +2.0 to +18.0)."
    )


def test_interval_bars_are_drawn(tmp_path: Path) -> None:
    def page(**ends: list[float]) -> str:
        line = Line(label="l", x=[1, 2], y=[5, 6], **ends)
        part = Part(title="p", charts=[Chart(kind="curves", caption="c", x="x", y="y", lines=[line])])
        target = tmp_path / "report.html"
        return write_study_report(StudyResults(study="n", title="t", parts=[part]), target).read_text()

    assert '"low":[4.0,5.0],"high":[6.0,7.0]' in page(low=[4, 5], high=[6, 7])
    assert '"low":null,"high":null' in page()


def points(*cka: float) -> list[Point]:
    return [
        Point(step=step, cka=value, spans=100, agreement=0.5, questions=10, accuracy={"a": 0.5, "b": 0.7})
        for step, value in enumerate(cka)
    ]


def test_what_mutual_distillation_did_is_said_by_its_interval() -> None:
    final = FinalAgreement(n=10, agreement=0.5, both_wrong=0.1, same_mistake=None)
    ends = {
        "mutual-0": (0.60, 0.62, 0.61, 0.61),
        "mutual-1": (0.80, 0.83, 0.82, 0.81),
        "mutual-0.2": (0.55, 0.70, 0.61, 0.60),
    }
    runs = {name: {seed: points(0.6, end) for seed, end in enumerate(own)} for name, own in ends.items()}
    found = alikeness(runs, {name: dict.fromkeys(own, final) for name, own in runs.items()})
    assert found["mutual-0"].cka_change is None
    change = found["mutual-1"].cka_change
    assert change is not None
    assert change.estimate == pytest.approx(0.82 / 4)
    assert change.low is not None
    assert change.low > 0.15
    assert found["mutual-1"].same_mistake is None  # nobody made a mistake in common
    arms = {name: ArmTitle(title=f"mutual distillation {name}", group="part") for name in runs}
    texts = findings(MutualResults(study="mutual", arms=arms, alikeness=found))
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
