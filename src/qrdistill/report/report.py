"""`write_report`: a run directory as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qrdistill.base.errors import InputError
from qrdistill.base.store import write_text
from qrdistill.base.untrusted.redact import redact
from qrdistill.report import sentences
from qrdistill.report.helped import of_scores, shown_time
from qrdistill.report.path_facts import Funnel
from qrdistill.report.run_charts import run_charts
from qrdistill.report.run_facts import RunData, read_run, siblings
from qrdistill.report.viewer.page import SCRIPTS, Kind, embedded, script_policy, viewer_css, with_scripts
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
    context = run_context(run)
    kind: Kind = "run" if data else "charts"
    html = redact(render("run.html.j2", **context, **viewer_context(data is not None, kind)))
    write_text(target, with_scripts(html, {**(data or {}), "charts-data": embedded(context["places"])}, kind))
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
        "places": run_charts(scores, helped).places,
        "summary": sentences.summary(run),
        "warnings": _warnings(run),
        "scores": scores,
        "paths": run.paths,
        "budget": (run.config.get("paths") or {}).get("budget_usd"),
        "filter_quality": _filter_quality(run.paths.planted) if run.paths else None,
        "routing": run.routing,
        "routed_students": _in_order(run, run.routing.students) if run.routing else [],
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
