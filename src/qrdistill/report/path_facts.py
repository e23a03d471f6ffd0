"""What became of a run's paths: by style, check and teacher, and to whom they were given; counted by DuckDB.

No row becomes an object: a run has paths by the hundred thousand. Whatever is listed keeps the order in which it first
appears in the tables. A missing table is an absent part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrdistill.base.checksums import Damaged, check
from qrdistill.base.errors import DataError
from qrdistill.base.records import Assignment, ReasoningPath, Record, Truth, Verdict
from qrdistill.base.store import schema, shards
from qrdistill.llm.finish_reasons import ending
from qrdistill.report.viewer.tables import quoted, sql_kind

if TYPE_CHECKING:
    import duckdb

BINS = 12  # of the steps, in the routing's charts

# each path with the last verdict on it and the one before; `place` orders the rows of several files
_DECIDED = """
create temp table decided as
with last as (
  select path_id, max_by("check", place, 2) as checks, max_by(outcome, place) as outcome from verdicts group by path_id)
select paths.*, truth.label,
  case when checks[1] = 'filter' then last.outcome else 'undecided' end as outcome, coalesce(checks[2], 'filter') as "check",
  case when round = 0 then '' when teacher in (select teacher from paths where file = 0) then 'asked again'
    else 'students'' own' end as later
