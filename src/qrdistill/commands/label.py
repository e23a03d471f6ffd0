"""`label`, and `study filter --judge-only`: labelled paths, and judges measured on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from qrdistill.base.errors import InputError
from qrdistill.base.progress import Progress

NEXT = "next: qrdistill study filter CONFIG --judge-only"


def import_or_ask(run_dir: Path, file: Path | None, *, num_paths: int, seed: int) -> str:
    """Takes labels over from a file, or asks for them; returns what came of it."""
    from qrdistill.verdicts.audit.import_labels import import_labels
    from qrdistill.verdicts.audit.label import label_paths

    if file is None:
        done = label_paths(run_dir, num_paths=num_paths, seed=seed)
        return f"{done.done} of {done.planned} labelled; {NEXT}"
    found = import_labels(run_dir, file)
    return (
        f"{found.labelled} paths labelled, {found.placed} with the place of their first wrong step; left out: "
        f"{found.without_label} rows without a label, {found.unknown} for paths that are not in this run\n{NEXT}"
    )


def measure_judges(
    study: str,
    config: Path,
    run_dir: Path | None,
    labels: Path | None,
    overrides: Sequence[str],
    *,
    as_json: bool,
    progress: Progress,
) -> None:
    """Prints what `judge_only` finds; `study` is the study that `--judge-only` was given to, if it was."""
    from qrdistill.studies.judge_only import judge_only

    if study != "filter":
        raise InputError("--judge-only and --labels are for `qrdistill study filter CONFIG --judge-only`")
    folder, result = judge_only(config, run_dir, labels, overrides=overrides, progress=progress)
    if as_json:
        print(json.dumps(result.model_dump(mode="json"), default=str))
        return
    for line in [*result.findings, *result.warnings]:
        print(line)
    print(f"figures: {folder / 'study.json'}\nreport: {folder / 'report.html'}")
