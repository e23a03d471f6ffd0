from __future__ import annotations

import math

import pytest

from qrdistill.base.records import Verdict
from qrdistill.base.statistics import kappa
from qrdistill.verdicts.audit.calibration import (
    audit,
    calibrate,
    calibration_half,
    choose_threshold,
    rejected_sample,
    reliability,
    second_opinion,
    share,
)


def rows(path_id: str, *checks: tuple, closed_by: str | None = None, outcome: str = "drop") -> list[Verdict]:
    """(check, outcome) or (judge's name, outcome, confidence) per row, and the closing one."""
    found = [
        Verdict(path_id=path_id, check=one[0], outcome=one[1])
        if len(one) == 2
        else Verdict(path_id=path_id, check="judge", judge=one[0], outcome=one[1], confidence=one[2])
        for one in checks
    ]
    closing = Verdict(
        path_id=path_id,
        check="filter",
        outcome=outcome if closed_by else "keep",
        reason=f"{closed_by}: why" if closed_by else "",
    )
    return [*found, closing]


TABLE = [
    *rows("0/a/t/s/0", ("answer", "keep"), ("one", "keep", 0.9), ("two", "keep", 0.6)),
    *rows("0/b/t/s/0", ("answer", "keep"), ("one", "keep", 0.4), ("two", "drop", 0.8), closed_by="judge"),
    *rows("0/c/t/s/0", ("answer", "keep"), ("one", "drop", 0.7), ("two", "drop", 0.8), closed_by="judge"),
    *rows("0/d/t/s/0", ("answer", "drop"), closed_by="answer"),
    *rows("0/e/t/s/0", ("answer", "undecided"), closed_by="answer", outcome="undecided"),
]
TRUTH = {
    "0/a/t/s/0": "sound",
    "0/b/t/s/0": "spurious",
    "0/c/t/s/0": "sound",
    "0/d/t/s/0": "wrong",
    "0/e/t/s/0": "sound",
}


def test_shares_have_wilson_intervals() -> None:
    assert share(0, 0)[1:] == (0.0, 1.0, 0)
    assert math.isnan(share(0, 0).value)
    # by hand: p = 0.8, z = 1.96, centre 0.71674, half 0.22655
    assert share(8, 10) == pytest.approx((0.8, 0.49016, 0.94332, 10), abs=1e-4)
    assert share(10, 10).high == 1.0
    assert share(0, 10).low == 0.0


def test_kappa_by_hand() -> None:
    assert kappa([(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15) == pytest.approx(0.4)
    assert kappa([(1, 1), (0, 0)]) == 1.0
    assert kappa([(1, 0), (0, 1)]) == -1.0
    assert math.isnan(kappa([]))
    assert kappa([(1, 1)]) == 1.0


def test_each_checker_is_measured_on_the_paths_it_saw() -> None:
    measured = calibrate(TABLE, TRUTH)
    assert list(measured) == ["answer", "judge/one", "judge/two", "judge", "filter"]
    answer = measured["answer"]
    # spurious b has the right answer: keeping it is no mistake of the answer check
    assert (answer.n, answer.good, answer.kept, answer.undecided) == (5, 4, 3, 1)
    assert (answer.precision.value, answer.recall.value, answer.caught.value) == (1.0, 0.75, 1.0)
    one = measured["judge/one"]
    assert (one.n, one.precision.value, one.recall.value, one.caught.value) == (3, 0.5, 0.5, 0.0)
    two = measured["judge/two"]
    assert (two.precision.value, two.recall.value, two.caught.value) == (1.0, 0.5, 1.0)
    assert measured["judge"].kept == 1
    whole = measured["filter"]
    assert (whole.n, whole.precision.value, whole.recall.value) == (5, 1.0, pytest.approx(1 / 3))


def test_paths_without_truth_are_left_out() -> None:
    assert calibrate(TABLE, {"0/a/t/s/0": "sound"})["filter"].n == 1
    assert calibrate(TABLE, {})["filter"].n == 0


def test_the_threshold_is_the_lowest_that_is_precise_enough() -> None:
    table, truth = [], {}
    for number in range(400):
        id = f"0/q{number}/t/s/0"
        confidence = (number % 10) / 10
        truth[id] = "sound" if confidence >= 0.6 or number % 20 < 10 else "spurious"
        table += rows(id, ("one", "keep", confidence))
    found = choose_threshold(table, truth, judge="one", target=0.99)
    assert (found.value, found.reached) == (0.6, True)
    assert found.chosen_on.precision.value == found.held_out.precision.value == 1.0
    assert found.chosen_on.n + found.held_out.n == 400
    assert 150 < found.chosen_on.n < 250
    assert choose_threshold(table, truth, judge="one", target=0.5).value == 0.0


def test_an_unreachable_target_is_said_to_be_one() -> None:
    table, truth = [], {}
    for number in range(100):
        table += rows(f"0/q{number}/t/s/0", ("one", "keep", 0.5))
        truth[f"0/q{number}/t/s/0"] = "sound" if number % 2 else "spurious"
    assert not choose_threshold(table, truth, judge="one", target=0.9).reached


def test_one_question_s_paths_are_on_one_side() -> None:
    sides = {calibration_half(f"{round}/q7/{teacher}/s/{n}") for round in (0, 1) for teacher in "ab" for n in (0, 1)}
    assert len(sides) == 1


def test_the_audit_names_where_two_judges_differ() -> None:
    found = audit(TABLE, "judge/one", "judge/two")
    assert (found.n, found.agree.value, found.disagreements) == (3, pytest.approx(2 / 3), ("0/b/t/s/0",))
    assert found.table == {("drop", "drop"): 1, ("keep", "drop"): 1, ("keep", "keep"): 1}
    # by hand: p_o = 2/3, p_e = (2*1 + 1*2) / 9
    assert found.kappa == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))


def test_a_second_run_is_a_second_opinion() -> None:
    other = [
        *rows("0/a/t/s/0", ("answer", "drop"), closed_by="answer"),
        *rows("0/b/t/s/0", closed_by="judge"),
    ]
    found = second_opinion(TABLE, other)
    assert (found.n, found.disagreements) == (2, ("0/a/t/s/0",))


def test_rejected_paths_are_sampled_per_check() -> None:
    found = rejected_sample(TABLE, per_check=1)
    assert {check: len(some) for check, some in found.items()} == {"judge": 1, "answer": 1}
    table = [row for n in range(50) for row in rows(f"0/q{n}/t/s/0", closed_by="answer")]
    assert rejected_sample(table, seed=0) == rejected_sample(table[::-1], seed=0)
    assert rejected_sample(table, seed=0) != rejected_sample(table, seed=1)


def test_an_undecided_path_counts_as_not_kept() -> None:
    one = reliability("judge", [("undecided", "sound"), ("undecided", "wrong"), ("keep", "sound")])
    assert (one.recall.value, one.caught.value, one.undecided) == (0.5, 1.0, 2)
