"""`study own_paths`: do the students' own verified paths help, and whose, with and without gold answers?"""

from __future__ import annotations

from typing import Any

from qrdistill.report.study_results import StudyResults
from qrdistill.runs.config import Config
from qrdistill.studies.grid.arms import Arm, by_name
from qrdistill.studies.grid.plan import Plan, run_plan
from qrdistill.studies.grid.study import Setup, Variant, scarce, variants


def own_paths(setup: Setup) -> StudyResults:
    """Runs the study and writes study.json and report.html."""
    return run_plan(PLAN, setup)


def _arms(config: Config) -> list[Arm]:
    known = by_name(config)
    base, rounds = known["best-style"], known["best-own"]

    def variant(name: str, title: str, **changes: Any) -> Arm:
        changed = {f"own_paths.{key}": value for key, value in changes.items()}
        return Arm(name, title, "extension", {**rounds.changes, **changed})

    return [
        base,
        variant("own", "then own paths only", peers="own"),
        variant("fill", "then own paths, a peer's where there is none", peers="fill"),
        variant("everywhere", "then own paths, asked for every question", peers="fill", ask="all", samples=4),
        variant("peer", "then peers' paths only", peers="peer"),
        variant("no-gold", "then own paths by the students' agreement, without gold", peers="fill", gold=False),
        variant("restart", "then own paths, each round from the base weights", peers="fill", restart=True),
    ]


def _conditions(config: Config) -> list[Variant]:
    known = variants(config)
    fewer = scarce(config)
    return [*fewer, known[0]] if fewer else known


PLAN = Plan(
    "own_paths",
    "Own and peer paths",
    "Do the students' own verified paths help, and whose?",
    _arms,
    _conditions,
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
)
