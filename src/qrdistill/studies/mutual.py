"""`study mutual`: does mutual distillation make the students alike, and does it make them better?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, nan
from pathlib import Path
from typing import Any

from pydantic import Field

from qrdistill.base.errors import ConfigError
from qrdistill.report.study_results import Cell, Chart, Estimate, Part, StudyRecord, StudyResults, Table
from qrdistill.report.study_words import claim, spread
from qrdistill.runs.run import Run
from qrdistill.scores.paired import SeedDifference
from qrdistill.studies.grid.arms import Arm, by_name
from qrdistill.studies.grid.outcomes import change, figure, share
from qrdistill.studies.grid.page import finish, line_over_seeds
from qrdistill.studies.grid.study import Setup, Variant, arm_titles, needs_all_arms, run_arms, run_name
from qrdistill.studies.grid.summary import summarise, tuned_arms
from qrdistill.studies.measures.student_similarity import FinalAgreement, Point, final_agreement, over_training, probes

WEIGHTS = (0.05, 0.2, 1.0)
GATED_WEIGHT = 0.2
CHECKPOINTS = 4  # looked at per run, beside the untrained students
REFERENCE = "mutual-0"
CAVEAT = (
    "Similarity is linear CKA (unbiased estimator) of hidden states, pooled over the lines (or words) of right dev answers of the run "
    "without mutual distillation; another text or another measure may say otherwise."
)


class Alikeness(StudyRecord):
    """How alike one arm's students are at the end, over seeds; the changes are against no mutual distillation."""

    spans: int
    """The fewest spans that CKA was taken over."""
    cka: Estimate | None
    cka_change: Estimate | None
    agreement: Estimate | None
    agreement_change: Estimate | None
    both_wrong: Estimate | None
    both_wrong_change: Estimate | None
    same_mistake: Estimate | None
    same_mistake_change: Estimate | None


class MutualResults(StudyResults):
    over_training: dict[str, dict[int, list[Point]]] = Field(default_factory=dict)
    """Arm -> seed -> its students at each checkpoint."""
    final: dict[str, dict[int, FinalAgreement]] = Field(default_factory=dict)
    alikeness: dict[str, Alikeness] = Field(default_factory=dict)


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


def mutual(setup: Setup) -> MutualResults:
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
    if config.train.steps is None:
        raise ConfigError("this study compares at given steps; say how many", key="train.steps")
    every = max(1, ceil(config.train.steps / CHECKPOINTS))
    # none changes what is learned; tuning may double the steps
    extra = {"train.checkpoint_every": every, "train.keep_last": 4 * CHECKPOINTS, "train.keep_finished": True}
    outcomes = run_arms(setup, variant, tried, chosen, extra)
    folders = {
        arm.name: {seed: setup.folder / run_name(variant, arm.name, seed, chosen) for seed in setup.seeds}
        for arm in tried
    }
    points, final = _measured(setup, folders)
    questions = [(arm.name, REFERENCE, f"Does {_lower(arm.title)} change accuracy?") for arm in tried[1:]]
    asked = "Do the students become alike, and does that make them better?"
    result = setup.results(MutualResults, "mutual", "Mutual distillation", asked).having(
        arms=arm_titles(tried),
        conditions={variant.name: summarise(variant, outcomes, chosen, questions)},
        over_training=points,
        final=final,
        alikeness=alikeness(points, final),
    )
    return finish(setup, result, [_over_training(result), _table(result)], findings=findings(result), caveats=[CAVEAT])


def _measured(
    setup: Setup, folders: Mapping[str, Mapping[int, Path]]
) -> tuple[dict[str, dict[int, list[Point]]], dict[str, dict[int, FinalAgreement]]]:
    points: dict[str, dict[int, list[Point]]] = {name: {} for name in folders}
    final: dict[str, dict[int, FinalAgreement]] = {name: {} for name in folders}
    setup.progress.start("similarity", len(folders) * len(setup.seeds))
    for seed in setup.seeds:
        reference = folders[REFERENCE][seed]
        read, prompted = probes(reference), Run(reference).scores["best_style"]
        for name, own in folders.items():
            points[name][seed] = over_training(own[seed], read, prompted)
            final[name][seed] = final_agreement(own[seed])
            setup.progress.advance()
    setup.progress.done()
    return points, final


def _lower(title: str) -> str:
    return title if title.startswith("mutual") else f"mutual distillation {title}"


def alikeness(
    points: Mapping[str, Mapping[int, Sequence[Point]]], final: Mapping[str, Mapping[int, FinalAgreement]]
) -> dict[str, Alikeness]:
    """Arm -> its figures at the end over seeds, and each minus the arm without mutual distillation."""
    values = {
        name: {
            "cka": {seed: found[-1].cka for seed, found in runs.items()},
            "agreement": {seed: final[name][seed].agreement for seed in runs},
            "both_wrong": {seed: final[name][seed].both_wrong for seed in runs},
            "same_mistake": {seed: final[name][seed].same_mistake for seed in runs},
        }
        for name, runs in points.items()
    }
    rows: dict[str, Alikeness] = {}
    for name, found in values.items():
        figures: dict[str, Any] = {"spans": min(runs[-1].spans for runs in points[name].values())}
        for key, by_seed in found.items():
            known = [value for value in by_seed.values() if value is not None]
            figures[key] = figure(known) if key == "cka" else share(known)
            there = values[REFERENCE][key]
            more = [
                value - other
                for seed, value in by_seed.items()
                if value is not None and (other := there[seed]) is not None
            ]
            figures[f"{key}_change"] = change(more) if name != REFERENCE else None
        rows[name] = Alikeness.model_validate(figures)
    return rows


