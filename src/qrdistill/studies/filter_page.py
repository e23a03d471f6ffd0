"""The filter study's sections: reliability, sensitivity, pruning, audits, and paths to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, isnan
from typing import Any

from qrdistill.report.study_page import Chart, Estimate, Line, Part, Table
from qrdistill.studies.filter_reliability import Shown

LONGEST = 600  # characters of a path that the page shows

Row = list[str | float | int | None]


def parts(result: Mapping[str, Any], shown: Sequence[Shown]) -> list[Part]:
    titles = {name: text for name, (text, _) in result["arms"].items()}
    figures = result["filter"]
    sections = [_reliability(figures, titles)] if figures["reliability"] else []
    sections += [_choice(figures)] if figures.get("rule") or figures.get("thresholds") else []
    sections += [_sensitivity(result)] if any(name.startswith("judge-") for name in titles) else []
    return [*sections, _pruning(figures, titles), _audits(figures), _to_read(shown)]


def _reliability(figures: Mapping[str, Any], titles: Mapping[str, str]) -> Part:
    rows = [
        [titles[name], checker, *_shares(one), one["undecided"], one["n"]]
        for name, checkers in figures["reliability"].items()
        for checker, one in checkers.items()
    ]
    planted = ", ".join(f"{count} {label}" for label, count in figures["planted"].items())
    return Part(
        title="Against the truth",
        text=[f"The truth is known of {figures['labelled']} paths: {planted}."],
        charts=[
            Chart(
                kind="dots",
                caption=f"The whole filter's {key}, Wilson 95 % intervals.",
                dots={
                    titles[name]: Estimate(value=one["value"], low=one["low"], high=one["high"], n=one["n"])
                    for name, checkers in figures["reliability"].items()
                    if not isnan((one := checkers["filter"][key])["value"])
                },
                x=f"{key}, %",
            )
            for key in ("precision", "recall")
        ],
        tables=[
            Table(
                title="Every check",
                columns=[
                    "filter",
                    "check",
                    "precision, %",
                    "recall, %",
                    "bad paths caught, %",
                    "kappa",
                    "undecided",
                    "paths",
                ],
                rows=rows,
                note="Precision: kept paths that are sound. Recall: sound paths that are kept. The answer check "
                "alone is right to keep a spurious path whose answer is right. Wilson 95 % intervals, kappa by bootstrap.",
            )
        ],
    )


def _choice(figures: Mapping[str, Any]) -> Part:
    tables: list[Table] = []
    if rule := figures.get("rule"):
        tables.append(
            Table(
                title="How three votes of a judge with 15 % errors are combined",
                columns=[
                    "rule",
                    "half",
                    "precision, %",
                    "recall, %",
                    "bad paths caught, %",
                    "kappa",
                    "undecided",
                    "paths",
                ],
                rows=[
                    [
                        f"{name}{' (chosen)' if name == rule['chosen'] else ''}",
                        half.replace("_", " "),
                        *_shares(one),
                        one["undecided"],
                        one["n"],
                    ]
                    for half in ("calibration", "held_out")
                    for name, one in rule[half].items()
                ],
                note="Chosen by kappa on the calibration half of the questions; the held-out half says what it is worth.",
            )
        )
    if figures.get("thresholds"):
        tables.append(
            Table(
                title="A judge's confidence threshold",
                columns=[
                    "judge",
                    "filter.threshold",
                    "half",
                    "precision, %",
                    "recall, %",
                    "bad paths caught, %",
                    "kappa",
                    "undecided",
                    "paths",
                ],
                rows=[
                    [
                        one["judge"],
                        one["threshold"],
                        half.replace("_", " "),
                        *_shares(one[half]),
                        one[half]["undecided"],
                        one[half]["n"],
                    ]
                    for one in figures["thresholds"]
                    for half in ("calibration", "held_out")
                ],
                note="The lowest confidence with 95 % precision on the calibration half of the questions.",
            )
        )
    return Part(title="Chosen on one half, measured on the other", tables=tables)


def _sensitivity(result: Mapping[str, Any]) -> Part:
    condition = next(iter(result["conditions"].values()))
    errors = {
        name: int(name.removeprefix("judge-")) for name in condition["arms"] if name.removeprefix("judge-").isdigit()
    }
    lines: list[Line] = []
    for mode, label in (("styled", "told their style"), ("free", "free")):
        points = [
            (error, condition["arms"][name][mode]) for name, error in sorted(errors.items(), key=lambda one: one[1])
        ]
        if any(value is None for _, value in points):
            continue
        bars = all(isfinite(value["low"]) for _, value in points)
        lines.append(
            Line(
                label=label,
                x=[float(error) for error, _ in points],
                y=[100 * value["estimate"] for _, value in points],
                low=[100 * value["low"] for _, value in points] if bars else None,
                high=[100 * value["high"] for _, value in points] if bars else None,
            )
        )
    return Part(
        title="What the judge's errors cost",
        text=["Everyone is trained on every path that the filter keeps; only the filter differs."],
        charts=[
            Chart(
                kind="curves",
                caption="Mean accuracy of the students over the share of judge verdicts that are turned around; bars: 95 % intervals over seeds.",
                x="judge errors, %",
                y="accuracy, %",
                lines=lines,
            )
        ],
    )


def _pruning(figures: Mapping[str, Any], titles: Mapping[str, str]) -> Part:
    styles = list(dict.fromkeys(style for one in figures["pruning"].values() for style in one["styles"]))
    return Part(
        title="How much is left",
        tables=[
            Table(
                title="Kept paths",
                columns=[
                    "filter",
                    "paths kept, %",
                    "questions without a path, %",
                    *(f"{style}, % kept" for style in styles),
                    "alarms",
                ],
                rows=[
                    [
                        titles[name],
                        _percent(one["kept"]),
                        _percent(one["emptied"]),
                        *(
                            f"{100 * one['styles'][style]['estimate']:.0f}" if style in one["styles"] else None
                            for style in styles
                        ),
                        len(one["alarms"]),
                    ]
                    for name, one in figures["pruning"].items()
                ],
                note="Over all seeds. The alarms stand at the top of the page.",
            )
        ],
    )


def _audits(figures: Mapping[str, Any]) -> Part:
    return Part(
        title="A second checker",
        text=["Where two checkers of the same paths disagree, at least one of them is wrong."],
        tables=[
            Table(
                title="Agreement of two checkers",
                columns=["checkers", "agree, %", "kappa", "paths", "how they differ"],
                rows=[
                    [
                        one["title"],
                        _percent(one["agree"]),
                        None if isnan(one["kappa"]) else round(one["kappa"], 3),
                        one["n"],
                        "; ".join(f"{a} / {b}: {count}" for a, b, count in one["table"] if a != b)
                        or f"{len(one['disagreements'])} shown below",
                    ]
                    for one in figures["audits"]
                ],
            )
        ],
    )


def _to_read(shown: Sequence[Shown]) -> Part:
    return Part(
        title="Paths to read",
        text=[
            "A sample of what the filter rejected, and of what two checkers disagree over: read it before you trust the filter."
        ],
        tables=[
            Table(
                title="Rejected and disputed paths",
                columns=["check", "reason", "truth", "question", "gold", "style", "path"],
                rows=[
                    [
                        one.check,
                        one.reason,
                        one.label,
                        one.question.question,
                        one.question.gold,
                        one.path.style,
                        _short(one.path.text),
                    ]
                    for one in shown
                ],
            )
        ],
    )


def _short(text: str) -> str:
    joined = " ⏎ ".join(line.strip() for line in text.splitlines() if line.strip())
    return joined if len(joined) <= LONGEST else f"{joined[: LONGEST - 1]}…"


def _shares(one: Mapping[str, Any]) -> Row:
    kappa = one["kappa"]
    return [
        *(_percent(one[key]) for key in ("precision", "recall", "caught")),
        f"{kappa['estimate']:.2f} ({kappa['low']:.2f} to {kappa['high']:.2f})",
    ]


def _percent(share: Mapping[str, Any]) -> str | None:
    value = share.get("value", share.get("estimate"))
    if value is None or isnan(value):
        return None
    return f"{100 * value:.1f} ({100 * share['low']:.1f} to {100 * share['high']:.1f})"
