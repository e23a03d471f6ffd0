"""What a run knows of a student, for its model card: where it comes from, what it learnt from, what it can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qrdistill import __version__
from qrdistill.base.errors import InputError
from qrdistill.report.helped import helped
from qrdistill.report.sentences import points
from qrdistill.runs.config import Config
from qrdistill.runs.run import Run
from qrdistill.scores.student_style import BASE
from qrdistill.students.config import StudentConfig
from qrdistill.students.exports.card import Card


def card_of(run: Run, student: str) -> Card:
    """The card of one student; a part of the run that is not there is left out of it."""
    config = run.config
    settings = next((entry for entry in config.students if entry.name == student), None)
    scores = run.scores if (run.folder / "scores.json").is_file() else {}
    rows = list(_scores(student, scores))
    return Card(
        base=settings.model if settings else None,
        data={"eval_results": _results(config, rows), "datasets": _datasets(config)},
        text="\n\n".join(part for part in _parts(run, config, settings, student, scores, rows) if part),
    )


def _task(config: Config) -> str:
    questions = config.questions
    files = questions.file or questions.train_file
    return questions.task or questions.hub or (Path(files).name if files else "own questions")


def _datasets(config: Config) -> list[str] | None:
    from qrdistill.questions.paper_tasks import EIGHT

    known = EIGHT.get(config.questions.task or "")
    hub = config.questions.hub or (known.hub if known else None)
    return [hub] if hub else None


def _scores(student: str, scores: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of the scored split: the untrained self first; `when`, `how` and the score's own fields."""
    for headline in sorted(scores.get("headlines", ()), key=lambda row: not row["base"]):
        if headline["student"].removesuffix(BASE) != student:
            continue
        when = "before training" if headline["base"] else "after training"
        for kind in ("styled", "free"):
            if (score := headline.get(kind)) is not None:
                how = f"asked for {score['style']}" if kind == "styled" else "without a hint"
                yield {"when": when, "how": how, "gain": headline.get(f"{kind}_gain"), **score}


def _results(config: Config, rows: Sequence[Mapping[str, Any]]) -> list[Any] | None:
    from huggingface_hub import EvalResult

    found = [
        EvalResult(
            task_type="text-generation",
            dataset_type=_task(config),
            dataset_name=_task(config),
            dataset_split=row["split"],
            metric_type="accuracy",
            metric_value=round(row["accuracy"], 4),
            metric_name=f"accuracy {row['how']}, n = {row['n']}, 95 % interval {_interval(row)}",
        )
        for row in rows
        if row["when"] == "after training"
    ]
    return found or None


def _interval(row: Mapping[str, Any]) -> str:
    return f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"


def _parts(
    run: Run,
    config: Config,
    settings: StudentConfig | None,
    student: str,
    scores: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    if scores:
        yield f"## Did it help?\n\n{helped(run.folder, student).sentence}"
    yield _scores_part(rows)
    yield _training_part(run, config, settings, student)
    yield _limits_part(config, rows)
    yield _again_part(config)
    yield _licences_part(config)


def _scores_part(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "## Scores\n\nIt has not been evaluated in its run."
    lines = ["## Scores", "", "| | asked | right | 95 % interval | questions |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {row['when']} | {row['how']} | {100 * row['accuracy']:.1f} % | {_interval(row)} | {row['n']} ({row['split']}) |"
        for row in rows
    ]
    lines += [
        f"\n{row['how'].capitalize()}: {points(row['gain']['difference'])} points over its untrained self (95 % interval "
        f"{points(row['gain']['low'])} to {points(row['gain']['high'])}, paired over {row['gain']['n']} questions)."
        for row in rows
        if row["gain"]
    ]
    if all(row["when"] == "after training" for row in rows):
        lines.append("\nThe untrained model was not asked in this run.")
    return "\n".join(lines)


def _training_part(run: Run, config: Config, settings: StudentConfig | None, student: str) -> str:
    counts = {name: stage.get("counts", {}) for name, stage in run.stages.items()}
    facts = {
        "task": _task(config),
        "teachers": ", ".join(
            f"{one.name} ({getattr(one, 'model', None) or getattr(one, 'kind', '')})" for one in config.teachers
        ),
        "styles": ", ".join(map(_style_name, config.paths.styles)),
        "paths": _path_counts(counts),
        "router": config.router.kind,
        "rounds of own paths": str(config.own_paths.rounds) if config.own_paths.rounds else "",
        "read by this student": _read_counts(run, student),
        "steps": f"{config.train.steps}, {config.train.paths_per_step} paths each",
        "learning rate": f"{settings.learning_rate:g}" if settings else "",
        "adapters": f"LoRA of rank {settings.lora.rank}" if settings and settings.lora else "",
        "seed": str(config.seed),
    }
    return "## How it was trained\n\n" + "\n".join(f"- {name}: {text}" for name, text in facts.items() if text)


def _style_name(style: Any) -> str:
    return style if isinstance(style, str) else str(getattr(style, "name", style))


def _path_counts(counts: Mapping[str, Mapping[str, Any]]) -> str:
    asked, kept = counts.get("generate", {}), counts.get("filter", {})
    parts: list[str] = []
    if "paths" in asked:
        failed = asked.get("failures", 0)
        parts.append(f"{asked['paths'] + failed} asked for, {asked['paths']} written")
    if "kept" in kept:
        parts.append(f"{kept['kept']} kept by the filter, {kept['dropped']} dropped, {kept['undecided']} undecided")
    return "; ".join(parts)


def _read_counts(run: Run, student: str) -> str:
    try:
        rows = [row.path_id for row in run.assignments() if row.student == student and row.chosen]
    except (InputError, OSError):
        return ""
    return f"{len(set(rows))} different paths, {len(rows)} readings" if rows else ""


def _limits_part(config: Config, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"It was trained and measured on {_task(config)} alone; on other questions nothing is known of it. It is no "
        "general assistant: it has not been taught to decline, to hold a conversation or to follow other instructions.",
        "Its reasoning may read well and be wrong; check answers that matter.",
    ]
    cut = [row for row in rows if row["when"] == "after training" and row["truncated"]]
    lines += [f"{row['truncated']} of {row['n']} answers {row['how']} did not end in time." for row in cut]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _again_part(config: Config) -> str:
    from qrdistill.runs.load_config import dump_config

    text = dump_config(config).strip()
    return (
        f"## Made again\n\nWith qrdistill {__version__}: put this into `config.yaml`, then `qrdistill run config.yaml`.\n\n"
        f"<details><summary>config.yaml</summary>\n\n```yaml\n{text}\n```\n\n</details>"
    )


def _licences_part(config: Config) -> str:
    from qrdistill.questions.paper_tasks import EIGHT

    known = EIGHT.get(config.questions.task or "")
    data = known.licence if known else "as their owner says"
    asked = sorted({str(model) for one in config.teachers if (model := getattr(one, "model", None))})
    terms = (
        f"The reasoning paths were written by {', '.join(asked)}: the provider's terms on training models with its "
        "output apply"
        if asked
        else "The reasoning paths come from a script or a file: the terms of whoever wrote it apply"
    )
    return f"## Licences\n\n- Base model: see its own card.\n- Questions ({_task(config)}): {data}.\n- {terms}."
