"""`study filter`: can the filter be trusted, and how much do the students suffer where it cannot?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from qrdistill.base.store import write_json
from qrdistill.studies import filter_reliability as trust
from qrdistill.studies.ablation import summarise, tuned_arms
from qrdistill.studies.filter_page import parts
from qrdistill.studies.grid.arms import Arm, by_name
from qrdistill.studies.grid.page import write_pages
from qrdistill.studies.grid.run_grid import run_grid
from qrdistill.studies.grid.study import (
    Setup,
    Variant,
    base_checkpoint,
    finite,
    needs_all_arms,
    run_arms,
    run_name,
)
from qrdistill.verdicts.audit import calibration

ERRORS = (0.0, 0.05, 0.15, 0.3)  # share of the lab judge's verdicts that are turned around
NOISY = 0.15
VOTES = 3
DISPUTED = 5  # paths shown per audit
RULES = ("any", "majority", "all")
LAB_QUESTIONS = (
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
    """Everyone on every path, the filter alone varies. The lab's judge errs as told; another judge is as it is."""
    plain = by_name(setup.config)["all"].changes
    bare = {**plain, "filter.answer": False, "filter.judges": []}
    found = [
        Arm("unfiltered", "no filter", "part", bare),
        Arm("answer", "answer filter only", "part", {**plain, "filter.answer": True, "filter.judges": []}),
    ]
    if not _is_lab(setup):
        return [*found, Arm("configured", "the filter as configured", "part", plain)]
    found += [_judged(plain, error, 1) for error in ERRORS]
    return [*found, _judged(plain, NOISY, VOTES)]


def _judged(plain: Mapping[str, Any], error: float, votes: int, rule: str = "majority") -> Arm:
    times = "" if votes == 1 else f"x{votes}"
    said = "" if votes == 1 else f", {votes} votes, {rule}"
    judge = {"kind": "lab", "name": "rules", "error_rate": error}
    changes = {
        **plain,
        "filter.answer": True,
        "filter.judges": [judge],
        "filter.votes": votes,
        "filter.rule": rule,
    }
    return Arm(
        f"judge-{round(100 * error)}{times}",
        f"answer filter and judge, {100 * error:.0f} % errors{said}",
        "part",
        changes,
    )


def _is_lab(setup: Setup) -> bool:
    return setup.config.questions.task == "lab"


def filter_study(setup: Setup) -> dict[str, Any]:
    """The filter against known truth, and the students' accuracy under it. Writes study.json and report.html.

    The truth is what the lab planted, or the labels given by `qrdistill label` in any of the study's
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
    truth = {seed: trust.known_truth(own[seed] for own in folders.values()) for seed in setup.seeds}
    found = {name: trust.evidence(own, truth) for name, own in folders.items() if name != "unfiltered"}
    known = any(truth.values())
    result: dict[str, Any] = {
        "study": "filter",
        "seeds": list(setup.seeds),
        "tuned": setup.tune,
        "arms": {arm.name: (arm.title, arm.group) for arm in tried},
        "conditions": {
            variant.name: summarise(variant, outcomes, chosen, LAB_QUESTIONS if _is_lab(setup) else OWN_QUESTIONS)
        },
        "filter": {
            "labelled": sum(len(labels) for labels in truth.values()),
            "planted": _counts(truth),
            "reliability": {name: trust.reliabilities(one) for name, one in found.items()} if known else {},
            "pruning": {name: trust.pruning(own) for name, own in folders.items()},
            "audits": _audits(setup, found, folders),
        },
    }
    figures = result["filter"]
    if known and _is_lab(setup):
        duel = trust.duel(found["judge-15x3"], found["judge-15"])
        figures["votes"] = duel.as_dict() if duel else None
        figures["rule"] = trust.choose_rule(_rules(setup, variant, truth))
    elif known:
        figures["thresholds"] = trust.thresholds(found["configured"])
    write_json(setup.folder / "study.json", finite(result))
    shown = _to_read(setup, folders, truth, figures["audits"])
    write_pages(
        setup,
        result,
        "Filter",
        "Can the filter be trusted, and what do its errors cost?",
        parts(result, shown),
        findings=findings(result, folders),
        caveats=[CAVEATS],
        warnings=[
            text for name, one in figures["pruning"].items() for text in (f"{name}, {alarm}" for alarm in one["alarms"])
        ],
    )
    return finite(result)


def _counts(truth: Mapping[int, Mapping[str, str]]) -> dict[str, int]:
    labels = [label for own in truth.values() for label in own.values()]
    return {label: labels.count(label) for label in ("sound", "spurious", "wrong")}


def _rules(
    setup: Setup, variant: Variant, truth: Mapping[int, Mapping[str, calibration.Label]]
) -> dict[str, trust.Evidence]:
    """The noisy judge's votes under each rule: runs that end with the filter."""
    plain = by_name(setup.config)["all"].changes
    grid = {
        f"{variant.name}.rule-{rule}.s{seed}": _judged(plain, NOISY, VOTES, rule).config(
            setup.config, {**base_checkpoint(setup.config, seed), "seed": seed, "name": "study"}
        )
        for rule in RULES
        for seed in setup.seeds
    }
    runs = run_grid(grid, setup.folder, workers=setup.workers, progress=setup.progress, until="filter")
    return {
        rule: trust.evidence({seed: runs[f"{variant.name}.rule-{rule}.s{seed}"].folder for seed in setup.seeds}, truth)
        for rule in RULES
    }


