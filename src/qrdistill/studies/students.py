"""`study students`: two, three and four students on one pool (the paper's first question)."""

from __future__ import annotations

from dataclasses import replace

from qrdistill.report.study_results import StudyResults
from qrdistill.runs.config import Config
from qrdistill.studies.grid.arms import Arm, by_name
from qrdistill.studies.grid.plan import Plan, run_plan
from qrdistill.studies.grid.study import Setup, variants
from qrdistill.studies.grid.workbench import workbench


def students(setup: Setup) -> StudyResults:
    """Runs the study and writes study.json and report.html. Raises InputError where the task has no workbench."""
    return run_plan(PLAN, setup)


def _arms(config: Config) -> list[Arm]:
    known = by_name(config)
    bench = workbench(config.questions.task)
    assert bench is not None, "run_plan has refused"
    rate, paths = config.students[0].learning_rate, config.train.paths_per_step
    found: list[Arm] = []
    for rule in ("learned", "best-style"):
        for number in (2, 3, 4):
            several = [
                {"name": name, "model": model, "learning_rate": rate}
                for name, model in list(bench.students(config).items())[:number]
            ]
            changes = {**known[rule].changes, "students": several, "train.paths_per_step": paths * number}
            title = f"{number} students, {known[rule].title}"
            found.append(replace(known[rule], name=f"{rule}-{number}", title=title, changes=changes))
    return found


PLAN = Plan(
    "students",
    "More students",
    "What do a third and a fourth student change for the first two, and for a vote?",
    _arms,
    lambda config: variants(config)[:1],
    (
        ("learned-3", "learned-2", "Does a third student help the first two?"),
        ("learned-4", "learned-2", "Do a third and a fourth student help the first two?"),
        ("best-style-3", "best-style-2", "The same with the best style: a third student?"),
        ("best-style-4", "best-style-2", "The same with the best style: a third and a fourth?"),
    ),
    "Compared are the students that both arms have; every student gets the same number of paths per step.",
    "its students are the four of a task that brings them",
)
