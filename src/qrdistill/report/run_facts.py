"""What a run directory holds, reduced to what a page shows. A missing file is an absent part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qrdistill.base.errors import DataError
from qrdistill.base.ownership import MARK
from qrdistill.base.untrusted.guarded_json import loads, read_json
from qrdistill.base.untrusted.yaml_file import parse_yaml
from qrdistill.report.path_facts import Paths, Routing, paths_of, routing_of

_MOST_SIBLINGS = 8  # a study of hundreds of runs is listed on its own page


@dataclass(frozen=True)
class RunData:
    folder: Path
    config_text: str | None
    config: Mapping[str, Any]
    stages: Mapping[str, Mapping[str, Any]]
    scores: Mapping[str, Any] | None
    paths: Paths | None
    routing: Routing | None
    metrics: list[dict[str, float]]


def read_run(folder: Path) -> RunData:
    return replace(read_files(folder), paths=paths_of(folder), routing=routing_of(folder))


def read_files(folder: Path, *, metrics: bool = True) -> RunData:
    """What stands in a run's small files, without its tables."""
    config_file = folder / "config.yaml"
    text = config_file.read_text(encoding="utf-8") if config_file.exists() else None
    config = parse_yaml(text, file=config_file)[0] if text else None
    return RunData(
        folder=folder,
        config_text=text,
        config=config if isinstance(config, dict) else {},
        stages=_json(folder / "manifest.json").get("stages", {}),
        scores=_json(folder / "scores.json") or None,
        paths=None,
        routing=None,
        metrics=list(_metrics(folder / "metrics.jsonl")) if metrics else [],
    )


def _json(file: Path) -> dict[str, Any]:
    return read_json(file, nan=True) if file.exists() else {}


def _metrics(file: Path) -> Iterator[dict[str, float]]:
    """The training log's numbers, one dict per step; nested keys are joined by a slash."""
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            row = loads(line, where=file, nan=True)
        except DataError:
            continue  # the last line of a run that is still writing
        if isinstance(row, dict):
            yield dict(_flat(row))


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + key, float(value)


def siblings(folder: Path) -> list[str]:
    """The runs that were made together with this one (a demo's arms): folders that were all claimed at its start."""
    above = folder.resolve().parent
    if not (above / MARK).is_file():
        return []
    names = sorted(mark.parent.name for mark in above.glob(f"*/{MARK}"))
    return names if 1 < len(names) <= _MOST_SIBLINGS else []
