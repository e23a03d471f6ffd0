"""Grids of runs that answer a question: what helps, by how much, and at what cost."""

from __future__ import annotations

import importlib
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from qrdistill.base.errors import InputError
from qrdistill.base.plugins import registry
from qrdistill.base.progress import Progress
from qrdistill.base.untrusted.guarded_json import MAX_BYTES, loads

if TYPE_CHECKING:
    from qrdistill.report.study_results import StudyResults

# Name -> what runs it, and the type of its study.json where it has figures of its own.
STUDIES: dict[str, tuple[str, str]] = {
    "ablation": ("qrdistill.studies.ablation:ablation", ""),
    "recipe": ("qrdistill.studies.recipe:recipe", ""),
    "samples": ("qrdistill.studies.samples:samples", "SamplesResults"),
    "routing": ("qrdistill.studies.routing:routing", "RoutingResults"),
    "filter": ("qrdistill.studies.filter:filter_study", "FilterResults"),
    "mutual": ("qrdistill.studies.mutual:mutual", "MutualResults"),
    "vote": ("qrdistill.studies.vote:vote", "VoteResults"),
    "own_paths": ("qrdistill.studies.own_paths:own_paths", ""),
    "signals": ("qrdistill.studies.signals:signals", ""),
    "teachers": ("qrdistill.studies.teachers:teachers", "TeacherResults"),
    "thinking": ("qrdistill.studies.thinking:thinking", "ThinkingResults"),
    "students": ("qrdistill.studies.students:students", ""),
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
) -> tuple[Path, StudyResults]:
    """Runs (or goes on with) a study; returns its folder and the content of its study.json."""
    from qrdistill.base.ownership import claim
    from qrdistill.runs.load_config import load_config
    from qrdistill.studies.grid.study import Setup

    if name not in STUDIES and ":" not in name and not registry.knows("studies", name):
        raise InputError(registry.unknown("studies", name, STUDIES))
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: at least one seed is needed, five for an interval worth reading")
    resolved = load_config(config, overrides)
    folder = run_dir or Path("runs") / f"{resolved.name}-{name.rpartition(':')[2]}"
    claim(folder)
    function = registry.find("studies", STUDIES[name][0] if name in STUDIES else name)
    setup = Setup(resolved, folder, progress, tuple(range(seeds)), workers, tune, arms)
    return folder, function(setup)


def load_study(path: Path | str) -> StudyResults:
    """Reads a study.json, xz-compressed or not (`study.json.xz`), as the type of its study.

    Raises InputError where there is no such file, or it is not what this version writes.
    """
    from qrdistill.report.study_results import VERSION, StudyResults

    file = Path(path)
    try:
        raw = file.read_bytes()
        plain = lzma.LZMADecompressor().decompress(raw, MAX_BYTES + 1) if raw[:1] == b"\xfd" else raw
        data = loads(plain, where=file, nan=True, mend="this is no readable study.json")
    except (OSError, lzma.LZMAError) as error:
        raise InputError(f"{file}: no readable study.json: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{file}: no readable study.json: it holds no object")
    if data.get("version") != VERSION:
        raise InputError(
            f"{file}: study.json of version {data.get('version', 1)}, this is version {VERSION}; run the study again in its "
            "folder, which trains nothing anew"
        )
    place, results = STUDIES.get(data.get("study", ""), ("", ""))
    kind = getattr(importlib.import_module(place.partition(":")[0]), results) if results else StudyResults
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{file}: {error}") from error
