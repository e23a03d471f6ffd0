"""A run's tables for the viewer, by DuckDB: what is there is read, what is not there yet is empty.

`facts` has a row per path (its decision, who read it), `listed` one per question. A run that is still being made
has its later tables in pieces (`rounds/`, `assignments/`): they are read where the whole table is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qrdistill.base.checksums import Damaged, check
from qrdistill.base.errors import DataError
from qrdistill.base.records import Answer, Assignment, Question, ReasoningPath, Record, Truth, Verdict
from qrdistill.base.store import schema, shards
from qrdistill.scores.student_style import BASE

_RECORDS: dict[str, type[Record]] = {
    "questions": Question,
    "paths": ReasoningPath,
    "verdicts": Verdict,
    "assignments": Assignment,
    "answered": Answer,
    "truth": Truth,
}

_FACTS = """
create or replace table facts as
with decided as (
  select path_id, any_value(outcome) filter ("check" = 'filter') as outcome,
    coalesce(
      nullif(split_part(any_value(reason) filter ("check" = 'filter'), ':', 1), ''),
      max("check") filter ("check" <> 'filter' and outcome <> 'keep'), 'filter') as closed_by
  from verdicts group by path_id),
reading as (
  select path_id, list_sort(list(distinct student)) as readers
  from assignments where chosen group by path_id)
select paths.id, question_id, round, teacher, style, coalesce(outcome, '') as outcome,
  case when outcome in ('drop', 'undecided') then closed_by else '' end as closed_by,
  coalesce(readers, []) as readers, prompt_tokens + completion_tokens as tokens, cost
from paths left join decided on decided.path_id = paths.id left join reading on reading.path_id = paths.id
"""

# g gained, l lost, r right before and after, w wrong before and after; R and W: only the trained student was asked
_CHANGES = """
create or replace table changes as
with asked as (
  select question_id, split, name, place, max(right_) filter (not untrained) as after,
    max(right_) filter (untrained) as before
  from (
    select question_id, split, name, place, untrained, coalesce(correct, false)::int as right_
    from answers join chosen on student = name and style = if(untrained, base_styled, styled)
    where sample = 0)
  group by all)
select question_id, split, name, place, case
    when after is null then '-' when before is null then if(after = 1, 'R', 'W')
    when after = 1 then if(before = 1, 'r', 'g') else if(before = 1, 'l', 'w') end as change
from asked
"""

_LISTED = """
create or replace table listed as
with sums as (
  select question_id, count(*) as paths, count(*) filter (outcome = 'keep') as kept,
    count(*) filter (len(readers) > 0) as reads, sum(tokens) as tokens, sum(cost) as cost
  from facts group by question_id),
codes as (
  select question_id, string_agg(coalesce(change, '-'), '' order by place) as change
  from (select distinct question_id from changes) cross join chosen left join changes using (question_id, name, place)
  group by question_id)
select (row_number() over (order by file_row_number) - 1)::int as place, id, split, family, question, gold,
  coalesce(paths, 0) as paths, coalesce(kept, 0) as kept, coalesce(reads, 0) as reads,
  coalesce(tokens, 0)::bigint as tokens, coalesce(cost, 0)::double as cost, coalesce(change, '') as change
