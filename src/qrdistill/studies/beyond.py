"""Studies of what goes past the paper, each as data: who is compared, under what, and what is asked.

own        own and peer paths, with and without gold answers (`own_paths.rounds`, `own_paths`)
teachers   several teachers with different strengths, at equal cost (the paper's second question)
students   two, three and four students on one pool (the paper's first question)
signals    what a router may go by: comparative loss, dev accuracy, a balanced assignment
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from qrdistill.base.errors import InputError
from qrdistill.base.store import write_json
from qrdistill.lab.mixes import MIXES
from qrdistill.report.study_page import Part, Table
from qrdistill.runs.config import Config
from qrdistill.studies.ablation import run_study
from qrdistill.studies.grid.arms import Arm, by_name, choose
from qrdistill.studies.grid.page import write_pages
from qrdistill.studies.grid.study import Setup, Variant, finite, run_name, scarce, variants
from qrdistill.studies.router_records import trace

Questions = Sequence[tuple[str, str, str]]  # first arm, second arm, what their difference answers


@dataclass(frozen=True)
class Plan:
    title: str
    question: str
    arms: Callable[[Config], list[Arm]]
    conditions: Callable[[Config], list[Variant]]
    asks: Questions
    caveat: str
    lab_only: str = ""  # why, where it is


def study(name: str, setup: Setup) -> dict[str, Any]:
    """Runs one of `PLANS`; writes study.json and report.html. Raises InputError where it needs the lab."""
    plan = PLANS[name]
    if plan.lab_only and setup.config.questions.task != "lab":
        raise InputError(f"study {name}: {plan.lab_only}; start from examples/lab.yaml")
    arms = choose(plan.arms(setup.config), setup.arms)
    conditions = plan.conditions(setup.config)
    result = run_study(setup, name, conditions, arms, plan.asks)
    parts: list[Part] = []
    if name == "teachers":
        parts, result["told_apart"] = _told_apart(setup, conditions[0], arms, result)
        write_json(setup.folder / "study.json", finite(result))
    write_pages(setup, result, plan.title, plan.question, parts, caveats=[plan.caveat])
    return finite(result)


# --- own and peer paths ---------------------------------------------------------------------------


def _own(config: Config) -> list[Arm]:
    known = by_name(config)
    base, rounds = known["best-style"], known["best-own"]

    def variant(name: str, title: str, **changes: Any) -> Arm:
        return Arm(name, title, "beyond", {**rounds.changes, **{f"own_paths.{key}": v for key, v in changes.items()}})

    return [
        base,
        variant("own", "then own paths only", peers="own"),
        variant("fill", "then own paths, a peer's where there is none", peers="fill"),
        variant("everywhere", "then own paths, asked for every question", peers="fill", ask="all", samples=4),
        variant("peer", "then peers' paths only", peers="peer"),
        variant("no-gold", "then own paths by the students' agreement, without gold", peers="fill", gold=False),
        variant("restart", "then own paths, each round from the base weights", peers="fill", restart=True),
    ]


# --- several teachers -----------------------------------------------------------------------------

_GOOD, _BAD = 0.05, 0.6  # share of wrong answers


def _size(config: Config) -> str:
    return str(config.questions.options.get("size", "small"))


def _teachers(config: Config) -> list[Arm]:
    known = by_name(config)
    families = MIXES[_size(config)].families
    half = len(families) * 2 // 5
    counts, reads = families[:half], families[half:]

    def teacher(name: str, good_at: Sequence[str], coverage: float) -> dict[str, Any]:
        strength = {family: _GOOD if family in good_at else _BAD for family in families}
        return {"kind": "lab", "name": name, "strength": strength, "coverage": coverage}

    sets: dict[str, tuple[str, list[dict[str, Any]]]] = {
        "counts": ("the first teacher alone", [teacher("counts", counts, 1.0)]),
        "reads": ("the second teacher alone", [teacher("reads", reads, 1.0)]),
        "halves": ("both, each asked half", [teacher("counts", counts, 0.5), teacher("reads", reads, 0.5)]),
        "both": ("both, each asked everything", [teacher("counts", counts, 1.0), teacher("reads", reads, 1.0)]),
    }
    return [
        Arm(f"{name}-{rule}", f"{title}, {known[rule].title}", "beyond", {**known[rule].changes, "teachers": teachers})
        for rule in ("learned", "best-style")
        for name, (title, teachers) in sets.items()
    ]


def _told_apart(
    setup: Setup, variant: Variant, arms: Sequence[Arm], result: dict[str, Any]
) -> tuple[list[Part], dict[str, Any]]:
    """What a path's teacher tells about the student that the learned router gave it to, per run."""
    rows: list[list[str | float | int | None]] = []
    found: dict[str, Any] = {}
    tuned = {name: facts["tuned"] for name, facts in result["conditions"][variant.name]["arms"].items()}
    for arm in arms:
        if not arm.name.endswith("-learned") or len(arm.changes["teachers"]) < 2:
            continue
        for seed in setup.seeds:
            chosen = {arm.name: (tuned[arm.name], None)} if tuned.get(arm.name) else None
            facets = trace(setup.folder / run_name(variant, arm.name, seed, chosen)).late
            for facet in ("teacher", "style", "family"):
                one = facets[facet]
                found[f"{arm.name}.s{seed}.{facet}"] = one._asdict()
                rows.append([arm.title, seed, facet, round(one.value, 3), round(one.chance, 3), round(one.p, 4)])
    note = "Mutual information in nats between a path's fact and its student; chance and p by permutation."
    table = Table(
        title="Does the router tell the teachers apart?",
        columns=["arm", "seed", "fact", "information", "by chance", "p"],
        rows=rows,
        note=note,
    )
    return [Part(title="What the router goes by", tables=[table])], found


