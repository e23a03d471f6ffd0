"""The list of questions, filtered, sorted and in portions: what page/source.js does within a page, by DuckDB."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qrdistill.base.errors import InputError
from qrdistill.report.viewer.cards import round_figures
from qrdistill.report.viewer.tables import Tables

ROW = ("place", "id", "split", "family", "question", "gold", "paths", "kept", "reads", "tokens", "cost", "change")
_SORTS = (*ROW[:4], "paths", "kept", "reads", "tokens", "cost", "change")
MOST_ROWS = 200  # of one portion
_MOST_TEXT = 300  # characters of a question that a row shows


def listing(tables: Tables, wanted: Mapping[str, str], students: list[str]) -> dict[str, Any]:
    """wanted: search, split, family, style, teacher, verdict (`drop` or `drop:answer`), reader, words (of a path),
    change (`student:codes`), sort (a column, `-` before it: falling), offset, limit. Raises InputError."""
    where, values = _conditions(wanted, students)
    sort = wanted.get("sort") or "place"
    column = sort.removeprefix("-")
    if column not in _SORTS:
        raise InputError(f"cannot sort by {column!r}; there are: {', '.join(_SORTS)}")
    direction = "desc" if sort.startswith("-") else "asc"
    total = tables.run(f"select count(*) from listed where {where}", *values)[0][0]
    columns = ", ".join(f"left(question, {_MOST_TEXT})" if name == "question" else name for name in ROW)
    rows = tables.run(
        f"select {columns} from listed where {where} order by {column} {direction}, place limit ? offset ?",
        *values,
        min(_number(wanted, "limit", MOST_ROWS), MOST_ROWS),
        _number(wanted, "offset", 0),
    )
    return {"total": total, "rows": [[round_figures(value) for value in row] for row in rows]}


def _number(wanted: Mapping[str, str], key: str, default: int) -> int:
    text = wanted.get(key) or str(default)
    if not text.isdecimal() or len(text) > 9:
        raise InputError(f"{key} {text!r} is no number; write one from 0")
    return int(text)


def _words(wanted: Mapping[str, str], key: str) -> list[str]:
    """What has to be there, in lower case; "quotes" keep words together."""
    return [phrase or word for phrase, word in re.findall(r'"([^"]+)"|(\S+)', (wanted.get(key) or "").lower())]


def _conditions(wanted: Mapping[str, str], students: list[str]) -> tuple[str, list[Any]]:
    where, values = ["true"], list[Any]()
    for word in _words(wanted, "search"):
        where.append("contains(lower(id || ' ' || question || ' ' || coalesce(gold, '')), ?)")
        values.append(word)
    for key in ("split", "family"):
        if wanted.get(key):
            where.append(f"{key} = ?")
            values.append(wanted[key])
    if wanted.get("change"):
        student, _, codes = wanted["change"].rpartition(":")
        if student not in students:
            raise InputError(f"no student {student!r}; there are: {', '.join(students)}")
        where.append("change <> '' and contains(?, change[?])")
        values += [codes, students.index(student) + 1]
    of_path = list[str]()
    for key in ("style", "teacher"):
        if wanted.get(key):
            of_path.append(f"{key} = ?")
            values.append(wanted[key])
    if wanted.get("verdict"):
        outcome, _, check = wanted["verdict"].partition(":")
        of_path.append("outcome = ?" + (" and closed_by = ?" if check else ""))
        values += [outcome, *([check] if check else [])]
    if wanted.get("reader"):
        of_path.append("list_contains(readers, ?)")
        values.append(wanted["reader"])
    if words := _words(wanted, "words"):
        said = "contains(lower(coalesce(text, '') || ' ' || coalesce(thought, '')), ?)"
        of_path.append(f"id in (select id from paths where {' and '.join([said] * len(words))})")
        values += words
    if of_path:
        where.append(f"id in (select question_id from facts where {' and '.join(of_path)})")
    return " and ".join(where), values
