"""The studies' measures against numbers worked out by hand, then against identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.base.statistics import assignment_information
from qrdistill.scores.statistics import contingency, informed, kappa, mutual_information
from qrdistill.studies.measures.agreement import agreement, relabel
from qrdistill.studies.measures.representations import debiased_cka, linear_cka


def test_router_information_by_hand() -> None:
    # H(1/2, 1/2) - [H(0.9, 0.1) + H(0.1, 0.9)] / 2
    within = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert assignment_information([[0.9, 0.1], [0.1, 0.9]]) == pytest.approx(math.log(2) - within)
    # rows that are themselves means know their entropy, and rows may count unequally
    assert assignment_information([[0.5, 0.5]], entropy_B=[within]) == pytest.approx(math.log(2) - within)
    weighted = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert assignment_information([[1, 0], [0, 1]], weight_B=[3, 1]) == pytest.approx(weighted)
    assert assignment_information([[0.3, 0.7]] * 4) == pytest.approx(0)


def test_hard_and_soft_assignments_share_one_measure() -> None:
    labels, students = "aaabbbbcc", "xxyyyyxxy"
    rows = [[students[i] == name for name in "xy"] for i in range(len(labels))]
    per_label = {
        label: np.mean([row for row, one in zip(rows, labels, strict=True) if one == label], 0) for label in "abc"
    }
    weights = [labels.count(label) for label in "abc"]
    soft = assignment_information(list(per_label.values()), weight_B=weights)
    assert mutual_information(labels, students) == pytest.approx(float(soft))


def test_mutual_information_by_hand() -> None:
    # joint 3/8, 1/8, 1/8, 3/8; margins one half each
    first, second = "aaaabbbb", "xxxyxyyy"
    expected = 2 * (3 / 8) * math.log((3 / 8) / 0.25) + 2 * (1 / 8) * math.log((1 / 8) / 0.25)
    assert mutual_information(first, second) == pytest.approx(expected)


def test_contingency_counts_pairs_in_label_order() -> None:
    assert contingency("baab", "yxyy").tolist() == [[1, 1], [0, 2]]


def test_a_label_that_decides_the_other_gives_its_whole_entropy() -> None:
    found = informed("aaabbbccc" * 4, "xxxyyyyyy" * 4, permutations=200)
    assert found.value == pytest.approx(found.limit)
    assert found.limit == pytest.approx(-(1 / 3) * math.log(1 / 3) - (2 / 3) * math.log(2 / 3))
    assert found.p == pytest.approx(1 / 201)
    assert found.excess < found.value


def test_independent_labels_are_not_significant_though_the_plug_in_value_is_positive() -> None:
    generator = np.random.default_rng(1)
    first = generator.integers(0, 6, 120).tolist()
    second = generator.integers(0, 2, 120).tolist()
    found = informed(first, second, permutations=500)
    assert found.value > 0
    assert found.chance > 0.01  # five degrees of freedom over 120 observations: about 5 / 240
    assert found.chance == pytest.approx(5 / 240, rel=0.25)
    assert found.p > 0.05


def test_p_values_of_independent_labels_are_uniform() -> None:
    generator = np.random.default_rng(2)
    p = [
        informed(
            generator.integers(0, 3, 60).tolist(),
            generator.integers(0, 2, 60).tolist(),
            permutations=99,
            seed=seed,
        ).p
        for seed in range(200)
    ]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.10
    assert np.mean(p) == pytest.approx(0.5, abs=0.08)


def test_a_constant_label_tells_nothing_and_no_observation_is_not_a_number() -> None:
    assert informed("aaaa", "xyxy", permutations=20)[:3] == (0.0, 0.0, 1.0)
    assert math.isnan(informed("", "", permutations=20).value)


labels = st.lists(st.sampled_from("abc"), min_size=1, max_size=40)


@given(labels, st.randoms(use_true_random=False))
def test_mutual_information_is_symmetric_bounded_and_blind_to_names(first: list[str], random: object) -> None:
    second = [random.choice("xyz") for _ in first]  # type: ignore[attr-defined]
    value = mutual_information(first, second)
    assert value == pytest.approx(mutual_information(second, first), abs=1e-12)
    assert 0 <= value <= math.log(3) + 1e-12
    assert value == pytest.approx(mutual_information([letter * 2 for letter in first], second), abs=1e-12)


def test_kappa_by_hand() -> None:
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.7, expected 0.5
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = kappa(first, second)
    assert found.estimate == pytest.approx(0.4)
    assert found.n == 50
    # the large-sample standard error is sqrt(p_o (1 - p_o) / n) / (1 - p_e) = 0.13
    assert found.low == pytest.approx(0.4 - 1.96 * 0.13, abs=0.03)
    assert found.high == pytest.approx(0.4 + 1.96 * 0.13, abs=0.03)


def test_kappa_of_one_label_and_of_none() -> None:
    assert kappa("aaa", "aaa") == (1.0, 1.0, 1.0, 3)
    assert math.isnan(kappa("", "").estimate)


def test_agreement_up_to_the_students_names() -> None:
    # the second router makes the same groups for other students, but for one path of ten
    first = ["anna"] * 5 + ["ben"] * 5
    second = ["ben"] * 5 + ["anna"] * 4 + ["ben"]
    found = agreement(first, second, resamples=200)
    assert found.share.estimate == pytest.approx(0.1)
    assert found.kappa.estimate < 0
    assert found.relabelled_share == pytest.approx(0.9)
    # observed 0.9, expected 0.5 * 0.6 + 0.5 * 0.4
    assert found.relabelled_kappa == pytest.approx((0.9 - 0.5) / 0.5)


def test_relabelling_leaves_no_partner_to_a_surplus_label() -> None:
    renamed = relabel("aaab", "xxyz")
    assert renamed[:2] == ["a", "a"]
    assert sum(one == other for one, other in zip("aaab", renamed, strict=True)) == 3
    assert len({*renamed}) == 3


@given(labels)
def test_agreement_with_itself_is_perfect(first: list[str]) -> None:
    found = agreement(first, first, resamples=50)
    assert (found.share.estimate, found.kappa.estimate) == (1.0, 1.0)
    assert (found.relabelled_share, found.relabelled_kappa) == (1.0, 1.0)


def test_cka_by_hand() -> None:
    # centred: x = (-1, 0, 1), y = (-1, 1, 0); in one dimension CKA is the squared correlation
    assert linear_cka(np.array([[1.0], [2.0], [3.0]]), np.array([[0.0], [2.0], [1.0]])) == pytest.approx(0.25)


def test_cka_ignores_rotation_scale_and_shift_but_not_a_skew() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 5))
    rotation = np.linalg.qr(generator.normal(size=(5, 5)))[0]
    assert linear_cka(x, 7 * x @ rotation + 3) == pytest.approx(1.0)
    assert linear_cka(x, x * [100, 1, 1, 1, 1]) < 0.6
    assert linear_cka(x, generator.normal(size=(200, 8))) < 0.15


def test_cka_is_symmetric_over_different_widths_and_undefined_for_a_constant() -> None:
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(50, 4)), generator.normal(size=(50, 9))
    assert linear_cka(x, y) == pytest.approx(linear_cka(y, x))
    assert math.isnan(linear_cka(np.ones((5, 2)), y[:5]))


def test_debiased_cka_by_the_definition() -> None:
    """Against the sum over distinct indices that the closed form is short for (Song et al. 2012, equation 4)."""
    generator = np.random.default_rng(4)
    x, y = generator.normal(size=(6, 2)), generator.normal(size=(6, 3))

    def unbiased(a: np.ndarray, b: np.ndarray) -> float:
        gram, other = a @ a.T, b @ b.T
        n = range(len(a))
        two = [gram[i, j] * other[i, j] for i in n for j in n if i != j]
        three = [gram[i, j] * other[i, q] for i in n for j in n for q in n if len({i, j, q}) == 3]
        four = [gram[i, j] * other[q, r] for i in n for j in n for q in n for r in n if len({i, j, q, r}) == 4]
        return float(np.mean(two) + np.mean(four) - 2 * np.mean(three))

    expected = unbiased(x, y) / math.sqrt(unbiased(x, x) * unbiased(y, y))
    assert debiased_cka(x, y) == pytest.approx(expected)


def test_debiased_cka_is_near_zero_where_plain_cka_is_misled_by_few_things() -> None:
    generator = np.random.default_rng(5)
    pairs = [(generator.normal(size=(40, 60)), generator.normal(size=(40, 60))) for _ in range(20)]
    assert np.mean([linear_cka(x, y) for x, y in pairs]) > 0.5
    assert abs(np.mean([debiased_cka(x, y) for x, y in pairs])) < 0.05


def test_debiased_cka_agrees_with_plain_cka_where_things_are_many() -> None:
    generator = np.random.default_rng(6)
    x = generator.normal(size=(600, 3))
    y = x @ generator.normal(size=(3, 4)) + generator.normal(size=(600, 4))
    assert debiased_cka(x, y) == pytest.approx(linear_cka(x, y), abs=0.01)
    assert debiased_cka(x, 5 - 2 * x) == pytest.approx(1.0)
    assert math.isnan(debiased_cka(x[:3], y[:3]))
    assert math.isnan(debiased_cka(np.ones((9, 2)), y[:9]))
