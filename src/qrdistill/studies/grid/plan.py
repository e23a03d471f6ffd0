"""A study that is data: arms, conditions, and what their differences answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qrdistill.base.errors import InputError
from qrdistill.base.plugins import registry
from qrdistill.report.study_results import StudyResults
from qrdistill.runs.config import Config
from qrdistill.studies.grid.arms import Arm, choose
from qrdistill.studies.grid.page import finish
from qrdistill.studies.grid.study import Setup, Variant
from qrdistill.studies.grid.summary import Questions, run_conditions
from qrdistill.studies.grid.workbench import workbench


@dataclass(frozen=True)
class Plan:
    name: str
    title: str
    question: str
    arms: Callable[[Config], list[Arm]]
    conditions: Callable[[Config], list[Variant]]
    asks: Questions
    caveat: str
    workbench_only: str = ""  # why, where it is


def run_plan(plan: Plan, setup: Setup) -> StudyResults:
    """Writes study.json and report.html. Raises InputError where the study needs a workbench."""
    return finish(setup, run_arms_of(plan, setup), caveats=[plan.caveat])


def run_arms_of(plan: Plan, setup: Setup) -> StudyResults:
    """All but the page, for a study that has more to say."""
    if plan.workbench_only and workbench(setup.config.questions.task) is None:
        known = ", ".join(registry.names("workbenches"))
        raise InputError(f"study {plan.name}: {plan.workbench_only}; start from a config of task {known}")
    arms = choose(plan.arms(setup.config), setup.arms)
    result = setup.results(StudyResults, plan.name, plan.title, plan.question)
    return run_conditions(setup, result, plan.conditions(setup.config), arms, plan.asks)
