"""`study mutual`: does mutual distillation make the students alike, and does it make them better?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, isfinite, isnan
from pathlib import Path
from typing import Any

from qrdistill.base.errors import ConfigError
from qrdistill.base.store import write_json
from qrdistill.report.study_page import Chart, Line, Part, Table
from qrdistill.runs.run import Run
from qrdistill.scores.statistics import Interval, over_seeds
from qrdistill.studies.ablation import summarise, tuned_arms
from qrdistill.studies.grid.arms import Arm, by_name
from qrdistill.studies.grid.page import write_pages
from qrdistill.studies.grid.study import (
    Setup,
    Variant,
    established,
    finite,
    needs_all_arms,
    run_arms,
    run_name,
)
from qrdistill.studies.student_similarity import Point, final_agreement, over_training, probes

WEIGHTS = (0.05, 0.2, 1.0)
GATED_WEIGHT = 0.2
CHECKPOINTS = 4  # looked at per run, beside the untrained students
REFERENCE = "mutual-0"
CAVEAT = (
    "Similarity is linear CKA (unbiased estimator) of hidden states, pooled over the lines (or words) of right dev answers of the run "
    "without mutual distillation; another text or another measure may say otherwise."
)


def arms(learned: Arm) -> list[Arm]:
    """Learned routing without mutual distillation, at each weight, and towards the better peer only."""
    found = [Arm(REFERENCE, "no mutual distillation", "part", {**learned.changes, "mutual.weight": 0.0})]
    found += [
        Arm(
            f"mutual-{weight:g}",
            f"mutual distillation, weight {weight:g}",
            "part",
            {**learned.changes, "mutual.weight": weight},
        )
        for weight in WEIGHTS
    ]
    gated = {**learned.changes, "mutual.weight": GATED_WEIGHT, "mutual.gate": "better_peer"}
    found.append(Arm("mutual-peer", f"towards the better peer only, weight {GATED_WEIGHT:g}", "part", gated))
    return found


def mutual(setup: Setup) -> dict[str, Any]:
    """Similarity, agreement and accuracy with and without mutual distillation. Writes study.json and report.html.

    Raises ConfigError for fewer than two students.
    """
    needs_all_arms(setup)
    config = setup.config
    if len(config.students) < 2:
        raise ConfigError("mutual distillation needs two students or more", key="students")
    tried = arms(by_name(config)["learned"])
    variant = Variant("mutual", config.questions.task)
    chosen = tuned_arms(setup, variant, tried)
    every = max(1, ceil(config.train.steps / CHECKPOINTS))
    # neither changes what is learned; tuning may double the steps
    extra = {"train.checkpoint_every": every, "train.keep_last": 4 * CHECKPOINTS}
    outcomes = run_arms(setup, variant, tried, chosen, extra)

    def folder(arm: str, seed: int) -> Path:
        return setup.folder / run_name(variant, arm, seed, chosen)

    points: dict[str, dict[int, list[Point]]] = {arm.name: {} for arm in tried}
    final: dict[str, dict[int, dict[str, Any]]] = {arm.name: {} for arm in tried}
    setup.progress.start("similarity", len(tried) * len(setup.seeds))
    for seed in setup.seeds:
        read, told = probes(folder(REFERENCE, seed)), Run(folder(REFERENCE, seed)).scores["best_style"]
        for arm in tried:
            points[arm.name][seed] = over_training(folder(arm.name, seed), read, told)
            final[arm.name][seed] = final_agreement(folder(arm.name, seed))
            setup.progress.advance()
    setup.progress.done()
    questions = [(arm.name, REFERENCE, f"Does {_lower(arm.title)} change accuracy?") for arm in tried[1:]]
    result: dict[str, Any] = {
        "study": "mutual",
        "seeds": list(setup.seeds),
        "tuned": setup.tune,
        "arms": {arm.name: (arm.title, arm.group) for arm in tried},
        "conditions": {variant.name: summarise(variant, outcomes, chosen, questions)},
        "diversity": {
            "over_training": {
                name: {seed: [vars(point) for point in found] for seed, found in runs.items()}
                for name, runs in points.items()
            },
            "final": final,
            "figures": figures(points, final),
        },
    }
    write_json(setup.folder / "study.json", finite(result))
    write_pages(
        setup,
        result,
        "Mutual distillation",
        "Do the students become alike, and does that make them better?",
        [_over_training(points, result), _table(result)],
        findings=findings(result),
        caveats=[CAVEAT],
    )
    return finite(result)


def _lower(title: str) -> str:
    return title if title.startswith("mutual") else f"mutual distillation {title}"


# --- figures --------------------------------------------------------------------------------------


def figures(
    points: Mapping[str, Mapping[int, Sequence[Point]]], final: Mapping[str, Mapping[int, Mapping[str, Any]]]
) -> dict[str, dict[str, Any]]:
    """Arm -> its figures at the end over seeds, and each minus the arm without mutual distillation."""
    rows: dict[str, dict[str, Any]] = {}
    values = {
        name: {
            "cka": {seed: found[-1].cka for seed, found in runs.items()},
            "agreement": {seed: final[name][seed]["agreement"] for seed in runs},
            "both_wrong": {seed: final[name][seed]["both_wrong"] for seed in runs},
            "same_mistake": {seed: final[name][seed]["same_mistake"] for seed in runs},
        }
        for name, runs in points.items()
    }
    for name, found in values.items():
        rows[name] = {"spans": min(runs[-1].spans for runs in points[name].values())}
        for key, by_seed in found.items():
            known = [value for value in by_seed.values() if not isnan(value)]
            rows[name][key] = over_seeds(known)._asdict() if known else None
            there = values[REFERENCE][key]
            more = [value - there[seed] for seed, value in by_seed.items() if not isnan(value - there[seed])]
            rows[name][f"{key}_change"] = over_seeds(more)._asdict() if more and name != REFERENCE else None
    return rows


# --- words ----------------------------------------------------------------------------------------


def findings(result: Mapping[str, Any]) -> list[str]:
    titles = {name: text for name, (text, _) in result["arms"].items()}
    accuracy = {
        row["first"]: row
        for condition in result["conditions"].values()
        for row in condition["comparisons"]
        if row["mode"] == "styled"
    }
    sentences: list[str] = []
    for name, row in result["diversity"]["figures"].items():
        if name == REFERENCE or row["cka_change"] is None:
            continue
        alike = _moved(
            row["cka_change"],
            "makes the students' representations more alike",
            "makes them less alike",
            "is not shown to change how alike the representations are",
        )
        said = _moved(
            row["agreement_change"],
            "they give the same answer more often",
            "they give the same answer less often",
            "no change in how often they give the same answer is shown",
        )
        better = _moved(
            {**accuracy[name], "estimate": accuracy[name]["difference"]} if name in accuracy else None,
            "accuracy rises",
            "accuracy falls",
            "no change of accuracy is shown",
        )
        sentences.append(
            f"{titles[name][0].upper()}{titles[name][1:]} {alike} (CKA {_said(row['cka_change'])}); {said} "
            f"({_said(row['agreement_change'], 100)}); {better}."
        )
    return sentences


def _moved(change: Mapping[str, Any] | None, up: str, down: str, unknown: str) -> str:
    return {1: up, -1: down, 0: unknown}[established(change)]


def _said(change: Mapping[str, Any] | None, scale: float = 1.0) -> str:
    if change is None:
        return "unknown"
    digits = 2 if scale == 1 else 1
    estimate = f"{scale * change['estimate']:+.{digits}f}{'' if scale == 1 else ' points'}"
    if not isfinite(change["low"]):
        return f"{estimate}, one seed"
    return f"{estimate}, 95 % interval {scale * change['low']:+.{digits}f} to {scale * change['high']:+.{digits}f}, {change['n']} seeds"


# --- page -----------------------------------------------------------------------------------------


def _over_training(points: Mapping[str, Mapping[int, Sequence[Point]]], result: Mapping[str, Any]) -> Part:
    titles = {name: text for name, (text, _) in result["arms"].items()}
    charts = [
        (
            "cka",
            1.0,
            "Similarity of the students' hidden states (linear CKA, 1: the same up to rotation and scale).",
            "CKA",
        ),
        ("agreement", 100.0, "Dev questions to which the students give the same answer.", "same answer, %"),
    ]
    return Part(
        title="Over training",
        text=["Step 0 are the untrained students. Bars: 95 % intervals over seeds."],
        charts=[
            *(
                Chart(
                    kind="curves",
                    caption=caption,
                    x="step",
                    y=label,
                    lines=[_line(titles[name], list(runs.values()), key, scale) for name, runs in points.items()],
                )
                for key, scale, caption, label in charts
            ),
            Chart(
                kind="curves",
                caption="Mean accuracy of the students on the same dev questions.",
                x="step",
                y="accuracy, %",
                lines=[_line(titles[name], list(runs.values()), "accuracy", 100.0) for name, runs in points.items()],
            ),
        ],
    )


def _line(label: str, runs: Sequence[Sequence[Point]], key: str, scale: float) -> Line:
    def value(point: Point) -> float:
        if key == "accuracy":
            return scale * sum(point.accuracy.values()) / max(1, len(point.accuracy))
        return scale * float(getattr(point, key))

    shared = sorted(set.intersection(*({point.step for point in run} for run in runs)))
    found: list[Interval] = [
        over_seeds([next(value(point) for point in run if point.step == step) for run in runs]) for step in shared
    ]
    bars = all(isfinite(one.low) for one in found)
    return Line(
        label=label,
        x=[float(step) for step in shared],
        y=[one.estimate for one in found],
        low=[one.low for one in found] if bars else None,
        high=[one.high for one in found] if bars else None,
    )


def _table(result: Mapping[str, Any]) -> Part:
    titles = {name: text for name, (text, _) in result["arms"].items()}
    columns = ["arm"]
    for label in ("CKA", "same answer, %", "both wrong, %", "same mistake, %"):
        columns += [label, "interval", "change", "interval of the change"]
    rows = [
        [
            titles[name],
            *(
                cell
                for key, scale in (("cka", 1.0), ("agreement", 100.0), ("both_wrong", 100.0), ("same_mistake", 100.0))
                for value in (row[key], row[f"{key}_change"])
                for cell in _cells(value, scale)
            ),
        ]
        for name, row in result["diversity"]["figures"].items()
    ]
    spans = min(row["spans"] for row in result["diversity"]["figures"].values())
    return Part(
        title="Diversity at the end",
        tables=[
            Table(
                title="How alike the trained students are",
                columns=columns,
                rows=rows,
                note=f"Means over pairs of students and over {len(result['seeds'])} seeds with Student's 95 % t intervals; "
                f"CKA over at least {spans} spans of dev answers, the rest over the scored questions, each student told "
                "its best style. Same mistake: of the questions that both get wrong. Changes are paired by seed.",
            )
        ],
    )


def _cells(value: Mapping[str, Any] | None, scale: float) -> list[str | float | int | None]:
    if value is None:
        return [None, None]
    digits = 3 if scale == 1 else 1
    estimate = round(scale * value["estimate"], digits)
    if not isfinite(value["low"]):
        return [estimate, None]
    return [estimate, f"{scale * value['low']:.{digits}f} to {scale * value['high']:.{digits}f}"]
