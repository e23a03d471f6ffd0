"""`qrdistill export RUN paths`: the run's paths as a data set for other trainers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from qrdistill.runs.export_paths import export_paths


def export_data_set(
    run_dir: Path,
    to: Path,
    *,
    format: str,
    push: str | None = None,
    private: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
) -> None:
    done = export_paths(run_dir, to, format=format, push=push, private=private, dry_run=dry_run)
    if as_json:
        print(json.dumps(dataclasses.asdict(done), default=str))
        return
    print(f"{done.folder}: {done.rows} rows as {done.format}{f'; {done.note}' if done.note else ''}")
    print("README.md says how TRL, LLaMA-Factory and Axolotl read it")
    if done.repository:
        print(
            f"{'pushed to' if done.pushed else 'not pushed (--dry-run); it would go to'} the data set {done.repository}"
        )