from paths left join last on last.path_id = paths.id left join truth on truth.path_id = paths.id
"""

_FUNNELS = """
select style, later, label, outcome, "check", count(*), min(place) as first from decided group by all order by first
"""

_YIELDS = """
select teacher, finish_reason, outcome, count(*), sum(prompt_tokens), sum(completion_tokens), min(place) as first
from decided group by all order by first
"""

_MOMENTS = """
create temp table moments as
select round, step, row_number() over (order by round, step) - 1 as nth
from (select distinct round, step from assignments)
"""

_SHARES = """
select student, style, {bin} as bin, sum(chosen::int), count(*)
from assignments join moments using (round, step) join paths on paths.id = path_id group by all
"""


@dataclass
class Funnel:
    """What the filter did to one group of paths. kept + sum(closed) = generated."""

    generated: int = 0
    kept: int = 0
    dropped: int = 0
    undecided: int = 0
    closed: dict[str, int] = field(default_factory=dict[str, int])  # check -> paths that it closed

    def add(self, outcome: str, check: str, count: int) -> None:
        self.generated += count
        self.kept += count if outcome == "keep" else 0
        self.dropped += count if outcome == "drop" else 0
        self.undecided += count if outcome == "undecided" else 0
        if outcome != "keep":
            self.closed[check] = self.closed.get(check, 0) + count


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


def paths_of(folder: Path) -> Paths | None:
    """The account of all paths; None before there are any. Raises DataError where a table is damaged."""
    if not (folder / "paths.parquet").exists():
        return None
    found = Paths()
    with _opened(folder) as tables:
        tables.execute(_DECIDED)
        checks = tables.execute('select "check" from verdicts group by 1 order by min(place)').fetchall()
        found.filtered = bool(checks)
        found.checks = [name for (name,) in checks if name != "filter"]
        for style, later, label, outcome, check, count, _ in tables.execute(_FUNNELS).fetchall() if checks else ():
            group = f"{style}, {later}" if later else style
            found.by_style.setdefault(group, Funnel()).add(outcome, check, count)
            found.total.add(outcome, check, count)
            if label is not None:
                found.planted.setdefault(label, Funnel()).add(outcome, check, count)
        for teacher, reason, outcome, count, prompt, completion, _ in tables.execute(_YIELDS).fetchall():
            total = found.by_teacher.setdefault(teacher, Yield())
            total.paths += count
            total.kept += count if outcome == "keep" else 0
            total.truncated += count if ending(reason) == "cut" else 0
            total.prompt_tokens += int(prompt)
            total.completion_tokens += int(completion)
        rows = tables.execute("select teacher, list(cost order by place) from decided group by 1").fetchall()
        for teacher, costs in rows:
            for cost in costs:  # one after the other: the sum of floats depends on its order
                found.by_teacher[teacher].cost += cost
    return found


def routing_of(folder: Path) -> Routing | None:
    """Who was given which share of each style; None where nothing was given to anybody."""
    if not (folder / "assignments.parquet").exists() or not (folder / "paths.parquet").exists():
        return None
    with _opened(folder) as tables:
        tables.execute(_MOMENTS)
        students = _names(tables, "select student from assignments group by 1 order by min(place)")
        present = _names(tables, "select style from paths group by 1 order by min(place)")
        many = tables.execute("select count(*) from moments").fetchall()[0][0]
        num_bins = min(BINS, many)
        edges = [round(place * many / num_bins) for place in range(num_bins + 1)] if many else []
        later = " ".join(f"when nth < {edge} then {place}" for place, edge in enumerate(edges[1:]))
        rows = tables.execute(_SHARES.format(bin=f"case {later} end")).fetchall() if many else []
    cells = {(student, style, place): (int(chosen), seen) for student, style, place, chosen, seen in rows}
    used = {style for _, style, _ in cells}
    if not cells:
        return None
    styles = [style for style in present if style in used]
    shares: dict[str, dict[str, list[float | None]]] = {}
    overall: dict[str, dict[str, float | None]] = {}
    for student in students:
        shares[student], overall[student] = {}, {}
        for style in styles:
            sums = [cells.get((student, style, place), (0, 0)) for place in range(num_bins)]
            shares[student][style] = [chosen / seen if seen else None for chosen, seen in sums]
            total = sum(seen for _, seen in sums)
            overall[student][style] = sum(chosen for chosen, _ in sums) / total if total else None
    return Routing(students, styles, edges, shares, overall)


def _opened(folder: Path) -> duckdb.DuckDBPyConnection:
    """A connection with views of what the folder holds; without a table its view is empty."""
    import duckdb

    tables = duckdb.connect(
        config={"threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
    paths = ("id", "round", "teacher", "style", "finish_reason", "prompt_tokens", "completion_tokens", "cost")
    views: Mapping[str, tuple[type[Record], Sequence[str], Sequence[str]]] = {
        "paths": (ReasoningPath, ("paths", "own_paths"), paths),
        "verdicts": (Verdict, ("verdicts", "own_verdicts"), ("path_id", "check", "outcome")),
        "truth": (Truth, ("truth",), ("path_id", "label")),
        "assignments": (Assignment, ("assignments",), ("round", "step", "path_id", "student", "chosen")),
    }
    try:
        for view, (record, names, columns) in views.items():
            selects = [
                _select(shard, record, columns, table, number)
                for table, name in enumerate(names)
                if (folder / f"{name}.parquet").exists()
                for number, shard in enumerate(shards(folder / f"{name}.parquet"))
            ]
            tables.execute(f"create view {view} as {' union all '.join(selects) or _nothing(record, columns)}")
    except (duckdb.Error, Damaged) as error:
        tables.close()
        raise DataError(f"{folder}: not readable as this run's tables ({error}); run it again") from error
    return tables


def _select(shard: Path, record: type[Record], columns: Sequence[str], table: int, number: int) -> str:
    """A file's columns, those that it is too old to have with the record's defaults, and the place of each row."""
    import pyarrow.parquet as pq

    check(shard)
    there = set(pq.read_schema(shard).names)

    def column(name: str) -> str:
        default = record.model_fields[name].default
        return f'"{name}"' if name in there else f"""{default!r} as "{name}\""""

    place = f"({table}::bigint << 56) | ({number}::bigint << 40) | file_row_number as place, {table} as file"
    source = f"read_parquet({quoted(shard)}, file_row_number = true)"
    return f"select {', '.join(map(column, columns))}, {place} from {source}"


def _nothing(record: type[Record], columns: Sequence[str]) -> str:
    kinds = schema(record)
    empty = ", ".join(f'null::{sql_kind(kinds.field(name).type)} as "{name}"' for name in columns)
    return f"select {empty}, 0::bigint as place, 0 as file where false"


def _names(tables: duckdb.DuckDBPyConnection, statement: str) -> list[Any]:
    return [row[0] for row in tables.execute(statement).fetchall()]
