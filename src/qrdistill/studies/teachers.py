"""`study teachers`: several teachers with different strengths, at equal cost (the paper's second question)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from qrdistill.base.plugins.registry import find
from qrdistill.report.study_results import Cell, Part, StudyRecord, StudyResults, Table
from qrdistill.runs.config import Config
from qrdistill.studies.grid.arms import Arm, by_name, choose
from qrdistill.studies.grid.page import finish
from qrdistill.studies.grid.plan import Plan, run_arms_of
from qrdistill.studies.grid.study import Setup, run_name, variants
from qrdistill.studies.grid.workbench import workbench
from qrdistill.studies.measures.routing_records import read_routing

GOOD, BAD = 0.05, 0.6  # share of wrong answers


class PathFact(StudyRecord):
    """What one fact of a path tells about its student in one run, in nats; chance and p by permutation."""

    arm: str
    seed: int
    fact: str
    value: float
    chance: float
    p: float
    limit: float
    n: int


class TeacherResults(StudyResults):
    router_information: list[PathFact] = Field(default_factory=list)


def teachers(setup: Setup) -> TeacherResults:
    """Runs the study and writes study.json and report.html. Raises InputError where the task has no workbench."""
    plain = run_arms_of(PLAN, setup)
    facts = _router_information(setup, plain)
    result = TeacherResults.model_validate({**dict(plain), "router_information": facts})
    return finish(setup, result, [_part(result)], caveats=[PLAN.caveat])


def _arms(config: Config) -> list[Arm]:
    known = by_name(config)
    bench = workbench(config.questions.task)
    assert bench is not None, "run_arms_of has refused"
    families = _families(config)
    half = len(families) * 2 // 5
    counts, reads = families[:half], families[half:]

    def teacher(name: str, good_at: Sequence[str], coverage: float) -> dict[str, Any]:
        strength = {family: GOOD if family in good_at else BAD for family in families}
        return bench.teacher(name, strength=strength, coverage=coverage)

    sets: dict[str, tuple[str, list[dict[str, Any]]]] = {
        "counts": ("the first teacher alone", [teacher("counts", counts, 1.0)]),
        "reads": ("the second teacher alone", [teacher("reads", reads, 1.0)]),
        "halves": ("both, each asked half", [teacher("counts", counts, 0.5), teacher("reads", reads, 0.5)]),
        "both": ("both, each asked everything", [teacher("counts", counts, 1.0), teacher("reads", reads, 1.0)]),
    }
    return [
        Arm(f"{name}-{rule}", f"{title}, {known[rule].title}", "extension", {**known[rule].changes, "teachers": asked})
        for rule in ("learned", "best-style")
        for name, (title, asked) in sets.items()
    ]


def _families(config: Config) -> list[str]:
    """The question families of the task, in the order in which it asks them."""
    load = find("tasks", config.questions.task, key="questions.task")
    few = config.questions.model_copy(update={"train": 50, "dev": 1, "test": 1})
    return list(dict.fromkeys(row.family for row in load(few, seed=0, base_dir=Path()) if row.split == "train"))


def _router_information(setup: Setup, result: StudyResults) -> list[PathFact]:
    """What a path's teacher tells about the student that the learned router gave it to, per run."""
    variant = PLAN.conditions(setup.config)[0]
    tuned = {name: figures.tuned for name, figures in result.conditions[variant.name].arms.items()}
    found: list[PathFact] = []
    for arm in choose(_arms(setup.config), setup.arms):
        if not arm.name.endswith("-learned") or len(arm.changes["teachers"]) < 2:
            continue
        for seed in setup.seeds:
            chosen = {arm.name: (tuned[arm.name], None)} if tuned.get(arm.name) else None
            late = read_routing(setup.folder / run_name(variant, arm.name, seed, chosen)).late
            found += [
                PathFact(arm=arm.name, seed=seed, fact=fact, **late[fact]._asdict())
                for fact in ("teacher", "style", "family")
            ]
    return found


def _part(result: TeacherResults) -> Part:
    titles = result.titles()
    rows: list[list[Cell]] = [
        [titles[one.arm], one.seed, one.fact, round(one.value, 3), round(one.chance, 3), round(one.p, 4)]
        for one in result.router_information
    ]
    table = Table(
        title="Does the router tell the teachers apart?",
        columns=["arm", "seed", "fact", "information", "by chance", "p"],
        rows=rows,
        note="Mutual information in nats between a path's fact and its student; chance and p by permutation.",
    )
    return Part(title="What the router goes by", tables=[table])


PLAN = Plan(
    "teachers",
    "Several teachers",
    "What does a second teacher add, and does the router tell the two apart?",
    _arms,
    lambda config: variants(config)[:1],
    (
        ("halves-learned", "counts-learned", "Do two teachers, at one's cost, beat the first alone?"),
        ("halves-learned", "reads-learned", "Do two teachers, at one's cost, beat the second alone?"),
        ("both-learned", "halves-learned", "Does asking both everything beat asking each half?"),
        ("halves-best-style", "counts-best-style", "The same with the best style: beats the first alone?"),
        ("halves-best-style", "reads-best-style", "The same with the best style: beats the second alone?"),
        ("both-best-style", "halves-best-style", "With the best style: does asking both everything help?"),
    ),
    f"One teacher is good at the first two fifths of the families ({GOOD:.0%} wrong, {BAD:.0%} elsewhere), the other at the rest.",
    "its teachers are made to order",
)
