"""`study filter`: how reliable is the filter, and how much do the students suffer where it is not?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from qrdistill.report.study_results import Estimate, StudyResults
from qrdistill.report.study_words import interval
from qrdistill.scores.statistics import established
from qrdistill.studies.grid.arms import Arm, by_name
from qrdistill.studies.grid.page import finish
from qrdistill.studies.grid.run_grid import run_grid
from qrdistill.studies.grid.study import (
    Setup,
    Variant,
    arm_titles,
    base_checkpoint,
    needs_all_arms,
    run_arms,
    run_name,
)
from qrdistill.studies.grid.summary import summarise, tuned_arms
from qrdistill.studies.grid.workbench import Workbench, workbench
from qrdistill.studies.measures import filter_reliability as measured
from qrdistill.studies.measures.filter_reliability import (
    AuditFigures,
    CheckFigures,
    Evidence,
    Pruning,
    RightDecisions,
    RuleChoice,
    Shown,
    ThresholdChoice,
)
from qrdistill.studies.pages.filter_page import parts
from qrdistill.verdicts.audit import calibration

ERRORS = (0.0, 0.05, 0.15, 0.3)  # share of a judge's verdicts that are turned around
NOISY = 0.15
VOTES = 3
DISPUTED = 5  # paths shown per audit
RULES = ("any", "majority", "all")
PLANTED_QUESTIONS = (
    ("answer", "unfiltered", "What does the answer filter add?"),
    ("judge-0", "answer", "What does a judge without planted errors add to it?"),
    ("judge-5", "judge-0", "Does a judge that errs in 5 % cost accuracy?"),
    ("judge-15", "judge-0", "Does a judge that errs in 15 % cost accuracy?"),
    ("judge-30", "judge-0", "Does a judge that errs in 30 % cost accuracy?"),
    ("judge-15", "answer", "Does a judge that errs in 15 % still help?"),
    ("judge-30", "answer", "Does a judge that errs in 30 % still help?"),
    ("judge-15x3", "judge-15", "Do three votes win accuracy back at 15 %?"),
)
OWN_QUESTIONS = (
    ("answer", "unfiltered", "What does the answer filter add?"),
    ("configured", "answer", "What does the rest of the filter add?"),
    ("configured", "unfiltered", "What does the whole filter add?"),
)
CAVEATS = (
    "Checks run one after the other: each is measured on the paths that came as far as it. Wilson and bootstrap "
    "intervals treat paths as independent, though those of one question are not quite."
)


def arms(setup: Setup) -> list[Arm]:
    """Everyone on every path, the filter alone varies. A workbench's judge errs as told; another judge is as it is."""
    plain = by_name(setup.config)["all"].changes
    bare = {**plain, "filter.answer": False, "filter.judges": []}
    found = [
        Arm("unfiltered", "no filter", "part", bare),
        Arm("answer", "answer filter only", "part", {**plain, "filter.answer": True, "filter.judges": []}),
    ]
    bench = workbench(setup.config.questions.task)
    if bench is None:
        return [*found, Arm("configured", "the filter as configured", "part", plain)]
    found += [_judged(bench, plain, error, 1) for error in ERRORS]
    return [*found, _judged(bench, plain, NOISY, VOTES)]


def _judged(bench: Workbench, plain: Mapping[str, Any], error: float, votes: int, rule: str = "majority") -> Arm:
    times = "" if votes == 1 else f"x{votes}"
    said = "" if votes == 1 else f", {votes} votes, {rule}"
    changes = {
        **plain,
        "filter.answer": True,
        "filter.judges": [bench.judge(error)],
        "filter.votes": votes,
        "filter.rule": rule,
    }
    return Arm(
        f"judge-{round(100 * error)}{times}",
        f"answer filter and judge, {100 * error:.0f} % errors{said}",
        "part",
        changes,
    )


