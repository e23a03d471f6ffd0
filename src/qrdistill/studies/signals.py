"""`study signals`: what should an assignment go by: comparative loss, dev accuracy, a balanced assignment?"""

from __future__ import annotations

from qrdistill.report.study_results import StudyResults
from qrdistill.runs.config import Config
from qrdistill.studies.grid.arms import Arm, by_name
from qrdistill.studies.grid.plan import Plan, run_plan
from qrdistill.studies.grid.study import Setup, variants

ARMS = ("random", "fixed-loss", "style-split", "best-style", "learned", "learned-blind", "bandit", "balanced")


def signals(setup: Setup) -> StudyResults:
    """Runs the study and writes study.json and report.html."""
    return run_plan(PLAN, setup)


def _arms(config: Config) -> list[Arm]:
    known = by_name(config)
    return [known[name] for name in ARMS]


PLAN = Plan(
    "signals",
    "Router signals",
    "What should an assignment go by?",
    _arms,
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
)
