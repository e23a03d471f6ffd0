"""`study ablation`: every part off one at a time, beside every plain baseline, tuned alike if asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from qrdistill.base.store import write_json
from qrdistill.studies.grid.arms import Arm, baselines, by_name, choose, parts
from qrdistill.studies.grid.outcomes import Outcome, accuracy, best_of, compare
from qrdistill.studies.grid.page import write_pages
from qrdistill.studies.grid.study import Setup, Variant, run_arms, variants
from qrdistill.studies.grid.tune import tune

# What is compared with what, and the question that it answers.
QUESTIONS = (
    ("all-answer", "all-unfiltered", "What does the answer filter add?"),
    ("all", "all-answer", "What does the judge add to the answer filter?"),
    ("learned", "random", "Does learned routing beat random routing?"),
    ("learned", "all", "Does learned routing beat everything for everyone, at equal compute?"),
    ("learned", "fixed-loss", "Does learned routing beat a fixed split by base loss?"),
    ("learned", "style-split", "Does learned routing beat a hand-made style split?"),
    ("learned", "best-single", "Does learned routing beat the best single style per student?"),
    ("learned", "best-style", "Does learned routing beat each student's best style, chosen before training?"),
    ("best-own", "best-style", "Do own verified paths help a student in its best style?"),
    ("learned", "learned-unfiltered", "What does the filter add to learned routing?"),
    ("learned-mutual", "learned", "Does mutual distillation help?"),
    ("learned", "learned-blind", "Does the learning state help the router?"),
    ("learned", "learned-unbalanced", "Does the balance term help?"),
)


def ablation(setup: Setup) -> dict[str, Any]:
    """Every part off, one at a time, beside every plain baseline. Writes study.json and report.html.

    Other arms (those of `arms.beyond`) are run where they are named.
    """
    every = by_name(setup.config)
    wanted = setup.arms or [arm.name for arm in (*baselines(setup.config), *parts(setup.config))]
    result = run_study(setup, "ablation", variants(setup.config), choose(list(every.values()), wanted))
    write_pages(setup, result, "Ablation", "What does each part of the method add, and to what?")
    return result


def run_study(
    setup: Setup,
    name: str,
    conditions: Sequence[Variant],
    arms: Sequence[Arm],
    questions: Sequence[tuple[str, str, str]] = QUESTIONS,
) -> dict[str, Any]:
    """Any grid of arms under several conditions, with the derived best-single-style arm."""
    titles = {arm.name: (arm.title, arm.group) for arm in arms}
    titles["best-single"] = ("best single style per student (chosen on dev)", "baseline")
    result: dict[str, Any] = {
        "study": name,
        "seeds": list(setup.seeds),
        "tuned": setup.tune,
        "arms": titles,
        "conditions": {},
    }
    for variant in conditions:
        chosen = tuned_arms(setup, variant, arms)
        outcomes = run_arms(setup, variant, arms, chosen)
        result["conditions"][variant.name] = summarise(variant, outcomes, chosen, questions)
        write_json(setup.folder / "study.json", result)
    return result


def tuned_arms(setup: Setup, variant: Variant, arms: Sequence[Arm]) -> dict[str, tuple[str, dict[str, Any]]] | None:
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


def summarise(
    variant: Variant,
    outcomes: Mapping[str, list[Outcome]],
    chosen: Mapping[str, tuple[str, Any]] | None,
    questions: Sequence[tuple[str, str, str]],
) -> dict[str, Any]:
    """One condition's figures: per arm accuracies and costs, and the paired answers to the questions."""
    found = dict(outcomes)
    singles = [row for name, rows in outcomes.items() if name.startswith("only-") for row in rows]
    if singles:
        found["best-single"] = best_of("best-single", singles)
    comparisons: list[dict[str, Any]] = []
    for first, second, question in questions:
        for mode in ("styled", "free"):
            if first in found and second in found and (result := compare(found[first], found[second], mode)):
                comparisons.append(result.answers(question))
    return {
        "title": variant.title,
        "arms": {
            name: arm_figures(rows, (chosen or {}).get(name, ("", None))[0]) for name, rows in found.items() if rows
        },
        "comparisons": comparisons,
    }


def arm_figures(rows: Sequence[Outcome], tuned: str) -> dict[str, Any]:
    """One arm over its seeds, as JSON-able data."""
    students = sorted(rows[0].styled)
    return {
        "tuned": tuned,
        "styled": _interval(accuracy(rows, "styled")),
        "free": _interval(accuracy(rows, "free")),
        "vote": _interval(accuracy(rows, "vote")),
        "students": {
            name: {
                "styled": sum(row.styled[name] for row in rows) / len(rows),
                "free": sum(row.free.get(name, float("nan")) for row in rows) / len(rows),
                "tokens": sum(row.tokens.get(name, 0) for row in rows) / len(rows),
            }
            for name in students
        },
        "equivalents": sum(row.equivalents for row in rows) / len(rows),
        "seconds": sum(row.seconds for row in rows) / len(rows),
        "runs": [asdict(row) for row in rows],
    }


def _interval(value: Any) -> dict[str, float] | None:
    return value._asdict() if value is not None else None