# --- more students --------------------------------------------------------------------------------

# name -> the lab's student: two families, each from two base checkpoints
_BASES = {"mistral": "mistral-{}", "gemma": "gemma-{}", "mistral-2": "mistral-{}-2", "gemma-2": "gemma-{}-2"}


def _students(config: Config) -> list[Arm]:
    known = by_name(config)
    kind = "tiny" if _size(config) == "small" else "large"
    rate, paths = config.students[0].learning_rate, config.train.paths_per_step
    found: list[Arm] = []
    for rule in ("learned", "best-style"):
        for number in (2, 3, 4):
            students = [
                {"name": name, "model": f"lab:{model.format(kind)}", "learning_rate": rate}
                for name, model in list(_BASES.items())[:number]
            ]
            changes = {**known[rule].changes, "students": students, "train.paths_per_step": paths * number}
            found.append(
                replace(
                    known[rule],
                    name=f"{rule}-{number}",
                    title=f"{number} students, {known[rule].title}",
                    changes=changes,
                )
            )
    return found


# --- router signals -------------------------------------------------------------------------------


def _signals(config: Config) -> list[Arm]:
    known = by_name(config)
    names = (
        "random",
        "fixed-loss",
        "style-split",
        "best-style",
        "learned",
        "learned-blind",
        "bandit",
        "balanced",
    )
    return [known[name] for name in names]


def _even(config: Config) -> list[Variant]:
    return variants(config)[:1]


PLANS = {
    "own": Plan(
        "Own and peer paths",
        "Do the students' own verified paths help, and whose?",
        _own,
        lambda config: [scarce(config), *_even(config)] if config.questions.task == "lab" else variants(config),
        (
            ("own", "best-style", "Do own verified paths help?"),
            ("fill", "best-style", "Do own paths help, with a peer's where there is none?"),
            ("fill", "own", "Does a peer's path help where a student has none of its own?"),
            ("fill", "everywhere", "Is asking for the gaps as good as asking for every question?"),
            ("peer", "best-style", "Do peers' paths alone help?"),
            ("no-gold", "best-style", "Do own paths help without gold answers?"),
            ("fill", "no-gold", "What is the gold answer worth?"),
            ("restart", "fill", "Does starting each round from the base weights help?"),
        ),
        "All arms train for the same number of steps; generated tokens are part of the token-equivalents.",
    ),
    "teachers": Plan(
        "Several teachers",
        "What does a second teacher add, and does the router tell the two apart?",
        _teachers,
        _even,
        (
            ("halves-learned", "counts-learned", "Do two teachers, at one's cost, beat the first alone?"),
            ("halves-learned", "reads-learned", "Do two teachers, at one's cost, beat the second alone?"),
            ("both-learned", "halves-learned", "Does asking both everything beat asking each half?"),
            ("halves-best-style", "counts-best-style", "The same with the best style: beats the first alone?"),
            ("halves-best-style", "reads-best-style", "The same with the best style: beats the second alone?"),
            ("both-best-style", "halves-best-style", "With the best style: does asking both everything help?"),
        ),
        f"One teacher is good at the first two fifths of the families ({_GOOD:.0%} wrong, {_BAD:.0%} elsewhere), the other at the rest.",
        "its teachers are the lab's",
    ),
    "students": Plan(
        "More students",
        "What do a third and a fourth student change for the first two, and for a vote?",
        _students,
        _even,
        (
            ("learned-3", "learned-2", "Does a third student help the first two?"),
            ("learned-4", "learned-2", "Do a third and a fourth student help the first two?"),
            ("best-style-3", "best-style-2", "The same with the best style: a third student?"),
            ("best-style-4", "best-style-2", "The same with the best style: a third and a fourth?"),
        ),
        "Compared are the students that both arms have; every student gets the same number of paths per step.",
        "its students are the lab's four",
    ),
    "signals": Plan(
        "Router signals",
        "What should an assignment go by?",
        _signals,
        variants,
        (
            ("learned", "random", "Does learned routing beat random routing?"),
            ("bandit", "learned", "Is dev accuracy per style a better signal than comparative loss?"),
            ("balanced", "learned", "Is a balanced assignment better than learned routing?"),
            ("learned", "learned-blind", "Does the learning state help the router?"),
            ("learned", "fixed-loss", "Does learning beat the fixed split by base loss?"),
            ("best-style", "learned", "Does each student's best style alone beat learned routing?"),
        ),
        "Learning progress and dev gain as signals were left out: they hurt in earlier trials.",
    ),
}


own, teachers, students, signals = (partial(study, name) for name in ("own", "teachers", "students", "signals"))