class FilterResults(StudyResults):
    labelled: int = 0
    """Paths whose truth is known."""
    planted: dict[str, int] = Field(default_factory=dict)
    """Label -> such paths."""
    reliability: dict[str, dict[str, CheckFigures]] = Field(default_factory=dict)
    """Arm -> check -> its figures."""
    pruning: dict[str, Pruning] = Field(default_factory=dict)
    audits: list[AuditFigures] = Field(default_factory=list)
    votes: RightDecisions | None = None
    """Three votes against one, at 15 % errors."""
    rule: RuleChoice | None = None
    thresholds: list[ThresholdChoice] = Field(default_factory=list)
    first_wrong_steps: dict[str, dict[str, Estimate]] = Field(default_factory=dict)
    """Questions' family (or all) -> judge -> share of the paths with a known first wrong step on which it names that step."""
    repaired: dict[str, float] = Field(default_factory=dict)
    """Judge -> share of its readable replies that only the second reading could read."""


def filter_study(setup: Setup) -> FilterResults:
    """The filter against known truth, and the students' accuracy under it. Writes study.json and report.html.

    The truth is what the teacher planted, or the labels given by `qrdistill label` in any of the study's
    runs; without either, the runs, the alarms and the audits are shown, and how to label is said.
    """
    needs_all_arms(setup)
    variant = Variant("filter", setup.config.questions.task)
    tried = arms(setup)
    chosen = tuned_arms(setup, variant, tried)
    outcomes = run_arms(setup, variant, tried, chosen)
    folders = {
        arm.name: {seed: setup.folder / run_name(variant, arm.name, seed, chosen) for seed in setup.seeds}
        for arm in tried
    }
    truth = {seed: measured.known_truth(own[seed] for own in folders.values()) for seed in setup.seeds}
    found = {name: measured.evidence(own, truth) for name, own in folders.items() if name != "unfiltered"}
    known, bench = any(truth.values()), workbench(setup.config.questions.task)
    condition = summarise(variant, outcomes, chosen, PLANTED_QUESTIONS if bench else OWN_QUESTIONS)
    asked = "How reliable is the filter, and what do its errors cost?"
    result = setup.results(FilterResults, "filter", "Filter", asked).having(
        arms=arm_titles(tried),
        conditions={variant.name: condition},
        labelled=sum(len(labels) for labels in truth.values()),
        planted=_counts(truth),
        reliability={name: measured.reliabilities(one) for name, one in found.items()} if known else {},
        pruning={name: measured.pruning(own) for name, own in folders.items()},
        audits=_audits(setup, found, folders),
        votes=measured.right_decisions(found["judge-15x3"], found["judge-15"]) if known and bench else None,
        rule=measured.choose_rule(_rules(setup, bench, variant, truth)) if known and bench else None,
        thresholds=measured.thresholds(found["configured"]) if known and not bench else [],
    )
    shown = _to_read(setup, folders, truth, result.audits)
    return finish(
        setup,
        result,
        parts(result, shown),
        findings=findings(result, folders),
        caveats=[CAVEATS],
        warnings=[f"{name}, {alarm}" for name, one in result.pruning.items() for alarm in one.alarms],
    )


def _counts(truth: Mapping[int, Mapping[str, str]]) -> dict[str, int]:
    labels = [label for own in truth.values() for label in own.values()]
    return {label: labels.count(label) for label in ("sound", "spurious", "wrong")}


def _rules(
    setup: Setup, bench: Workbench, variant: Variant, truth: Mapping[int, Mapping[str, calibration.Label]]
) -> dict[str, Evidence]:
    """The noisy judge's votes under each rule: runs that end with the filter."""
    plain = by_name(setup.config)["all"].changes
    grid = {
        f"{variant.name}.rule-{rule}.s{seed}": _judged(bench, plain, NOISY, VOTES, rule).config(
            setup.config, {**base_checkpoint(setup.config, seed), "seed": seed, "name": "study"}
        )
        for rule in RULES
        for seed in setup.seeds
    }
    runs = run_grid(grid, setup.folder, workers=setup.workers, progress=setup.progress, until="filter")
    return {
        rule: measured.evidence(
            {seed: runs[f"{variant.name}.rule-{rule}.s{seed}"].folder for seed in setup.seeds}, truth
        )
        for rule in RULES
    }


