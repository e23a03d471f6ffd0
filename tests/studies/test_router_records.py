"""What is read out of a run's assignments: planted routings are recognised for what they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest

from qrdistill.base.records import Assignment
from qrdistill.studies.measures.routing_records import Choice, RunRouting, choices, edges, latest, summarise_routing
from qrdistill.studies.routing import all_pairs, information, over_pairs

STYLES, FAMILIES = ("program", "vanilla", "facts"), ("shop", "trip")
FACTS = {f"p{n}": {"style": STYLES[n % 3], "family": FAMILIES[n % 2], "teacher": f"t{n % 2}"} for n in range(120)}


def routed(rule: Callable[[str, int], float], *, steps: int = 12, seed: int = 0) -> RunRouting:
    """`rule`: path and step -> the probability that anna gets it; she does by that chance."""
    random = Random(seed)
    names = list(FACTS)
    found: list[Choice] = []
    for step in range(steps):
        for path in names[step % 3 :: 3] + names[(step + 1) % 3 :: 3]:
            p = rule(path, step)
            student = "anna" if random.random() < p else "ben"
            found.append(Choice(step, path, student, {"anna": p, "ben": 1 - p}))
    return summarise_routing(found, FACTS)


def test_a_style_router_is_recognised() -> None:
    found = routed(lambda path, _: 0.98 if FACTS[path]["style"] == "program" else 0.02)
    assert found.verdict.startswith("routes by style")
    assert found.late["style"].p < 0.01
    assert found.late["family"].p > 0.05
    assert found.late["style"].n == len(FACTS)  # one observation per path
    # a quarter of the last stretch's paths are programs: H(0.25 * 0.98 + 0.75 * 0.02) - H(0.02) = 0.5731 - 0.0980
    assert found.soft == pytest.approx(0.4750, abs=1e-4)
    cells = found.cells["style"]
    assert min(cells["anna"]["program"]) > 0.9  # type: ignore[type-var]
    assert cells["anna"]["program"][0] + cells["ben"]["program"][0] == pytest.approx(1.0)  # type: ignore[operator]


def test_chance_and_collapse_are_recognised() -> None:
    assert routed(lambda *_: 0.5, seed=1).verdict.startswith("near-random")
    late_collapse = routed(lambda _, step: 0.5 if step < 6 else 0.999)
    assert late_collapse.verdict == "collapse: anna takes 100 % of the last paths"
    assert late_collapse.share["anna"][0] < 0.7


def test_a_router_that_learns_shows_it_over_time() -> None:
    found = routed(lambda path, step: 0.5 + step / 24 * (1 if FACTS[path]["style"] == "facts" else -1))
    over_time = found.information["style"]
    assert over_time[-1] > 5 * over_time[0]
    assert found.edges == [0, 2, 4, 6, 8, 10, 12]


def test_a_decision_that_no_label_explains_is_not_called_random() -> None:
    wanted = {path: Random(f"x{path}").random() < 0.5 for path in FACTS}
    found = routed(lambda path, _: 0.999 if wanted[path] else 0.001)
    assert found.verdict.startswith("decides path by path")


def test_a_teacher_is_a_facet_only_where_there_are_several() -> None:
    assert "teacher" in routed(lambda *_: 0.5).late
    alone = {path: {**fact, "teacher": "t"} for path, fact in FACTS.items()}
    assert "teacher" not in summarise_routing([Choice(0, "p0", "anna", {"anna": 1, "ben": 0})], alone).late


def assigned(step: int, path: str, student: str, probability: float, chosen: bool) -> Assignment:
    return Assignment(step=step, path_id=path, student=student, probability=probability, chosen=chosen, nll=None)


def test_choices_are_the_chosen_rows_per_path_and_step() -> None:
    rows = [
        assigned(0, "p0", "anna", 0.4, True),
        assigned(0, "p0", "ben", 0.6, False),
        assigned(0, "p1", "anna", 0.3, True),
        assigned(0, "p1", "ben", 0.7, True),
        assigned(1, "p0", "anna", 0.1, False),
        assigned(1, "p0", "ben", 0.9, True),
        assigned(1, "p2", "anna", 0.5, False),
        assigned(1, "p2", "ben", 0.5, False),
    ]
    found = choices(rows)
    assert [(one.step, one.path_id, one.student) for one in found] == [
        (0, "p0", "anna"),
        (0, "p1", "ben"),
        (1, "p0", "ben"),
    ]
    assert latest(found) == {"p0": "ben", "p1": "ben"}
    assert found[0].probability == {"anna": 0.4, "ben": 0.6}


def test_stretches_cover_all_steps_and_never_outnumber_them() -> None:
    assert edges(2) == [0, 1, 2]
    assert edges(1) == [0, 1]
    assert edges(7)[-1] == 7


def test_restarts_that_agree_and_that_swap_the_students() -> None:
    def by_style(path: str, _: int) -> float:
        return 0.995 if FACTS[path]["style"] == "program" else 0.005

    runs = {
        "learned": {seed: routed(by_style, seed=seed) for seed in range(4)},
        "learned-2": {seed: routed(by_style, seed=seed + 10) for seed in range(4)},
        "random": {seed: routed(lambda *_: 0.5, seed=seed + 20) for seed in range(4)},
        "fixed-loss": {seed: routed(lambda *way: 1 - by_style(*way), seed=seed) for seed in range(4)},
    }
    over = over_pairs(all_pairs(runs))
    assert over["restarts"].kappa.estimate > 0.95
    assert over["restarts"].kappa.n == 4  # data seeds, not pairs
    assert abs(over["chance"].kappa.estimate) < 0.15
    assert over["fixed-loss"].kappa.estimate < -0.7
    assert over["fixed-loss"].relabelled_kappa.estimate > 0.95
    rows = {(row.arm, row.facet): row for row in information(runs)}
    assert rows["learned", "style"].excess.low > 0.5
    assert rows["learned", "style"].against_random.low > 0
    assert rows["learned", "style"].significant == 4
    assert rows["learned", "style"].limit == pytest.approx(
        -(1 / 3) * math.log(1 / 3) - (2 / 3) * math.log(2 / 3), abs=0.02
    )
    assert rows["random", "style"].excess.low < 0 < rows["random", "style"].excess.high
    assert rows["random", "style"].against_random is None
