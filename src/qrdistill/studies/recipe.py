"""`study recipe`: does the recommended recipe beat every plain baseline, and where?

Three conditions on the lab: an even teacher, an uneven one, and one that wrote paths for 30 % of the
questions only. Every baseline stands beside the recipe in each; the recipe with scarce paths is also
held against the baselines that have all of them. Use --tune: a comparison with untuned baselines says
little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qrdistill.base.store import write_json
from qrdistill.studies.ablation import arm_figures, tuned_arms
from qrdistill.studies.grid.arms import baselines, beyond, choose, parts
from qrdistill.studies.grid.outcomes import Outcome, best_of, compare
from qrdistill.studies.grid.page import write_pages
from qrdistill.studies.grid.study import Setup, run_arms, scarce, variants

RECIPES = ("learned", "best-own")


def recipe(setup: Setup) -> dict[str, Any]:
    """Runs the study and writes study.json and report.html."""
    rivals = baselines(setup.config)
    # sampled answers, so that the vote has self-consistency at equal decodes beside it
    sampled = {"evaluate.samples": max(5, setup.config.evaluate.samples)}
    candidates = [
        replace(arm, changes={**arm.changes, **sampled})
        for arm in (*parts(setup.config), *beyond(setup.config))
        if arm.name in RECIPES
    ]
    conditions = variants(setup.config)
    if setup.config.questions.task == "lab":
        conditions.append(scarce(setup.config))
    arms = choose([*rivals, *candidates], setup.arms)
    recipes = [arm.name for arm in arms if arm.name in RECIPES]
    titles: dict[str, tuple[str, str]] = {arm.name: (arm.title, arm.group) for arm in arms}
    result: dict[str, Any] = {
        "study": "recipe",
        "seeds": list(setup.seeds),
        "tuned": setup.tune,
        "arms": titles,
        "conditions": {},
    }
    full: dict[str, list[Outcome]] = {}
    for variant in conditions:
        chosen = tuned_arms(setup, variant, arms)
        outcomes: dict[str, list[Outcome]] = dict(run_arms(setup, variant, arms, chosen))
        singles = [row for name, rows in outcomes.items() if name.startswith("only-") for row in rows]
        if singles:
            outcomes["best-single"] = best_of("best-single", singles)
            titles["best-single"] = ("best single style per student (chosen on dev)", "baseline")
        full = full or outcomes
        names = [name for name in titles if name not in recipes]
        rows = _against(recipes, names, outcomes, outcomes, "")
        if variant.name.startswith("scarce"):
            rows += _against(recipes, names, outcomes, full, " with paths for every question")
        rows += _votes(recipes, outcomes)
        result["conditions"][variant.name] = {
            "title": variant.title,
            "arms": {
                name: arm_figures(found, (chosen or {}).get(name, ("", None))[0]) for name, found in outcomes.items()
            },
            "comparisons": rows,
        }
        write_json(setup.folder / "study.json", result)
    write_pages(setup, result, "Recipe", "Does the recipe beat every plain baseline, tuned alike?")
    return result


def _against(
    firsts: Sequence[str],
    seconds: Sequence[str],
    mine: Mapping[str, list[Outcome]],
    theirs: Mapping[str, list[Outcome]],
    note: str,
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for index, first in enumerate(firsts):
        for second in (*seconds, *firsts[:index]):  # the recipe stands beside the paper's method too
            if found := compare(mine[first], theirs[second]):
                rows.append(found.answers(f"Is {first} above {second}{note}?"))
    return rows


def _votes(recipes: Sequence[str], outcomes: Mapping[str, list[Outcome]]) -> list[dict[str, Any]]:
    """The weighted vote against self-consistency of the best pair, at equal decodes."""
    rows: list[dict[str, Any]] = []
    for name in recipes:
        if found := compare(outcomes[name], outcomes[name], "vote", against="consistency"):
            rows.append(found.answers(f"Does the vote of {name} beat self-consistency at equal decodes?"))
    return rows
