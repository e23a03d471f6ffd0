"""The run in sentences: what a reader should take away, no stronger than its intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qrdistill.report.run_facts import RunData
from qrdistill.scores.statistics import established
from qrdistill.scores.student_style import BASE, trained_name


def percent(share: float, digits: int = 1) -> str:
    """0.5 -> '50.0 %', with a narrow no-break space.

    >>> percent(0.8434)
    '84.3\\u202f%'
    """
    return f"{100 * share:.{digits}f}\u202f%"


def points(difference: float) -> str:
    """A difference of shares in percentage points, always signed, with a real minus.

    >>> points(-0.042)
    '\\u22124.2'
    """
    return f"{100 * difference:+.1f}".replace("-", "\u2212")


def number(value: float) -> str:
    """1234567 -> '1 234 567' with narrow no-break spaces."""
    return f"{value:,.0f}".replace(",", "\u202f")


def dollars(value: float) -> str:
    return f"${value:.2f}" if value >= 0.01 or value == 0 else f"${value:.4f}"


def shown_name(student: str) -> str:
    """`mistral@base` -> `mistral before training`."""
    return f"{trained_name(student)} before training" if student.endswith(BASE) else student


def listed(names: Sequence[str]) -> str:
    """['a', 'b', 'c'] -> 'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def verdict(difference: Mapping[str, Any]) -> str:
    """What a paired difference allows to say.

    >>> verdict({"difference": 0.03, "low": -0.01, "high": 0.07, "n": 400})
    '+3.0 points (95 % interval \\u22121.0 to +7.0, n = 400): not established, the interval includes zero'
    """
    low, high, text = difference["low"], difference["high"], f"{points(difference['difference'])} points"
    if not high - low > 1e-9:
        return f"{text} (n = {difference['n']}): not established, questions that all say the same give no interval"
    text += f" (95 % interval {points(low)} to {points(high)}, n = {difference['n']})"
    return text if established(low, high) else f"{text}: not established, the interval includes zero"


def summary(run: RunData) -> list[str]:
    """The page's first sentences."""
    sentences: list[str] = []
    if run.scores:
        sentences += _students(run.scores)
        sentences += _ensemble(run.scores)
    if run.paths and run.paths.filtered:
        total = run.paths.total
        sentences.append(
            f"Of {number(total.generated)} reasoning paths the filter kept {number(total.kept)} "
            f"({percent(total.kept / max(1, total.generated), 0)}), dropped {number(total.dropped)} and could not "
            f"decide on {number(total.undecided)}; only kept ones train."
        )
    if run.routing:
        sentences += _routing(run)
    return sentences


def _students(scores: Mapping[str, Any]) -> list[str]:
    sentences: list[str] = []
    for head in scores["headlines"]:
        if head["base"]:
            continue
        parts: list[str] = []
        if head["styled"]:
            parts.append(
                f"{_accuracy(head['styled'])} of the {head['styled']['n']} {scores['split']} questions when prompted "
                f"with “{head['style']}”, its best style on dev"
            )
        if head["free"]:
            parts.append(f"{_accuracy(head['free'])} when free to choose its form")
        if parts:
            sentences.append(f"{head['student']} answers {', and '.join(parts)}.")
        gains = [
            f"{verdict(head[key])} {how}"
            for key, how in (("styled_gain", "prompted with its best style"), ("free_gain", "free"))
            if head[key]
        ]
        if gains:
            sentences.append(f"Against itself before training {head['student']} gains {'; '.join(gains)}.")
    return sentences


def _accuracy(score: Mapping[str, Any]) -> str:
    return f"{percent(score['accuracy'])} ({percent(score['low'])} to {percent(score['high'])})"


def _ensemble(scores: Mapping[str, Any]) -> list[str]:
    """The vote over students, weighted by dev: chosen beforehand, not the luckiest of the table."""
    names = ("weighted by dev, pairs, early stop", "weighted by dev, students, early stop")
    found = {one["name"]: one for one in scores.get("ensembles", [])}
    one = next((found[name] for name in names if name in found), None)
    if one is None or not one["against_single"]:
        return []
    single, equal = one["against_single"], one["against_equal_cost"]
    sentences = [
        f"A vote of {len(one['members'])} (student, style) pairs reaches {percent(one['accuracy'])} at "
        f"{one['decodes']:.1f} decodes per question; over the best single pair on dev, {single['second']}, that is "
        f"{verdict(single)}."
    ]
    if equal:
        sentences.append(
            f"Over {equal['second']}, which spends {one['equal_cost_decodes']:.0f} decodes, the vote gains "
            f"{verdict(equal)}."
        )
    return sentences


def _routing(run: RunData) -> list[str]:
    assert run.routing
    rule = (run.config.get("router") or {}).get("kind", "router")
    parts: list[str] = []
    for student in run.routing.students:
        shares = [(share or 0.0, style) for style, share in run.routing.overall[student].items()]
        top = sorted(shares, key=lambda entry: -entry[0])[:2]
        wanted = listed([f"{style} ({percent(share, 0)})" for share, style in top if share > 0])
        if wanted:
            parts.append(f"{student} was given most of {wanted}")
    return [f"Routing ({rule}), share of each style's paths over training: {'; '.join(parts)}."] if parts else []
