"""Fair tuning: every arm gets the same small search over learning rate and steps, judged on dev.

The search uses seeds of its own, so that the questions it chose on are in no comparison.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qrdistill.base.progress import Progress
from qrdistill.runs.config import Config
from qrdistill.studies.grid.arms import Arm
from qrdistill.studies.grid.outcomes import dev_accuracies
from qrdistill.studies.grid.run_grid import run_grid

RATES = (0.3, 1.0)  # times each student's configured learning rate
STEPS = (1.0, 2.0)  # times the configured steps
TUNING_SEEDS = (1000,)


def candidates(
    config: Config, rates: Sequence[float] = RATES, steps: Sequence[float] = STEPS
) -> dict[str, dict[str, Any]]:
    """What may be tried, as changes to a config, by a short name."""
    found: dict[str, dict[str, Any]] = {}
    for rate, factor in itertools.product(rates, steps):
        changes: dict[str, Any] = {"train.epochs": config.train.epochs * factor}
        if config.train.steps is not None:
            changes = {"train.steps": int(config.train.steps * factor + 0.5)}
        for index, student in enumerate(config.students):
            changes[f"students.{index}.learning_rate"] = student.learning_rate * rate
        found[f"lr{rate:g}-x{factor:g}"] = changes
    return found


def tune(
    arms: Sequence[Arm],
    config: Config,
    folder: Path,
    label: str,
    *,
    variant: Mapping[str, Any],
    workers: int,
    progress: Progress,
    seeds: Sequence[int] = TUNING_SEEDS,
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Per arm the candidate with the best mean dev accuracy: its name and its changes.

    One thing after the other: the rates at the configured steps, then the other steps at each arm's best rate.
    """
    trainable = [arm for arm in arms if arm.changes.get("train.steps") != 0]
    tried: dict[str, dict[str, float]] = {arm.name: {} for arm in trainable}  # arm -> candidate -> dev

    def run(wanted: Mapping[str, Sequence[str]]) -> None:
        grid = {
            f"{label}.{arm.name}.tune-{name}.s{seed}": arm.config(
                config,
                {**variant, **_with_zero_kept(arm, every[name]), "seed": seed, "evaluate.split": "dev"},
            )
            for arm in trainable
            for name in wanted[arm.name]
            for seed in seeds
        }
        runs = run_grid(grid, folder, workers=workers, progress=progress, until="evaluate")
        for arm in trainable:
            for name in wanted[arm.name]:
                found = [runs[f"{label}.{arm.name}.tune-{name}.s{seed}"].folder for seed in seeds]
                tried[arm.name][name] = sum(map(_dev, found))

    def best(arm: str) -> str:
        return max(tried[arm], key=tried[arm].__getitem__)

    every = candidates(config)
    run({arm.name: list(candidates(config, steps=STEPS[:1])) for arm in trainable})
    further = {
        arm.name: [name for name in every if _rate(name) == _rate(best(arm.name)) and name not in tried[arm.name]]
        for arm in trainable
    }
    run(further)
    return {arm.name: (best(arm.name), every[best(arm.name)]) for arm in trainable}


def _rate(candidate: str) -> str:
    return candidate.partition("-")[0]


def _with_zero_kept(arm: Arm, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in changes.items() if key not in arm.changes}


def _dev(folder: Path) -> float:
    accuracies = dev_accuracies(folder)
    return sum(accuracies.values()) / max(1, len(accuracies))
