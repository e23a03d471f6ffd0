"""The charts of a run's page that stand beside its tables, as data: see `viewer/charts_data.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrdistill.report.helped import Helped, gain_text, of_one
from qrdistill.report.viewer.charts_data import Box, Boxes, Curve, Mark, curves, estimates


def run_charts(scores: Mapping[str, Any] | None, found: Helped | None) -> Boxes:
    """Places "helped", "votes" and "calibration", each only where the scores have something to draw."""
    boxes = Boxes()
    if scores and found:
        boxes.put("helped", _helped(scores, found))
    if scores:
        boxes.put("votes", _votes(scores))
        boxes.put("calibration", _calibration(scores))
    return boxes


def _helped(scores: Mapping[str, Any], found: Helped) -> list[Box]:
    """Untrained (hollow) and trained, all students together and then each."""
    if not found.gain:
        return []
    names = found.gain["students"]
    rows = [("all students" if len(names) > 1 else names[0], found.gain)]
    if len(names) > 1:
        rows += [(name, one) for name in names if (one := of_one(scores, name))]
    marks: list[Mark] = []
    for place, (name, row) in enumerate(rows):
        colour = 5 if len(names) > 1 and not place else max(0, place - 1)
        for when in ("untrained", "trained"):
            gained = f", {gain_text(row['gain'])} points" if when == "trained" else ""
            n = f"{row['n']} questions{gained}"
            ends = row[f"{when}_low"], row[f"{when}_high"]
            marks.append(Mark(f"{name}, {when}", row[when], *ends, series=colour, hollow=when == "untrained", n=n))
    how = "prompted with the style that is best on dev" if found.gain["mode"] == "styled" else "without a style's hint"
    return estimates(
        "Before and after training",
        f"Right answers, {how}, the same prompts for both. Hollow: untrained. The gain's interval is paired over the "
        "questions.",
        marks,
    )


def _votes(scores: Mapping[str, Any]) -> list[Box]:
    """Accuracy over decodes per question: lines for self-consistency, single points for votes and greedy answers."""
    every = scores.get("ensembles", [])
    if not every:
        return []
    group = "pairs" if any(one["name"] == "majority, pairs" for one in every) else "students"
    # the rest stands in the table: in the chart it would lie on top of these
    drawn = {
        f"majority, {group}",
        f"log-probability, {group}",
        f"weighted by dev, {group}, early stop",
        "judge fallback",
    }
    found: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    for one in every:
        if not one["n"]:
            continue
        if one["method"] == "self_consistency":
            label = f"self-consistency, {one['members'][0].replace('/', ', ')}"
            found.setdefault(label, []).append((one["decodes"], one))
        elif one["name"] in drawn:
            found[one["name"]] = [(one["decodes"], one)]
    for head in scores["headlines"]:
        if head["styled"] and not head["base"]:
            found[f"{head['student']}, {head['style']}, greedy"] = [(1.0, head["styled"])]
    lines = {
        label: Curve(
            x=[at for at, _ in points],
            y=[100 * one["accuracy"] for _, one in points],
            low=[100 * one["low"] for _, one in points],
            high=[100 * one["high"] for _, one in points],
        )
        for label, points in found.items()
    }
    return curves(
        "Accuracy against what it costs",
        "Votes beside what one student reaches for as many decodes; bars are 95 % intervals.",
        lines,
        x="decodes per question",
        y="accuracy, %",
    )


def _calibration(scores: Mapping[str, Any]) -> list[Box]:
    """Accuracy over confidence in bins of equal size, of each student in its best style."""
    chosen = {(head["student"], head["style"]) for head in scores["headlines"] if not head["base"]}
    lines = {
        f"{entry['student']}, {entry['style']}": Curve(
            x=[100 * one["confidence"] for one in entry["bins"]], y=[100 * one["accuracy"] for one in entry["bins"]]
        )
        for entry in scores.get("calibration", [])
        if (entry["student"], entry["style"]) in chosen and entry["n"] and entry["fitted"]
    }
    if lines:
        lines["perfect"] = Curve(x=[0, 100], y=[0, 100])
    return curves(
        "How often answers of each confidence are right",
        "In bins of equal size. The confidence is the mean token probability, mapped by a curve fitted on dev.",
        lines,
        x="confidence fitted on dev, %",
        y="right, %",
    )
