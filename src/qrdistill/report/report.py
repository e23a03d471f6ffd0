"""`write_report`: a run directory as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qrdistill.base.errors import InputError
from qrdistill.base.store import write_text
from qrdistill.base.untrusted.redact import redact
from qrdistill.report import charts, sentences
from qrdistill.report.charts import Dot, Figure
from qrdistill.report.helped import helped_figure, of_scores, shown_time
from qrdistill.report.run_facts import Funnel, RunData, read_run, siblings
from qrdistill.report.viewer.page import SCRIPTS, Kind, script_policy, viewer_css, with_scripts
from qrdistill.report.viewer.page_data import page_data
from qrdistill.scores.statistics import Interval, wilson


def write_report(run_dir: Path, target: Path | None = None) -> Path:
    """Writes `report.html` (or `target`) from the files of a run directory; returns where it is.

    Whatever the run does not have yet is left out. The same files give the same bytes. The page asks
    nothing of the network; texts that models wrote are escaped, keys in the environment are redacted.

    Raises InputError where `run_dir` holds none of a run's files.
    """
    run = read_run(run_dir)
    if run.config_text is None and run.scores is None and run.paths is None and not run.stages:
        raise InputError(f"{run_dir} is not a run directory: it has no config.yaml, manifest.json or tables")
    target = target or run_dir / "report.html"
    data = page_data(run)
    html = redact(render("run.html.j2", **run_context(run), **viewer_context(data is not None)))
    write_text(target, with_scripts(html, data) if data else html)
    return target


def viewer_context(viewer: bool, kind: Kind = "run") -> dict[str, Any]:
    """What a template needs for a page with the viewer in it, or with charts alone."""
    return {"viewer": viewer, "policy": script_policy(kind), "viewer_css": viewer_css(), "scripts": SCRIPTS}


def render(template: str, **context: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("qrdistill.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("percent", "points", "number", "dollars", "verdict", "shown_name", "listed"):
        environment.filters[name] = getattr(sentences, name)
    environment.filters["time"] = shown_time
    return environment.get_template(template).render(**context)


def run_context(run: RunData) -> dict[str, Any]:
    """Everything the template shows; a part that the run lacks is None or empty."""
    scores = run.scores
    helped = of_scores(scores, run.stages) if scores else None
    return {
        "name": run.config.get("name") or run.folder.resolve().name,
        "seed": run.config.get("seed"),
        "siblings": siblings(run.folder),
        "here": run.folder.resolve().name,
        "helped": helped,
        "helped_figure": helped_figure(scores, helped) if scores and helped else None,
        "summary": sentences.summary(run),
        "warnings": _warnings(run),
        "scores": scores,
        "paths": run.paths,
        "budget": (run.config.get("paths") or {}).get("budget_usd"),
        "filter_quality": _filter_quality(run.paths.planted) if run.paths else None,
        "routing": run.routing,
        "routed_students": _in_order(run, run.routing.students) if run.routing else [],
        "ensemble_figure": _ensemble_figure(scores) if scores else None,
        "calibration_figure": _calibration_figure(scores) if scores else None,
        "stages": run.stages,
        "training": _training_tokens(run),
        "config_text": run.config_text,
    }


def _warnings(run: RunData) -> list[tuple[str, str]]:
    found = [(stage, text) for stage, entry in run.stages.items() for text in entry.get("warnings", [])]
    found += [
        (stage, str(entry.get("reason", "failed")))
        for stage, entry in run.stages.items()
        if entry.get("state") == "failed"
    ]
    return found + [("scores", text) for text in (run.scores or {}).get("warnings", [])]


def _students_of(scores: Mapping[str, Any]) -> list[str]:
    from qrdistill.scores.student_style import trained_name

    return list(dict.fromkeys(trained_name(head["student"]) for head in scores["headlines"]))


def _in_order(run: RunData, names: Sequence[str]) -> list[str]:
    """The students as the scores (or the config) list them: a student has one colour on the whole page."""
    known = _students_of(run.scores) if run.scores else []
    known = known or [entry["name"] for entry in run.config.get("students", []) if isinstance(entry, dict)]
    return sorted(names, key=lambda name: known.index(name) if name in known else len(known))


def _filter_quality(planted: Mapping[str, Funnel]) -> list[tuple[str, Interval]] | None:
    """Where the truth is known: how much of what was kept is sound, how much of the sound was kept."""
    if not planted:
        return None
    sound = planted.get("sound", Funnel())
    kept = sum(group.kept for group in planted.values())
    return [
        ("of the kept paths are sound (precision)", wilson(sound.kept, kept)),
        ("of the sound paths were kept (recall)", wilson(sound.kept, sound.generated)),
    ]


def _training_tokens(run: RunData) -> dict[str, dict[str, float]]:
    """student -> tokens computed and target tokens, summed over the log."""
    totals: dict[str, dict[str, float]] = {}
    for row in run.metrics:
        for key, value in row.items():
            what, _, student = key.partition("/")
            if what in ("tokens", "targets") and student:
                entry = totals.setdefault(student, {"tokens": 0.0, "targets": 0.0})
                entry[what] += value
    return {student: totals[student] for student in _in_order(run, list(totals))}


def _ensemble_figure(scores: Mapping[str, Any]) -> Figure | None:
    """Votes and self-consistency over what they cost."""
    lines: dict[str, list[tuple[float, Dot]]] = {}
    points: dict[str, tuple[float, Dot]] = {}
    for head in scores["headlines"]:
        if head["styled"] and not head["base"]:
            s = head["styled"]
            dot = Dot(head["student"], s["accuracy"], s["low"], s["high"], hollow=True)
            points[f"{head['student']}, {head['style']}, greedy"] = (1.0, dot)
    every = [one["name"] for one in scores.get("ensembles", [])]
    group = "pairs" if "majority, pairs" in every else "students"
    # the rest stands in the table: in the figure it would lie on top of these
    shown = {
        f"majority, {group}",
        f"log-probability, {group}",
        f"weighted by dev, {group}, early stop",
        "judge fallback",
    }
    for one in scores.get("ensembles", []):
        if one["n"]:
            entry = (one["decodes"], Dot(one["name"], one["accuracy"], one["low"], one["high"]))
            if one["method"] == "self_consistency":
                lines.setdefault(f"self-consistency, {one['members'][0].replace('/', ', ')}", []).append(entry)
            elif one["name"] in shown:
                points[one["name"]] = entry
    if not scores.get("ensembles"):
        return None
    caption = (
        "Accuracy of votes beside what one student reaches for as many decodes; bars and bands are 95 % intervals. "
        "Hollow: one greedy answer in the best style."
    )
    return charts.trade("ensembles", caption, lines, points)


def _calibration_figure(scores: Mapping[str, Any]) -> Figure | None:
    chosen = {(head["student"], head["style"]) for head in scores["headlines"] if not head["base"]}
    entries = [
        entry
        for entry in scores.get("calibration", [])
        if (entry["student"], entry["style"]) in chosen and entry["n"] and entry["fitted"]
    ]
    if not entries:
        return None
    lines = {
        f"{entry['student']}, {entry['style']}": [(b["confidence"], b["accuracy"], b["n"]) for b in entry["bins"]]
        for entry in entries
    }
    caption = (
        "How often answers of each confidence are right, in bins of equal size; the diagonal is perfect. The confidence "
        "is the mean token probability, mapped by a curve fitted on dev."
    )
    return charts.reliability("calibration", caption, lines, x="confidence fitted on dev, %")
