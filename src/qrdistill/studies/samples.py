"""`study samples`: how much does each share of the training questions buy?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from qrdistill.base.errors import ConfigError
from qrdistill.base.store import write_json
from qrdistill.report.study_page import Chart, Line, Part, Table
from qrdistill.studies.ablation import summarise, tuned_arms
from qrdistill.studies.grid.arms import by_name
from qrdistill.studies.grid.outcomes import Comparison, Outcome, compare
from qrdistill.studies.grid.page import write_pages
from qrdistill.studies.grid.study import Setup, Variant, finite, needs_all_arms, run_arms

SHARES = (1.0, 0.6, 0.3, 0.1)  # of questions.train; the full data first, since the others are held to it
ARMS = ("zero-shot", "all", "learned", "best-own")
BASELINE = "all"
QUESTIONS = (
    ("all", "zero-shot", "Does training on everything help at all?"),
    ("learned", "all", "Does learned routing beat everything for everyone?"),
    ("best-own", "learned", "Does the recommended recipe beat learned routing?"),
    ("best-own", "all", "Does the recommended recipe beat everything for everyone?"),
)
CAVEAT = (
    "'No loss shown' is no proof of equality: the interval says how large a loss is still possible. "
    "Every share trains for the same number of steps, so a smaller one sees each path more often."
)


def samples(setup: Setup) -> dict[str, Any]:
    """Accuracy over the share of the training questions. Writes study.json and report.html.

    The questions of a smaller share are part of a larger one's where the task keeps their order;
    dev and test questions are the same throughout. Raises ConfigError where the number of training
    questions is not written down.
    """
    needs_all_arms(setup)
    total = setup.config.questions.train
    if not total:
        raise ConfigError(
            "the shares of `study samples` are taken from a number; write down how many training questions "
            "there are in all",
            key="questions.train",
        )
    arms = [by_name(setup.config)[name] for name in ARMS]
    result: dict[str, Any] = {
        "study": "samples",
        "seeds": list(setup.seeds),
        "tuned": setup.tune,
        "arms": {arm.name: (arm.title, arm.group) for arm in arms},
        "conditions": {},
    }
    found: dict[float, dict[str, list[Outcome]]] = {}
    for share in SHARES:
        variant = _variant(share, total)
        # what is not trained does not depend on the training questions
        here = [arm for arm in arms if share == 1 or arm.name != "zero-shot"]
        chosen = tuned_arms(setup, variant, here)
        found[share] = run_arms(setup, variant, here, chosen)
        found[share].setdefault("zero-shot", found[1.0]["zero-shot"])
        result["conditions"][variant.name] = {
            **summarise(variant, found[share], chosen, QUESTIONS),
            "share": share,
            "questions": variant.changes["questions.train"],
        }
        result["against_full"] = against_full(found)
        write_json(setup.folder / "study.json", finite(result))
    result["smallest"] = {arm.name: smallest(result["against_full"], arm.name) for arm in arms}
    write_json(setup.folder / "study.json", finite(result))
    write_pages(
        setup,
        result,
        "Sample efficiency",
        "How many training questions does each arm need?",
        [_part(result)],
        findings=findings(result),
        caveats=[CAVEAT],
        brief=True,
    )
    return finite(result)


def _variant(share: float, total: int) -> Variant:
    number = max(1, round(share * total))
    return Variant(
        f"share{round(100 * share)}",
        f"{100 * share:.0f} % of the training questions ({number})",
        {"questions.train": number},
    )


def against_full(found: Mapping[float, Mapping[str, Sequence[Outcome]]]) -> list[dict[str, Any]]:
    """Every arm at every share, minus the baseline on all questions, paired by seed."""
    rows: list[dict[str, Any]] = []
    for share, outcomes in sorted(found.items()):
        for name, runs in outcomes.items():
            if (share, name) != (1.0, BASELINE) and (difference := compare(runs, found[1.0][BASELINE])):
                rows.append({"share": share, **asdict(difference), "verdict": verdict(difference)})
    return rows


def verdict(difference: Comparison) -> str:
    """What an interval against the full-data baseline allows to be said."""
    if not isfinite(difference.low) or difference.high - difference.low < 1e-9:
        return "no interval"  # one seed, or seeds that coincide and so say nothing of their spread
    if difference.high < 0:
        return "below"
    return "above" if difference.low > 0 else "no loss shown"


def smallest(rows: Sequence[Mapping[str, Any]], arm: str) -> dict[str, Any] | None:
    """The smallest share from which on no share of the arm is below the full-data baseline."""
    best: dict[str, Any] | None = None
    for row in sorted((row for row in rows if row["first"] == arm), key=lambda row: -row["share"]):
        if row["verdict"] not in ("above", "no loss shown"):
            break
        best = dict(row)
    return best


def findings(result: Mapping[str, Any]) -> list[str]:
    titles = {name: text for name, (text, _) in result["arms"].items()}
    reference = f"{titles[BASELINE]}, on all training questions"
    sentences: list[str] = []
    for name in ("all", "learned", "best-own"):
        rows = sorted(
            (entry for entry in result["against_full"] if entry["first"] == name),
            key=lambda row: -row["share"],
        )
        row = result["smallest"].get(name)
        if row is None:
            worst = rows[0]
            reason = (
                f"is below it at {100 * worst['share']:.0f} % of the questions already ({_points(worst)})"
                if worst["verdict"] == "below"
                else "one seed, or seeds that coincide, give no interval: nothing is claimed"
            )
            sentences.append(f"{titles[name]}, against {reference}: {reason}.")
            continue
        shown = "is above" if row["verdict"] == "above" else "shows no loss against"
        sentences.append(
            f"{titles[name]} {shown} {reference} from {100 * row['share']:.0f} % of the questions on ({_points(row)})."
        )
    return sentences


def _points(row: Mapping[str, Any]) -> str:
    return (
        f"{100 * row['difference']:+.1f} points, 95 % interval {100 * row['low']:+.1f} to "
        f"{100 * row['high']:+.1f}, {row['n']} seeds"
    )


def _part(result: Mapping[str, Any]) -> Part:
    titles = {name: text for name, (text, _) in result["arms"].items()}
    conditions = sorted(result["conditions"].values(), key=lambda condition: condition["share"])
    return Part(
        title="Accuracy over the share of the questions",
        charts=[
            Chart(
                kind="curves",
                caption=f"Mean accuracy of the students, {label}, over the number of training questions; bars: 95 % intervals over seeds.",
                x="training questions",
                y="accuracy, %",
                lines=[line for name, title in titles.items() if (line := _line(title, name, mode, conditions))],
            )
            for mode, label in (("styled", "told their style"), ("free", "free"))
        ],
        tables=[
            Table(
                title="Against the full-data baseline",
                columns=["arm", "share, %", "points", "low", "high", "seeds", "seeds ahead", "verdict"],
                rows=[
                    [
                        titles[row["first"]],
                        round(100 * row["share"]),
                        *(
                            round(100 * row[key], 1) if isfinite(row[key]) else None
                            for key in ("difference", "low", "high")
                        ),
                        row["n"],
                        row["positive"],
                        row["verdict"],
                    ]
                    for row in result["against_full"]
                ],
                note=f"Paired by seed; the baseline is {titles[BASELINE]} with all questions, told its style.",
            )
        ],
    )


def _line(title: str, name: str, mode: str, conditions: Sequence[Mapping[str, Any]]) -> Line | None:
    points = [
        (float(condition["questions"]), condition["arms"][name][mode])
        for condition in conditions
        if condition["arms"].get(name, {}).get(mode)
    ]
    if not points:
        return None
    bars = all(isfinite(value["low"]) for _, value in points)
    return Line(
        label=title,
        x=[x for x, _ in points],
        y=[100 * value["estimate"] for _, value in points],
        low=[100 * value["low"] for _, value in points] if bars else None,
        high=[100 * value["high"] for _, value in points] if bars else None,
    )