def findings(result: MutualResults) -> list[str]:
    """The study's answer in sentences."""
    titles = result.titles()
    accuracy = {
        row.first: row
        for condition in result.conditions.values()
        for row in condition.comparisons
        if row.mode == "styled"
    }
    sentences: list[str] = []
    for name, row in result.alikeness.items():
        if name == REFERENCE or row.cka_change is None:
            continue
        alike = _moved(
            row.cka_change,
            "makes the students' representations more alike",
            "makes them less alike",
            "is not shown to change how alike the representations are",
        )
        said = _moved(
            row.agreement_change,
            "they give the same answer more often",
            "they give the same answer less often",
            "no change in how often they give the same answer is shown",
        )
        better = _moved(accuracy.get(name), "accuracy rises", "accuracy falls", "no change of accuracy is shown")
        sentences.append(
            f"{titles[name][0].upper()}{titles[name][1:]} {alike} (CKA {_said(row.cka_change)}); {said} "
            f"({_said(row.agreement_change, 100)}); {better}."
        )
    return sentences


def _moved(value: Estimate | SeedDifference | None, up: str, down: str, unknown: str) -> str:
    return {1: up, -1: down, 0: unknown}[claim(value)]


def _said(value: Estimate | None, scale: float = 1.0) -> str:
    if value is None:
        return "unknown"
    digits = 2 if scale == 1 else 1
    unit = "" if scale == 1 else " points"
    return f"{scale * value.estimate:+.{digits}f}{unit}, {spread(value, sign=True, scale=scale, digits=digits)}"


def _over_training(result: MutualResults) -> Part:
    titles = result.titles()

    def curves(key: str, caption: str, y: str, scale: float, bounds: tuple[float, float]) -> Chart:
        lines = [
            line_over_seeds(titles[name], *_series(list(runs.values()), key), scale=scale, bounds=bounds)
            for name, runs in result.over_training.items()
        ]
        return Chart(kind="curves", caption=caption, x="step", y=y, lines=lines)

    return Part(
        title="Over training",
        text=["Step 0 are the untrained students. Bars: 95 % intervals over seeds."],
        charts=[
            curves(
                "cka",
                "Similarity of the students' hidden states (linear CKA, 1: the same up to rotation and scale).",
                "CKA",
                1.0,
                (-1.0, 2.0),  # the unbiased estimate may pass 0 and 1 by noise
            ),
            curves(
                "agreement",
                "Dev questions to which the students give the same answer.",
                "same answer, %",
                100.0,
                (0.0, 1.0),
            ),
            curves(
                "accuracy", "Mean accuracy of the students on the same dev questions.", "accuracy, %", 100.0, (0.0, 1.0)
            ),
        ],
    )


def _series(runs: Sequence[Sequence[Point]], key: str) -> tuple[list[float], list[list[float]]]:
    """The steps that all runs have, and at each the figure of every run (nan: unknown)."""

    def value(point: Point) -> float:
        if key == "accuracy":
            return sum(point.accuracy.values()) / max(1, len(point.accuracy))
        known = point.cka if key == "cka" else point.agreement
        return nan if known is None else known

    shared = sorted(set.intersection(*({point.step for point in run} for run in runs)))
    steps = [{point.step: value(point) for point in run} for run in runs]
    return [float(step) for step in shared], [[run[step] for run in steps] for step in shared]


def _table(result: MutualResults) -> Part:
    titles = result.titles()
    columns = ["arm"]
    for label in ("CKA", "same answer, %", "both wrong, %", "same mistake, %"):
        columns += [label, "interval", "change", "interval of the change"]
    rows: list[list[Cell]] = []
    for name, row in result.alikeness.items():
        found = (
            (row.cka, row.cka_change, 1.0),
            (row.agreement, row.agreement_change, 100.0),
            (row.both_wrong, row.both_wrong_change, 100.0),
            (row.same_mistake, row.same_mistake_change, 100.0),
        )
        rows.append(
            [titles[name], *(cell for *pair, scale in found for value in pair for cell in _cells(value, scale))]
        )
    spans = min(row.spans for row in result.alikeness.values())
    note = (
        f"Means over pairs of students and over {len(result.seeds)} seeds with Student's 95 % t intervals, where there are "
        f"four or more; CKA over at least {spans} spans of dev answers, the rest over the scored questions, each student "
        "in its prompted style. Same mistake: of the questions that both get wrong. Changes are paired by seed."
    )
    table = Table(title="How alike the trained students are", columns=columns, rows=rows, note=note)
    return Part(title="Diversity at the end", tables=[table])


def _cells(value: Estimate | None, scale: float) -> list[Cell]:
    if value is None:
        return [None, None]
    digits = 3 if scale == 1 else 1
    if value.low is None or value.high is None:
        return [round(scale * value.estimate, digits), None]
    return [
        round(scale * value.estimate, digits),
        f"{scale * value.low:.{digits}f} to {scale * value.high:.{digits}f}",
    ]