def _audits(
    setup: Setup, found: Mapping[str, trust.Evidence], folders: Mapping[str, Mapping[int, Path]]
) -> list[dict[str, Any]]:
    """Where two checkers disagree, over the first seed's paths for answers, over all for judges."""
    audits = [trust.answer_audit(folders["answer"][setup.seeds[0]])]
    if _is_lab(setup):
        audits.append(
            trust.described_audit(
                "judge without errors and judge with 15 % errors",
                calibration.second_opinion(found["judge-0"].verdicts, found["judge-15"].verdicts, "judge"),
            )
        )
    else:
        audits += trust.judge_audits(found["configured"])
    return audits


def _to_read(
    setup: Setup,
    folders: Mapping[str, Mapping[int, Path]],
    truth: Mapping[int, Mapping[str, calibration.Label]],
    audits: Sequence[Mapping[str, Any]],
) -> list[trust.Shown]:
    """Rejected paths of the first seed, and those over which two checkers disagree."""
    seed = setup.seeds[0]
    main = "judge-15" if _is_lab(setup) else "configured"
    rows = trust.rejected(folders[main][seed], truth[seed])
    for audit, arm, title in zip(
        audits, ("answer", *[main] * len(audits)), ("answer readers", *["judges"] * len(audits)), strict=False
    ):
        here = [
            path.removesuffix(f"@{seed}")
            for path in audit["disagreements"]
            if path.endswith(f"@{seed}") or arm == "answer"
        ]
        rows += trust.shown(folders[arm][seed], here[:DISPUTED], f"{title} disagree", truth[seed])
    return rows


# --- words ----------------------------------------------------------------------------------------


def findings(result: Mapping[str, Any], folders: Mapping[str, Mapping[int, Path]]) -> list[str]:
    figures = result["filter"]
    titles = {name: text for name, (text, _) in result["arms"].items()}
    if not figures["labelled"]:
        run = next(iter(folders["configured"].values()))
        return [
            f"No path's truth is known, so precision and recall are not: label a sample with `qrdistill label {run}` "
            "and run the same command again."
        ]
    sentences: list[str] = []
    for name, checkers in figures["reliability"].items():
        one = checkers.get("filter")
        if one is not None:
            sentences.append(
                f"{titles[name][0].upper()}{titles[name][1:]}: of the kept paths {percent(one['precision'])} are sound, "
                f"of the sound ones {percent(one['recall'])} are kept; kappa with the truth {one['kappa']['estimate']:.2f} "
                f"({one['kappa']['low']:.2f} to {one['kappa']['high']:.2f}), {one['n']} labelled paths."
            )
    votes = figures.get("votes")
    if votes:
        gain = votes["difference"]
        verdict = "do not measurably beat" if not votes["claims"] else "beat" if gain["estimate"] > 0 else "fall behind"
        sentences.append(
            f"At 15 % judge errors three votes {verdict} one: {100 * votes['first']:.1f} against {100 * votes['second']:.1f} % "
            f"of the judge's decisions are right, {100 * gain['estimate']:+.1f} points ({100 * gain['low']:+.1f} to "
            f"{100 * gain['high']:+.1f}, {gain['n']} paths, exact McNemar p = {votes['mcnemar']['p']:.2g})."
        )
    rule = figures.get("rule")
    if rule and rule["chosen"] in rule["held_out"]:
        there = rule["held_out"][rule["chosen"]]["kappa"]
        sentences.append(
            f"How to combine three votes at 15 % errors, chosen on one half of the questions: {rule['chosen']}; on the "
            f"other half its kappa is {there['estimate']:.2f} ({there['low']:.2f} to {there['high']:.2f}, {there['n']} paths)."
        )
    for one in figures.get("thresholds", []):
        met = "reaches" if one["reached"] else "does not reach"
        sentences.append(
            f"Judge {one['judge']}: filter.threshold {one['threshold']:g}, chosen on one half of the questions, {met} 95 % "
            f"precision there; on the other half it is {percent(one['held_out']['precision'])} ({one['held_out']['n']} paths)."
        )
    return sentences


def percent(share: Mapping[str, Any]) -> str:
    value = share.get("value", share.get("estimate"))
    if value is None or isnan(value):
        return "unknown"
    return f"{100 * value:.1f} % ({100 * share['low']:.1f} to {100 * share['high']:.1f})"