from questions left join sums on sums.question_id = id left join codes on codes.question_id = id
order by place
"""


class Tables:
    """Views of what a run directory holds now, and the tables of facts once `build` has made them.

    threads: DuckDB's; with 1 the same files give the same bytes. Raises DataError where a table is damaged.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        import duckdb

        self.folder = folder
        self._connection = duckdb.connect(
            config={"threads": threads, "autoinstall_known_extensions": False, "autoload_known_extensions": False}
        )
        self.files = {
            name: [shard for file in files if file.exists() for shard in shards(file)]
            for name, files in self.places(folder).items()
        }
        for name, record in _RECORDS.items():
            self._view(name, record, self.files[name])
        marked = "training" in {row[0] for row in self.run("describe answered")}  # a column that older tables lack
        untrained = f"ends_with(student, '{BASE}')" + (" or training = 'untrained'" if marked else "")
        self.run(
            f"create view answers as select * replace (regexp_replace(student, '{BASE}$', '') as student), "
            f"{untrained} as untrained from answered"
        )

    def _view(self, name: str, record: type[Record], files: Sequence[Path]) -> None:
        if files:
            listed = ", ".join(quoted(file) for file in files)
            source = f"read_parquet([{listed}], union_by_name = true, file_row_number = true)"
        else:
            columns = ", ".join(f'null::{sql_kind(field.type)} as "{field.name}"' for field in schema(record))
            source = f"(select {columns}, 0::bigint as file_row_number where false)"
        self.run(f"create or replace view {name} as select * from {source}")

    @staticmethod
    def places(folder: Path) -> dict[str, list[Path]]:
        """Where each table is looked for."""
        return _files(folder)

    def list_questions(self) -> None:
        """What can be listed at once, before `build` has counted anything."""
        self.run(
            "create or replace table chosen (place int, name varchar, styled varchar, base_styled varchar);"
            "create or replace view facts as select id, question_id, round, teacher, style, '' as outcome, "
            "'' as closed_by, []::varchar[] as readers, 0 as tokens, cost from paths"
        )
        self.run(
            "create or replace view listed as select file_row_number as place, id, split, family, question, gold, "
            "0 as paths, 0 as kept, 0 as reads, 0 as tokens, 0::double as cost, '' as change from questions"
        )

    def check(self) -> None:
        """Raises DataError where a file's content is not what was written."""
        for file in (file for files in self.files.values() for file in files):
            try:
                check(file)
            except Damaged as error:
                raise DataError(f"{error}; delete it and run again: the stage that made it makes it anew") from error

    def build(self, chosen: Mapping[str, tuple[str, str]]) -> None:
        """chosen: student -> the style that its answers are compared in, and that of its untrained self."""
        self.run("create or replace table chosen (place int, name varchar, styled varchar, base_styled varchar)")
        for place, (student, (style, base_style)) in enumerate(chosen.items()):
            self.run("insert into chosen values (?, ?, ?, ?)", place, student, style, base_style)
        for statement in (_FACTS, _CHANGES, _LISTED):
            self.run(statement)

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """A statement's rows. Every call has a cursor of its own, so that threads may share the tables."""
        import duckdb

        try:
            return self._connection.cursor().execute(statement, list(values)).fetchall()
        except (duckdb.IOException, duckdb.InvalidInputException, duckdb.BinderException) as error:
            raise DataError(f"{self.folder}: not readable as this run's tables ({error}); run it again") from error

    def records(self, statement: str, *values: Any) -> Iterable[dict[str, Any]]:
        """A statement's rows with the names of their columns."""
        cursor = self._connection.cursor().execute(statement, list(values))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def close(self) -> None:
        self._connection.close()


def _files(folder: Path) -> dict[str, list[Path]]:
    rounds = sorted(folder.glob("rounds/*/"))
    gathered = (folder / "own_paths.parquet").exists()
    own = (
        [folder / "own_paths.parquet"]
        if gathered
        else [r / n for r in rounds for n in ("asked.parquet", "paths.parquet")]
    )
    said = [folder / "own_verdicts.parquet"] if gathered else [r / "verdicts.parquet" for r in rounds]
    return {
        "questions": [folder / "questions.parquet"],
        "paths": [folder / "paths.parquet", *own],
        "verdicts": [folder / "verdicts.parquet", *said],
        "assignments": _assignments(folder) or [file for place in rounds for file in _assignments(place)],
        "answered": [folder / "answers.parquet", folder / "untrained.parquet"],
        "truth": [folder / "truth.parquet"],
    }


def _assignments(place: Path) -> list[Path]:
    whole = place / "assignments.parquet"
    return [whole] if whole.exists() else sorted(place.glob("assignments/part-*.parquet"))


def quoted(file: Path) -> str:
    """A file's name in SQL, where `*`, `?` and `[` would be patterns."""
    return "'" + re.sub(r"[*?\[]", lambda found: f"[{found[0]}]", str(file.absolute())).replace("'", "''") + "'"


def sql_kind(arrow: Any) -> str:
    """The SQL name of a column's Arrow type."""
    return {"string": "varchar", "int64": "bigint", "double": "double", "bool": "boolean"}[str(arrow)]
