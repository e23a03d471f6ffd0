"""What the viewer says of a whole run: its names, counts, and the figures behind every chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrdistill.base.records import FREE
from qrdistill.report.path_facts import BINS
from qrdistill.report.run_facts import RunData
from qrdistill.report.viewer.cards import ANSWER, PATH, READING, VERDICT, round_figures
from qrdistill.report.viewer.tables import Tables
from qrdistill.scores.student_style import BASE, is_base, trained_name

# what is drawn of the training log, in this order, and what its axis says; others stay in metrics.jsonl
_CURVES = {
    "loss": ("Loss", "loss"),
    "nll": ("Negative log-likelihood of the paths each student learnt from", "nats per token"),
    "share": ("Share of the training pairs that each student was given", "share"),
    "mutual": ("Mutual distillation: distance to the ensemble", "mean squared error"),
    "balance": ("The router's load-balance term", "balance"),
    "staleness": ("Age of the losses that the router reads", "steps"),
}
_MOST_POINTS = 400  # of a curve: of more, every n-th is drawn
_SEVERAL = "several students"

_ROUTING = f"""
with moments as (
  select round, step, row_number() over (order by round, step) - 1 as place, count(*) over () as many
  from (select distinct round, step from assignments))
select student, style, place * least(many, {BINS}) // many as bin, min(place)::int, sum(chosen::int)::int, count(*)::int
from assignments join moments using (round, step) join facts on facts.id = path_id
group by student, style, bin, many order by student, style, bin
"""

_FLOW = f"""
select teacher, style, round > 0, outcome, closed_by,
  case len(readers) when 0 then '' when 1 then readers[1] else '{_SEVERAL}' end as reader, count(*)::int
