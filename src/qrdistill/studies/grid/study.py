"""What all studies share: the variants they run under, the grid, and the written outcome.

A study's folder holds its runs (`<variant>.<arm>.s<seed>/`), `study.json` with every figure, and
`report.html`. Called again it goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from qrdistill.base.errors import InputError
from qrdistill.base.progress import Progress
from qrdistill.report.study_results import ArmTitle, Outcome, StudyResults
from qrdistill.runs.config import Config
from qrdistill.studies.grid.arms import Arm
from qrdistill.studies.grid.outcomes import outcome
from qrdistill.studies.grid.run_grid import run_grid
from qrdistill.studies.grid.workbench import workbench

Results = TypeVar("Results", bound=StudyResults)


@dataclass(frozen=True)
class Setup:
    """One study's call: where, how often, how many at a time."""

    config: Config
    folder: Path
    progress: Progress
    seeds: Sequence[int] = (0, 1, 2)
    workers: int = 2
    tune: bool = False
    arms: Sequence[str] = ()  # run only these; empty: all

    def results(self, kind: type[Results], study: str, title: str, question: str) -> Results:
        """What a study starts from: no figures yet."""
        return kind(study=study, title=title, question=question, seeds=tuple(self.seeds), tuned=self.tune)


@dataclass(frozen=True)
class Variant:
    """A condition that every arm is run under: `changes` are dotted config keys."""

    name: str
    title: str
    changes: Mapping[str, Any] = field(default_factory=dict[str, Any])


def variants(config: Config) -> list[Variant]:
    """A task with a workbench has its scenarios; a user's own task is what it is."""
    bench = workbench(config.questions.task)
    if bench is None:
        return [Variant("task", config.questions.task)]
    options = dict(config.questions.options)
    return [
        Variant(name, title, {"questions.options": {**options, **changed}})
        for name, title, changed in bench.scenarios()
    ]


def scarce(config: Config, share: float = 0.3) -> list[Variant]:
    """A teacher that is asked about `share` of the training questions; the others have only an answer.

    Empty for a user's own task, whose teachers are what they are.
    """
    if workbench(config.questions.task) is None:
        return []
    changes = {**variants(config)[0].changes, "teachers.0.coverage": share}
    return [Variant(f"scarce{round(100 * share)}", f"teacher paths for {share:.0%} of the questions", changes)]


def base_checkpoint(config: Config, seed: int) -> dict[str, Any]:
    """Odd seeds start students from their second base checkpoint, where there is one, so that it varies too."""
    if seed % 2 == 0:
        return {}
    found: dict[str, Any] = {}
    for index, student in enumerate(config.students):
        bench = workbench(student.model.partition(":")[0]) if ":" in student.model else None
        other = bench.second_base(student.model) if bench else None
        if other is not None:
            found[f"students.{index}.model"] = other
    return found


def needs_all_arms(setup: Setup) -> None:
    """Raises InputError where a study whose arms belong together was asked for some of them."""
    if setup.arms:
        raise InputError(
            f"--arms {','.join(setup.arms)}: this study compares all of its arms with each other; choose arms in "
            "the studies ablation and recipe only"
        )


def arm_titles(arms: Sequence[Arm]) -> dict[str, ArmTitle]:
    return {arm.name: ArmTitle(title=arm.title, group=arm.group) for arm in arms}


def run_name(variant: Variant, arm: str, seed: int, chosen: Mapping[str, tuple[str, Any]] | None = None) -> str:
    """The folder of one run within the study's."""
    tuned = (chosen or {}).get(arm, ("", None))[0]
    return f"{variant.name}.{arm}{f'.{tuned}' if tuned else ''}.s{seed}"


def run_arms(
    setup: Setup,
    variant: Variant,
    arms: Sequence[Arm],
    chosen: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, list[Outcome]]:
    """Runs every arm once per seed under a variant; `chosen` holds tuned settings per arm."""
    grid: dict[str, Config] = {}
    place: dict[str, tuple[str, int]] = {}
    for seed in setup.seeds:
        for arm in arms:
            tuned = (chosen or {}).get(arm.name, ("", {}))[1]
            label = run_name(variant, arm.name, seed, chosen)
            kept = {key: value for key, value in tuned.items() if key not in arm.changes}
            changes = {
                **variant.changes,
                **kept,
                **({} if "students" in arm.changes else base_checkpoint(setup.config, seed)),
                **(extra or {}),
                "seed": seed,
                "name": "study",
            }
            grid[label] = arm.config(setup.config, changes)
            place[label] = (arm.name, seed)
    # a page per run is one `qrdistill report` away; hundreds of them would be minutes
    runs = run_grid(grid, setup.folder, workers=setup.workers, progress=setup.progress, until="evaluate")
    found: dict[str, list[Outcome]] = {arm.name: [] for arm in arms}
    for label, run in runs.items():
        arm_name, seed = place[label]
        found[arm_name].append(outcome(arm_name, seed, run.folder))
    return found
