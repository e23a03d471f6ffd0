"""Grids of runs that answer a question: what helps, by how much, and at what cost."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qrdistill.base.errors import InputError
from qrdistill.base.progress import Progress

STUDIES = {
    "ablation": "qrdistill.studies.ablation:ablation",
    "recipe": "qrdistill.studies.recipe:recipe",
    "samples": "qrdistill.studies.samples:samples",
    "routing": "qrdistill.studies.routing:routing",
    "filter": "qrdistill.studies.filter:filter_study",
    "mutual": "qrdistill.studies.mutual:mutual",
    "vote": "qrdistill.studies.vote:vote",
    "own": "qrdistill.studies.beyond:own",
    "signals": "qrdistill.studies.beyond:signals",
    "teachers": "qrdistill.studies.beyond:teachers",
    "students": "qrdistill.studies.beyond:students",
}


def run_study(
    name: str,
    config: Path | str,
    run_dir: Path | None,
    *,
    seeds: int,
    workers: int,
    tune: bool,
    arms: Sequence[str] = (),
    overrides: Sequence[str] = (),
    progress: Progress,
) -> tuple[Path, dict[str, Any]]:
    """Runs (or goes on with) a study; returns its folder and the content of its study.json."""
    from qrdistill.base.ownership import claim
    from qrdistill.runs.load_config import load_config
    from qrdistill.studies.grid.study import Setup

    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, 1)
        raise InputError(
            f"no study {name!r}{f'; did you mean {near[0]}?' if near else ''} There are: {', '.join(STUDIES)}"
        )
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: at least one seed is needed, five for an interval worth reading")
    resolved = load_config(config, overrides)
    folder = run_dir or Path("runs") / f"{resolved.name}-{name}"
    claim(folder)
    module, _, function = STUDIES[name].partition(":")
    setup = Setup(resolved, folder, progress, tuple(range(seeds)), workers, tune, arms)
    return folder, getattr(importlib.import_module(module), function)(setup)