from facts group by all order by all
"""


def students_of(run: RunData) -> list[str]:
    """The students as the config lists them, else as the scores do: a student has one colour on the whole page."""
    listed = [entry["name"] for entry in run.config.get("students", []) if isinstance(entry, dict) and "name" in entry]
    scored = [trained_name(head["student"]) for head in (run.scores or {}).get("headlines", [])]
    return list(dict.fromkeys([*listed, *scored]))


def chosen_styles(run: RunData) -> dict[str, tuple[str, str]]:
    """student -> the style its answers are compared in, and that of its untrained self: each its best on dev."""
    best: Mapping[str, str] = (run.scores or {}).get("best_style", {})
    found: dict[str, tuple[str, str]] = {}
    for student in students_of(run):
        style = best.get(student) or FREE
        found[student] = (style, best.get(student + BASE) or style)
    return found


def overview(run: RunData, tables: Tables, *, complete: bool = True) -> dict[str, Any]:
    """Everything but the questions. The keys are what assets/*.js reads. complete: False leaves out what is counted."""
    chosen = chosen_styles(run)
    said = {
        "name": run.config.get("name") or run.folder.resolve().name,
        "fields": {"path": PATH, "verdict": VERDICT, "reading": READING, "answer": ANSWER},
        "students": list(chosen),
        "chosen": [{"student": name, "style": style, "before": before} for name, (style, before) in chosen.items()],
    }
    if not complete:
        nothing = {key: [] for key in ("split", "family", "style", "teacher", "verdict", "reader")}
        empty = {key: [] for key in ("steps", "changes", "flow", "routing", "curves")}
        return said | empty | {"costs": False, "rounds": 0, "facets": nothing, "scores": None}
    return said | {
        "costs": tables.run("select coalesce(max(cost), 0) > 0 from facts")[0][0],
        "steps": [row[0] for row in tables.run("select max(step) + 1 from assignments group by round order by round")],
        "rounds": tables.run("select coalesce(max(round), 0) from facts")[0][0],
        "facets": _facets(tables),
        "changes": _changes(tables),
        "flow": [list(row) for row in tables.run(_FLOW)],
        "routing": _routing(tables),
        "scores": _scores(run.scores, tables) if run.scores else None,
        "curves": _curves(run),
    }


def _facets(tables: Tables) -> dict[str, list[list[Any]]]:
    """What can be filtered by: value and how many questions (of a verdict: paths) have it."""
    by_path = "select {0}, count(distinct question_id)::int from facts group by 1 order by 1"
    return {
        "split": _pairs(tables.run("select split, count(*)::int from listed group by 1 order by min(place)")),
        "family": _pairs(tables.run("select family, count(*)::int from listed group by 1 order by 1")),
        "style": _pairs(tables.run(by_path.format("style"))),
        "teacher": _pairs(tables.run(by_path.format("teacher"))),
        "verdict": [
            list(row)
            for row in tables.run(
                "select outcome, closed_by, count(*)::int from facts group by 1, 2 order by outcome <> 'keep', 1, 3 desc, 2"
            )
        ],
        "reader": _pairs(
            tables.run(
                "select reader, count(distinct question_id)::int from "
                "(select question_id, unnest(readers) as reader from facts) group by 1 order by 1"
            )
        ),
    }


def _pairs(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(row) for row in rows]


def _changes(tables: Tables) -> list[list[Any]]:
    """[split, student, change, questions]."""
    found = tables.run(
        "select split, name, change, count(*)::int from changes group by all order by split, name, change"
    )
    return _pairs(found)


def _routing(tables: Tables) -> list[list[Any]]:
    """[student, style, bin, first step of the bin, paths that trained the student, paths that it could have been given]."""
    firsts: dict[int, int] = {}
    rows = tables.run(_ROUTING)
    for _, _, place, first, _, _ in rows:
        firsts[place] = min(first, firsts.get(place, first))
    return [[student, style, place, firsts[place], *counts] for student, style, place, _, *counts in rows]


def _scores(scores: Mapping[str, Any], tables: Tables) -> dict[str, Any]:
    tokens = {
        (student + BASE if untrained else student, style, split): round_figures(mean)
        for student, untrained, style, split, mean in tables.run(
            "select student, untrained, style, split, avg(tokens)::double from answers where sample = 0 group by all"
        )
    }
    styles = {head["student"]: head["style"] or FREE for head in scores["headlines"]}

    def shown(score: Mapping[str, Any]) -> dict[str, Any]:
        student, style = score["student"], score["style"]
        return {
            "student": trained_name(student),
            "trained": not is_base(student),
            "style": style,
            "family": score["family"],
            "best": styles.get(student) == style,
            "n": score["n"],
            "accuracy": round_figures(score["accuracy"]),
            "low": round_figures(score["low"]),
            "high": round_figures(score["high"]),
            "tokens": tokens.get((student, style, scores["split"])),
        }

    return {
        "split": scores["split"],
        "rows": [shown(score) for score in scores["scores"] if score["split"] == scores["split"]],
        "votes": [
            {key: round_figures(one[key]) for key in ("name", "accuracy", "low", "high", "decodes", "tokens", "n")}
            for one in scores.get("ensembles", [])
            if one["n"]
        ],
    }


def _curves(run: RunData) -> list[dict[str, Any]]:
    """One chart per logged quantity; what is logged per student (`nll/mistral`) shares one."""
    keys = list(dict.fromkeys(key for row in run.metrics for key in row))
    known = students_of(run)
    found: list[dict[str, Any]] = []
    for group, (title, axis) in _CURVES.items():
        names = [key.partition("/")[2] for key in keys if key.partition("/")[0] == group]
        names.sort(key=lambda name: known.index(name) if name in known else len(known))
        lines = [
            {"name": name or group, "points": _points(run, f"{group}/{name}" if name else group)} for name in names
        ]
        lines = [line for line in lines if any(y for _, y in line["points"])]
        if lines:
            found.append({"title": title, "axis": axis, "lines": lines})
    return found


def _points(run: RunData, key: str) -> list[list[Any]]:
    """Steps run on through rounds: a step counter that starts again is put behind the one before."""
    points: list[list[Any]] = []
    offset, last = 0.0, -1.0
    for place, row in enumerate(run.metrics):
        step = row.get("step", float(place))
        if step < last:
            offset += last + 1
        last = step
        if key in row:
            points.append([int(offset + step), round_figures(row[key])])
    every = -(-len(points) // _MOST_POINTS)
    return points[:: max(1, every)]
