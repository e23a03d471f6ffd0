"""The filter's figures on hand-made verdicts, and what the study says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrdistill.base.records import Outcome, Question, ReasoningPath, Truth, Verdict
from qrdistill.base.store import write_table
from qrdistill.report.study_page import write_study_report
from qrdistill.report.study_results import Estimate, StudyResults
from qrdistill.studies.filter import percent
from qrdistill.studies.measures import filter_reliability as reliability
from qrdistill.studies.pages.filter_page import _to_read  # pyright: ignore[reportPrivateUsage]
from qrdistill.verdicts.audit.calibration import Label


def verdicts(path: str, **checks: Outcome) -> list[Verdict]:
    """One path's rows; the first check that does not keep it closes it."""
    rows: list[Verdict] = []
    closed = "keep", ""
    for check, outcome in checks.items():
        judge = {"judge": "j"} if check == "judge" else {}
        rows.append(Verdict(path_id=path, check=check, outcome=outcome, reason="so", **judge))
        if outcome != "keep":
            closed = outcome, f"{check}: so"
            break
    return [*rows, Verdict(path_id=path, check="filter", outcome=closed[0], reason=closed[1])]  # type: ignore[arg-type]


def made(truth: dict[str, Label], **outcomes: tuple[Outcome, Outcome]) -> reliability.Evidence:
    rows = [
        row
        for path, (answer, judge) in outcomes.items()
        for row in verdicts(f"0/{path}/t/s/0", answer=answer, judge=judge)
    ]
    return reliability.Evidence(rows, {f"0/{path}/t/s/0": label for path, label in truth.items()})


TRUTH: dict[str, Label] = {
    "a": "sound",
    "b": "sound",
    "c": "sound",
    "d": "spurious",
    "e": "spurious",
    "f": "wrong",
}


def test_precision_recall_and_kappa_by_hand() -> None:
    found = made(
        TRUTH,
        a=("keep", "keep"),
        b=("keep", "keep"),
        c=("keep", "drop"),
        d=("keep", "drop"),
        e=("keep", "keep"),
        f=("drop", "drop"),
    )
    figures = reliability.reliabilities(found)
    judge = figures["judge"]  # never asked about f
    assert (judge.n, judge.kept, judge.good) == (5, 3, 3)
    assert judge.precision.estimate == pytest.approx(2 / 3)
    assert judge.recall.estimate == pytest.approx(2 / 3)
    assert judge.caught.estimate == pytest.approx(1 / 2)
    # observed 3/5, expected 3/5 * 3/5 + 2/5 * 2/5 = 13/25
    assert judge.kappa.estimate == pytest.approx((0.6 - 0.52) / 0.48)
    assert judge.kappa.low < judge.kappa.estimate < judge.kappa.high
    assert figures["answer"].precision.estimate == 1.0  # a spurious path has the right answer
    assert figures["filter"].recall.estimate == pytest.approx(2 / 3)
    assert figures["filter"].n == 6


def test_two_filters_are_paired_by_path_and_right_decisions_counted() -> None:
    perfect = made(TRUTH, a=("keep", "keep"), b=("keep", "keep"), d=("keep", "drop"), e=("keep", "drop"))
    noisy = made(TRUTH, a=("keep", "keep"), b=("keep", "drop"), d=("keep", "keep"), c=("keep", "keep"))
    found = reliability.right_decisions(perfect, noisy)
    assert found is not None
    assert (found.first, found.second) == (1.0, pytest.approx(1 / 3))  # over a, b and d
    assert found.paired.n == 3
    assert (found.paired.only_first, found.paired.only_second) == (2, 0)
    assert reliability.right_decisions(perfect, made(TRUTH)) is None


def test_a_rule_is_chosen_on_one_half_and_measured_on_the_other() -> None:
    truth: dict[str, Label] = {f"q{n}": "sound" if n % 2 else "spurious" for n in range(80)}
    good = made(truth, **{path: ("keep", "keep" if label == "sound" else "drop") for path, label in truth.items()})  # type: ignore[arg-type]
    bad = made(truth, **{path: ("keep", "drop" if label == "sound" else "keep") for path, label in truth.items()})  # type: ignore[arg-type]
    found = reliability.choose_rule({"bad": bad, "good": good})
    assert found.chosen == "good"
    halves = found.calibration["good"].n, found.held_out["good"].n
    assert sum(halves) == 80
    assert min(halves) > 20
    assert found.held_out["good"].kappa.estimate == 1.0
    assert found.held_out["bad"].kappa.estimate == -1.0


