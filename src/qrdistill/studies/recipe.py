"""`study recipe`: does the recommended recipe beat every plain baseline, and where?

Three conditions on the embedded default: an even teacher, an uneven one, and one that wrote paths for 30 % of the
questions only. Every baseline stands beside the recipe in each; the recipe with scarce paths is also
held against the baselines that have all of them. Use --tune: a comparison with untuned baselines says
little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from qrdistill.report.study_results import Comparison, Condition, Outcome, StudyResults
from qrdistill.studies.grid.arms import Arm, baselines, choose, extensions, parts
from qrdistill.studies.grid.outcomes import compare
from qrdistill.studies.grid.page import finish, write_figures
from qrdistill.studies.grid.study import Setup, arm_titles, run_arms, scarce, variants
from qrdistill.studies.grid.summary import BEST_SINGLE, figures_of, tuned_arms, with_best_single

RECIPES = ("learned", "best-own")


def recipe(setup: Setup) -> StudyResults:
    """Runs the study and writes study.json and report.html."""
    conditions = [*variants(setup.config), *scarce(setup.config)]
    arms = choose(_arms(setup), setup.arms)
    recipes = [arm.name for arm in arms if arm.name in RECIPES]
    result = setup.results(StudyResults, "recipe", "Recipe", "Does the recipe beat every plain baseline, tuned alike?")
    titles = arm_titles(arms)
    full: dict[str, list[Outcome]] = {}
    for variant in conditions:
        chosen = tuned_arms(setup, variant, arms)
        outcomes = with_best_single(run_arms(setup, variant, arms, chosen))
        if "best-single" in outcomes:
            titles["best-single"] = BEST_SINGLE
        full = full or outcomes
        rivals = [name for name in titles if name not in recipes]
        rows = _against(recipes, rivals, outcomes, outcomes, "")
        if variant.name.startswith("scarce"):
            rows += _against(recipes, rivals, outcomes, full, " with paths for every question")
        rows += _votes(recipes, outcomes)
        found = Condition(title=variant.title, arms=figures_of(outcomes, chosen), comparisons=tuple(rows))
        result = result.having(arms=titles, conditions={**result.conditions, variant.name: found})
        write_figures(setup, result)
    return finish(setup, result)


def _arms(setup: Setup) -> list[Arm]:
    # sampled answers, so that the vote has self-consistency at equal decodes beside it
    sampled = {"evaluate.samples": max(5, setup.config.evaluate.samples)}
    candidates = [
        replace(arm, changes={**arm.changes, **sampled})
        for arm in (*parts(setup.config), *extensions(setup.config))
        if arm.name in RECIPES
    ]
    return [*baselines(setup.config), *candidates]


def _against(
    firsts: Sequence[str],
    seconds: Sequence[str],
    mine: Mapping[str, list[Outcome]],
    theirs: Mapping[str, list[Outcome]],
    note: str,
) -> list[Comparison]:
    return [
        found
        for index, first in enumerate(firsts)
        for second in (*seconds, *firsts[:index])  # the recipe stands beside the paper's method too
        if (found := compare(mine[first], theirs[second], question=f"Is {first} above {second}{note}?"))
    ]


def _votes(recipes: Sequence[str], outcomes: Mapping[str, list[Outcome]]) -> list[Comparison]:
    """The weighted vote against self-consistency of the best pair, at equal decodes."""
    return [
        found
        for name in recipes
        if (
            found := compare(
                outcomes[name],
                outcomes[name],
                "vote",
                against="consistency",
                question=f"Does the vote of {name} beat self-consistency at equal decodes?",
            )
        )
    ]