def _audits(
    setup: Setup, found: Mapping[str, Evidence], folders: Mapping[str, Mapping[int, Path]]
) -> list[AuditFigures]:
    """Where two checkers disagree, over the first seed's paths for answers, over all for judges."""
    audits = [measured.answer_audit(folders["answer"][setup.seeds[0]])]
    if workbench(setup.config.questions.task):
        audits.append(
            measured.audit_figures(
                "judge without errors and judge with 15 % errors",
                calibration.second_opinion(found["judge-0"].verdicts, found["judge-15"].verdicts, "judge"),
            )
        )
    else:
        audits += measured.judge_audits(found["configured"])
    return audits


def _to_read(
    setup: Setup,
    folders: Mapping[str, Mapping[int, Path]],
    truth: Mapping[int, Mapping[str, calibration.Label]],
    audits: Sequence[AuditFigures],
) -> list[Shown]:
    """Rejected paths of the first seed, and those over which two checkers disagree."""
    seed = setup.seeds[0]
    main = "judge-15" if workbench(setup.config.questions.task) else "configured"
    rows = measured.rejected(folders[main][seed], truth[seed])
    for audit, arm, title in zip(
        audits, ("answer", *[main] * len(audits)), ("answer readers", *["judges"] * len(audits)), strict=False
    ):
        here = [
            path.removesuffix(f"@{seed}")
            for path in audit.disagreements
            if path.endswith(f"@{seed}") or arm == "answer"
        ]
        rows += measured.shown(folders[arm][seed], here[:DISPUTED], f"{title} disagree", truth[seed])
    return rows


def findings(result: FilterResults, folders: Mapping[str, Mapping[int, Path]]) -> list[str]:
    """The study's answer in sentences."""
    if not result.labelled:
        run = next(iter(folders["configured"].values()))
        return [
            f"No path's truth is known, so precision and recall are not: label a sample with `qrdistill label {run}` "
            "and run the same command again."
        ]
    titles = result.titles()
    sentences: list[str] = []
    for name, checkers in result.reliability.items():
        one = checkers.get("filter")
        if one is not None:
            sentences.append(
                f"{titles[name][0].upper()}{titles[name][1:]}: of the kept paths {percent(one.precision)} are sound, "
                f"of the sound ones {percent(one.recall)} are kept; kappa with the truth {_kappa(one.kappa)}, "
                f"{one.n} labelled paths."
            )
    if result.votes:
        sentences.append(_votes(result.votes))
    rule = result.rule
    if rule and rule.chosen in rule.held_out:
        there = rule.held_out[rule.chosen].kappa
        sentences.append(
            f"How to combine three votes at 15 % errors, chosen on one half of the questions: {rule.chosen}; on the "
            f"other half its kappa is {_kappa(there)}, {there.n} paths."
        )
    for one in result.thresholds:
        met = "reaches" if one.reached else "does not reach"
        sentences.append(
            f"Judge {one.judge}: filter.threshold {one.threshold:g}, chosen on one half of the questions, {met} 95 % "
            f"precision there; on the other half it is {percent(one.held_out.precision)} ({one.held_out.n} paths)."
        )
    return sentences


def _votes(found: RightDecisions) -> str:
    gain = found.paired
    words = {1: "beat", -1: "fall behind", 0: "do not measurably beat"}[established(gain.low, gain.high)]
    return (
        f"At 15 % judge errors three votes {words} one: {100 * found.first:.1f} against {100 * found.second:.1f} % "
        f"of the judge's decisions are right, {100 * gain.difference:+.1f} points ({100 * gain.low:+.1f} to "
        f"{100 * gain.high:+.1f}, {gain.n} paths, exact McNemar p = {gain.p:.2g})."
    )


def percent(value: Estimate | None) -> str:
    """
    >>> percent(Estimate(estimate=0.5, low=0.25, high=0.75)), percent(None)
    ('50.0 % (25.0 to 75.0)', 'unknown')
    """
    if value is None:
        return "unknown"
    figure, _, ends = interval(value).partition(" ")
    return f"{figure} % {ends}"


def _kappa(value: Estimate) -> str:
    return interval(value, scale=1.0, digits=2)
