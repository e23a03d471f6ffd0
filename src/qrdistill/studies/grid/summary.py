"""From the runs of one condition to its figures: what most studies have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qrdistill.report.study_results import ArmFigures, ArmTitle, Condition, Outcome, StudentFigures, StudyResults
from qrdistill.studies.grid.arms import Arm
from qrdistill.studies.grid.outcomes import accuracy, best_of, compare
from qrdistill.studies.grid.page import write_figures
from qrdistill.studies.grid.study import Setup, Variant, arm_titles, run_arms
from qrdistill.studies.grid.tune import tune

Questions = Sequence[tuple[str, str, str]]  # first arm, second arm, what their difference answers
Chosen = Mapping[str, tuple[str, dict[str, Any]]]  # arm -> tuned settings: their name, their changes
BEST_SINGLE = ArmTitle(title="best single style per student (chosen on dev)", group="baseline")


def run_conditions(
    setup: Setup, result: StudyResults, variants: Sequence[Variant], arms: Sequence[Arm], asks: Questions
) -> StudyResults:
    """Runs any grid of arms under several conditions, with the derived best-single-style arm; `result` gets its figures."""
    titles = {**arm_titles(arms), "best-single": BEST_SINGLE}
    result = result.having(arms=titles)
    for variant in variants:
        chosen = tuned_arms(setup, variant, arms)
        outcomes = with_best_single(run_arms(setup, variant, arms, chosen))
        found = {**result.conditions, variant.name: summarise(variant, outcomes, chosen, asks)}
        result = result.having(conditions=found)
        write_figures(setup, result)
    return result


def tuned_arms(setup: Setup, variant: Variant, arms: Sequence[Arm]) -> Chosen | None:
    """Every arm's own learning rate and steps, chosen on dev; None where tuning was not asked for."""
    if not setup.tune:
        return None
    return tune(
        arms,
        setup.config,
        setup.folder,
        variant.name,
        variant=variant.changes,
        workers=setup.workers,
        progress=setup.progress,
    )


def with_best_single(outcomes: Mapping[str, list[Outcome]]) -> dict[str, list[Outcome]]:
    """The arms and, where there are arms of a single style, the best of these per student."""
    singles = [row for name, rows in outcomes.items() if name.startswith("only-") for row in rows]
    return {**outcomes, **({"best-single": best_of("best-single", singles)} if singles else {})}


def summarise(
    variant: Variant, outcomes: Mapping[str, Sequence[Outcome]], chosen: Chosen | None, asks: Questions
) -> Condition:
    """One condition's figures: per arm accuracies and costs, and the paired answers to the questions."""
    return Condition(
        title=variant.title,
        arms=figures_of(outcomes, chosen),
        comparisons=tuple(
            row
            for first, second, question in asks
            for mode in ("styled", "free")
            if first in outcomes
            and second in outcomes
            and (row := compare(outcomes[first], outcomes[second], mode, question=question))
        ),
    )


def figures_of(outcomes: Mapping[str, Sequence[Outcome]], chosen: Chosen | None) -> dict[str, ArmFigures]:
    """Arm -> its figures over the seeds."""
    tuned = {name: candidate for name, (candidate, _) in (chosen or {}).items()}
    return {name: _figures(rows, tuned.get(name, "")) for name, rows in outcomes.items() if rows}


def _figures(rows: Sequence[Outcome], tuned: str) -> ArmFigures:
    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    students = {
        name: StudentFigures(
            styled=mean([row.styled[name] for row in rows]),
            free=mean([row.free[name] for row in rows]) if all(name in row.free for row in rows) else None,
            tokens=mean([row.tokens.get(name, 0) for row in rows]),
        )
        for name in sorted(rows[0].styled)
    }
    return ArmFigures(
        tuned=tuned,
        styled=accuracy(rows, "styled"),
        free=accuracy(rows, "free"),
        vote=accuracy(rows, "vote"),
        students=students,
        equivalents=mean([row.equivalents for row in rows]),
        seconds=mean([row.seconds for row in rows]),
        runs=tuple(rows),
    )