def test_thresholds_are_for_judges_that_state_a_confidence() -> None:
    rows: list[Verdict] = []
    truth: dict[str, Label] = {}
    for n in range(100):
        path, sure = f"0/q{n}/t/s/0", n % 2 == 0
        truth[path] = "sound" if sure or n % 3 else "spurious"
        confidence = 0.9 if sure else 0.4
        rows.append(Verdict(path_id=path, check="judge", outcome="keep", judge="j", confidence=confidence))
        rows.append(Verdict(path_id=path, check="filter", outcome="keep"))
    (found,) = reliability.thresholds(reliability.Evidence(rows, truth))
    assert (found.judge, found.threshold, found.reached) == ("j", 0.9, True)
    assert found.held_out.precision.estimate == 1.0
    unsure = [row.model_copy(update={"confidence": None}) for row in rows]
    assert reliability.thresholds(reliability.Evidence(unsure, truth)) == []


def test_seeds_are_pooled_without_mixing_paths_of_one_name(tmp_path: Path) -> None:
    for seed, outcome in ((0, "keep"), (1, "drop")):
        rows = verdicts("0/q/t/s/0", answer=outcome)  # type: ignore[arg-type]
        write_table(tmp_path / f"{seed}/verdicts.parquet", Verdict, rows)
        write_table(
            tmp_path / f"{seed}/truth.parquet",
            Truth,
            [Truth(path_id="0/q/t/s/0", label="wrong" if seed else "sound")],
        )
    folders = {seed: tmp_path / str(seed) for seed in (0, 1)}
    truth = {seed: reliability.known_truth([folder]) for seed, folder in folders.items()}
    found = reliability.evidence(folders, truth)
    assert reliability.reliabilities(found)["filter"].kappa.estimate == 1.0
    assert len(found.truth) == 2


def test_a_person_s_labels_count_as_truth_and_unsure_ones_do_not(tmp_path: Path) -> None:
    lines = ['{"path_id": "p1", "label": "spurious"}', '{"path_id": "p2", "label": "unsure"}']
    (tmp_path / "labels.jsonl").write_text("".join(line + "\n" for line in lines))
    assert reliability.known_truth([tmp_path]) == {"p1": "spurious"}


@pytest.mark.parametrize(
    ("text", "gold", "holds"),
    [
        ("2 + 3 = 5\nThe answer is 5.", "5", True),
        ("The answer is 5\n\n", "5", True),
        ("5 first\nthen 6", "5", False),
        ("so 15", "5", False),
        ("so 5.5", "5", False),
        ("so 5,000", "5", False),
        ("so -5", "5", False),
        ("It is (B)", "b", True),
        ("", "5", False),
        ("a+b is x*", "x*", True),
    ],
)
def test_the_naive_reader(text: str, gold: str, holds: bool) -> None:
    assert reliability.last_line_holds(text, gold) is holds


def test_what_a_path_says_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\n<img src=x onerror=alert(2)>"
    question = Question(
        id="q", split="train", task="t", family="f", kind="text", question="<b>who</b>?", gold="<i>me</i>"
    )
    path = ReasoningPath(
        id="0/q/t/s/0", question_id="q", teacher="t", style="s", prompt_hash="", text=evil, answer=None
    )
    part = _to_read([reliability.Shown("judge", "<u>bad</u>", "spurious", question, path)])
    page = write_study_report(
        StudyResults(study="filter", title="Filter", parts=[part]), tmp_path / "report.html"
    ).read_text()
    assert "&lt;script&gt;alert(1)" in page
    for tag in ("<script>alert", "<img src=x", "<b>who", "<i>me", "<u>bad"):
        assert tag not in page


def test_a_share_of_nothing_is_unknown() -> None:
    assert percent(None) == "unknown"
    assert percent(Estimate(estimate=0.5, low=0.25, high=0.75)) == "50.0 % (25.0 to 75.0)"
