"""What a run directory holds, reduced to what a page shows. A missing file is an absent part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from qrdistill.base.errors import DataError
from qrdistill.base.ownership import MARK
from qrdistill.base.records import Assignment, ReasoningPath, Record, Truth, Verdict
from qrdistill.base.store import read_table
from qrdistill.base.untrusted.guarded_json import loads, read_json
from qrdistill.base.untrusted.yaml_file import parse_yaml
from qrdistill.llm.finish_reasons import ending

R = TypeVar("R", bound=Record)

BINS = 12  # of the steps, in the routing's charts
_MOST_SIBLINGS = 8  # a study of hundreds of runs is listed on its own page


@dataclass
class Funnel:
    """What the filter did to one group of paths. kept + sum(closed) = generated."""

    generated: int = 0
    kept: int = 0
    dropped: int = 0
    undecided: int = 0
    closed: dict[str, int] = field(default_factory=dict[str, int])  # check -> paths that it closed

    def add(self, outcome: str, check: str) -> None:
        self.generated += 1
        self.kept += outcome == "keep"
        self.dropped += outcome == "drop"
        self.undecided += outcome == "undecided"
        if outcome != "keep":
            self.closed[check] = self.closed.get(check, 0) + 1


@dataclass
class Yield:
    """What one teacher wrote, what it cost, what was kept of it."""

    paths: int = 0
    kept: int = 0
    truncated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0  # US dollars


@dataclass
class Paths:
    """The teachers' (and the students' own) paths after the filter."""

    by_style: dict[str, Funnel] = field(default_factory=dict[str, Funnel])
    checks: list[str] = field(default_factory=list[str])
    total: Funnel = field(default_factory=Funnel)
    by_teacher: dict[str, Yield] = field(default_factory=dict[str, Yield])
    style_of: dict[str, str] = field(default_factory=dict[str, str])
    filtered: bool = False
    planted: dict[str, Funnel] = field(default_factory=dict[str, Funnel])  # planted truth -> outcomes

    @property
    def closing_checks(self) -> list[str]:
        """The checks that closed a path, in the order in which checks run."""
        return [check for check in [*self.checks, "filter"] if self.total.closed.get(check)]


@dataclass(frozen=True)
class Routing:
    """shares[student][style][bin]: share of that style's paths in those steps that trained the student."""

    students: list[str]
    styles: list[str]
    edges: list[int]  # first step of each bin, and the last bin's end
    shares: dict[str, dict[str, list[float | None]]]
    overall: dict[str, dict[str, float | None]]  # student -> style -> share over all steps


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
    paths = _paths(folder)
    return replace(read_files(folder), paths=paths, routing=_routing(folder, paths.style_of if paths else {}))


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


def _rows(file: Path, record: type[R]) -> Iterator[R]:
    return read_table(file, record) if file.exists() else iter(())


def _paths(folder: Path) -> Paths | None:
    if not (folder / "paths.parquet").exists():
        return None
    found = Paths()
    verdicts = _verdicts(folder)
    found.filtered = bool(verdicts)
    truth = {row.path_id: row.label for row in _rows(folder / "truth.parquet", Truth)}
    teachers = {path.teacher for path in _rows(folder / "paths.parquet", ReasoningPath)}
    for name in ("paths.parquet", "own_paths.parquet"):
        for path in _rows(folder / name, ReasoningPath):
            own = verdicts.get(path.id, [])
            closing = own[-1] if own and own[-1].check == "filter" else None
            outcome = closing.outcome if closing else "undecided"
            check = own[-2].check if len(own) > 1 else "filter"
            found.style_of[path.id] = path.style
            if found.filtered:
                later = "asked again" if path.teacher in teachers else "students' own"
                group = f"{path.style}, {later}" if path.round else path.style
                found.by_style.setdefault(group, Funnel()).add(outcome, check)
                found.total.add(outcome, check)
                if path.id in truth:
                    found.planted.setdefault(truth[path.id], Funnel()).add(outcome, check)
                found.checks += [v.check for v in own if v.check not in (*found.checks, "filter")]
            _count(found.by_teacher.setdefault(path.teacher, Yield()), path, outcome)
    return found


def _verdicts(folder: Path) -> dict[str, list[Verdict]]:
    grouped: dict[str, list[Verdict]] = {}
    for name in ("verdicts.parquet", "own_verdicts.parquet"):
        for verdict in _rows(folder / name, Verdict):
            grouped.setdefault(verdict.path_id, []).append(verdict)
    return grouped


def _count(total: Yield, path: ReasoningPath, outcome: str) -> None:
    total.paths += 1
    total.kept += outcome == "keep"
    total.truncated += ending(path.finish_reason) == "cut"
    total.prompt_tokens += path.prompt_tokens
    total.completion_tokens += path.completion_tokens
    total.cost += path.cost


def _routing(folder: Path, style_of: Mapping[str, str]) -> Routing | None:
    file = folder / "assignments.parquet"
    if not file.exists() or not style_of:
        return None
    counts: dict[tuple[str, str], dict[tuple[int, int], list[int]]] = {}
    moments: dict[tuple[int, int], None] = {}
    students: dict[str, None] = {}
    for row in _rows(file, Assignment):
        moment = (row.round, row.step)
        moments[moment] = None
        students[row.student] = None
        style = style_of.get(row.path_id)
        if style is not None:
            cell = counts.setdefault((row.student, style), {}).setdefault(moment, [0, 0])
            cell[0] += row.chosen
            cell[1] += 1
    if not counts:
        return None
    order = {moment: place for place, moment in enumerate(sorted(moments))}
    num_bins = min(BINS, len(order))
    edges = [round(place * len(order) / num_bins) for place in range(num_bins + 1)]
    used = {style for _, style in counts}
    styles = [style for style in dict.fromkeys(style_of.values()) if style in used]
    shares: dict[str, dict[str, list[float | None]]] = {}
    overall: dict[str, dict[str, float | None]] = {}
    for student in students:
        shares[student], overall[student] = {}, {}
        for style in styles:
            cells = counts.get((student, style), {})
            sums = [[0, 0] for _ in range(num_bins)]
            for moment, (chosen, seen) in cells.items():
                place = min(num_bins - 1, next(b for b in range(num_bins) if order[moment] < edges[b + 1]))
                sums[place][0] += chosen
                sums[place][1] += seen
            shares[student][style] = [chosen / seen if seen else None for chosen, seen in sums]
            total = sum(seen for _, seen in sums)
            overall[student][style] = sum(chosen for chosen, _ in sums) / total if total else None
    return Routing(list(students), styles, edges, shares, overall)


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
