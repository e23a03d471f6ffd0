"""`qrdistill show` and `compare`: what is in a run, in the terminal.

Texts of teachers and students are printed as they are: never as markup, and through `clean_text`.
"""

from __future__ import annotations

import json
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrdistill.base import records
from qrdistill.base.errors import InputError
from qrdistill.base.store import count_rows, read_batches, records_of
from qrdistill.base.untrusted.clean_text import clean_text
from qrdistill.base.untrusted.guarded_json import loads, read_json
from qrdistill.commands.tables import print_table
from qrdistill.llm.batch.records import duration
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.report.helped import helped
from qrdistill.report.sentences import shown_name
from qrdistill.runs.manifest import Manifest

if TYPE_CHECKING:
    from pyarrow import RecordBatch

_Test = tuple[str, Callable[[Any], bool]]
_DECISION, _UNDECIDED = "decision", "not filtered yet"

_TABLES: dict[str, tuple[str, type[records.Record], tuple[str, ...]]] = {
    "questions": ("questions.parquet", records.Question, ("id", "split", "family", "question", "gold")),
    "paths": ("paths.parquet", records.ReasoningPath, ("id", "decision", "answer", "text")),
    "verdicts": ("verdicts.parquet", records.Verdict, ("path_id", "check", "outcome", "judge", "reason")),
    "own_paths": ("own_paths.parquet", records.ReasoningPath, ("id", "decision", "answer", "text")),
    "own_verdicts": ("own_verdicts.parquet", records.Verdict, ("path_id", "check", "outcome", "judge", "reason")),
    "routing": (
        "assignments.parquet",
        records.Assignment,
        ("step", "path_id", "student", "probability", "chosen", "nll"),
    ),
    "answers": ("answers.parquet", records.Answer, ("student", "question_id", "style", "correct", "answer", "text")),
    "untrained": (
        "untrained.parquet",
        records.Answer,
        ("student", "question_id", "style", "correct", "answer", "text"),
    ),
    "failures": ("failures.parquet", records.Failure, ("question_id", "teacher", "style", "sample", "reason")),
}


def show(run_dir: Path, what: str, where: Sequence[str], *, limit: int = 20, as_json: bool = False) -> None:
    """Prints rows of one of a run's tables, or its scores. Raises InputError."""
    if what == "scores":
        if as_json:
            scores = read_json(_existing(run_dir, "scores.json"), nan=True)
            print(json.dumps({"helped": helped(run_dir).as_dict(), **scores}))
        else:
            print_scores(run_dir)
        return
    if what == "filter":
        show_filter(run_dir, as_json=as_json)
        return
    if what == "batches":
        show_batches(run_dir, as_json=as_json)
        return
    if what not in _TABLES:
        raise InputError(f"nothing called {what!r} to show; there are: scores, filter, batches, {', '.join(_TABLES)}")
    file, record, columns = _TABLES[what]
    decided = record is records.ReasoningPath
    tests = [_test(text, {*record.model_fields, *((_DECISION,) if decided else ())}) for text in where]
    path = _existing(run_dir, file)
    verdicts = run_dir / file.replace("paths", "verdicts")
    decisions = _decisions(verdicts) if decided and verdicts.exists() else {}
    chosen, total = _rows(path, record, tests, decisions, limit)
    if as_json:
        print(json.dumps(chosen, default=str))
        return
    shown = [[clean(row.get(column)) for column in columns] for row in chosen]
    print_table(columns, shown, f"{what}: {len(shown)} of {total} rows")


def show_filter(run_dir: Path, *, as_json: bool = False) -> None:
    """The filter's account: generated = kept + dropped + undecided, per teacher, style, task and check."""
    stages = read_json(_existing(run_dir, "manifest.json"), nan=True, fields={"stages": dict})["stages"]
    counts: dict[str, Any] = stages.get("filter", {}).get("counts", {})
    if not counts:
        raise InputError(f"{run_dir} has not been filtered yet")
    if as_json:
        print(json.dumps(counts))
        return
    columns = ("generated", "kept", "dropped", "undecided")
    rows = [["all", "", *(str(counts[column]) for column in columns)]]
    for group in ("teacher", "style", "task", "check"):
        for name, row in counts[f"by_{group}"].items():
            rows.append([group, clean(name), *(str(row[column]) for column in columns)])
    print_table(["by", "name", *columns], rows, "the filter's account of every path")


def show_batches(run_dir: Path, *, as_json: bool = False) -> None:
    """The batches of the cache beside the run: what was submitted, how far it is and how old, open ones last."""
    file = run_dir.parent / "replies.sqlite"
    if not file.is_file():
        raise InputError(f"no reply cache at {file}: no batch was submitted for this run")
    with ReplyCache(file) as cache:
        rows = sorted(cache.batches(), key=lambda row: (row.ended is None, row.created))
    if as_json:
        print(json.dumps([{**asdict(row), "age": row.age} for row in rows]))
        return
    columns = ("teacher", "model", "batch", "state", "answered", "failed", "of", "age")
    cells: list[list[str]] = []
    for row in rows:
        counts = (row.done, row.failed, row.total, duration(row.age))
        state = row.state if row.ended else f"{row.state} (open)"
        cells.append([clean(cell) for cell in (row.teacher, row.model, row.batch_id, state, *counts)])
    print_table(columns, cells, "batches")


def _existing(run_dir: Path, file: str) -> Path:
    if not run_dir.is_dir():
        raise InputError(f"{run_dir} is no run directory; runs live in runs/<name>")
    path = run_dir / file
    if not path.exists():
        raise InputError(f"{run_dir} has no {file} yet; run the stage that makes it")
    return Manifest(run_dir).check(file)


def _rows(
    path: Path, record: type[records.Record], tests: Sequence[_Test], decisions: Mapping[str, str], limit: int
) -> tuple[list[dict[str, Any]], int]:
    """The first rows that pass, and how many pass. Conditions read columns; only what is shown becomes a row."""
    passing, total = _passing(path, record, tests, decisions, limit)
    found: list[dict[str, Any]] = []
    start = 0
    for batch in read_batches(path, record) if passing else ():
        for number in [number for number in passing if start <= number < start + batch.num_rows]:
            (row,) = records_of(batch.slice(number - start, 1), record, where=path)
            found.append(row.model_dump())
            if record is records.ReasoningPath:
                found[-1][_DECISION] = decisions.get(found[-1]["id"], _UNDECIDED)
        start += batch.num_rows
        if len(found) == len(passing):
            break
    return found, total


def _passing(
    path: Path, record: type[records.Record], tests: Sequence[_Test], decisions: Mapping[str, str], limit: int
) -> tuple[list[int], int]:
    """The numbers of the first rows that pass, and how many do."""
    if not tests:
        total = count_rows(path)
        return list(range(min(limit, total))), total
    columns = list(dict.fromkeys("id" if column == _DECISION else column for column, _ in tests))
    numbers, total, start = list[int](), 0, 0
    for batch in read_batches(path, record, columns):
        rows: Sequence[int] = range(batch.num_rows)
        for column, test in tests:
            values = _values(batch, column, decisions, record, path)
            rows = [row for row in rows if test(values[row])]
        numbers += [start + row for row in rows[: limit - len(numbers)]]
        start, total = start + batch.num_rows, total + len(rows)
    return numbers, total


def _values(
    batch: RecordBatch, column: str, decisions: Mapping[str, str], record: type[records.Record], path: Path
) -> list[Any]:
    if column == _DECISION:
        return [decisions.get(name, _UNDECIDED) for name in batch.column("id").to_pylist()]
    values = batch.column(column).to_pylist()
    if typing.get_origin(record.model_fields[column].annotation) is dict:
        return [loads(value, where=path, nan=True) for value in values]
    return values


def _decisions(verdicts: Path) -> dict[str, str]:
    """Path id -> `keep`, or the outcome with its reason."""
    found: dict[str, str] = {}
    for batch in read_batches(verdicts, records.Verdict, ["path_id", "check", "outcome", "reason"]):
        rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        for name, check, outcome, reason in rows:
            if check == "filter":
                found[name] = outcome if outcome == "keep" else f"{outcome}: {reason}"
    return found


def _test(text: str, columns: Iterable[str]) -> _Test:
    """The column that a condition looks at, and the condition on its value."""
    match = re.fullmatch(r"(\w+)(=|~)(.*)", text, re.DOTALL)
    known = sorted(columns)
    if not match or match[1] not in known:
        raise InputError(f"--where {text!r}: write column=value or column~text; columns: {', '.join(known)}")
    column, relation, wanted = match.groups()
    if relation == "=":
        return column, lambda value: str(value).lower() == wanted.lower()
    return column, lambda value: wanted.lower() in str(value).lower()


def clean(value: object) -> str:
    """One value as printable text.

    >>> clean(True), clean(0.123456), clean("a\\x1b[31mb")
    ('yes', '0.123', 'a\ufffd[31mb')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    return clean_text(str(value))


def interval(score: dict[str, Any] | None) -> str:
    """An accuracy in percent with its 95 % interval.

    >>> interval({"accuracy": 0.5, "low": 0.4, "high": 0.6})
    '50.0 (40.0-60.0)'
    """
    if score is None:
        return ""
    return f"{100 * score['accuracy']:.1f} ({100 * score['low']:.1f}-{100 * score['high']:.1f})"


def print_scores(run_dir: Path) -> None:
    """The students' and ensembles' accuracies of a run, with what to doubt in each, and the run's warnings."""
    scores = read_json(
        _existing(run_dir, "scores.json"), nan=True, fields={"split": str, "headlines": list, "ensembles": list}
    )
    print(clean(helped(run_dir).sentence) + "\n")
    rows: list[list[str]] = []
    for row in scores["headlines"]:
        n = (row["styled"] or row["free"] or {"n": 0})["n"]
        names = [clean(shown_name(row["student"])), clean(row["style"])]
        rows.append([*names, _with_doubts(row["styled"]), _with_doubts(row["free"]), str(n)])
    for row in scores["ensembles"]:
        cost = f"{len(row['members'])} voters, {row['decodes']:.1f} decodes"
        rows.append([clean(row["name"]), cost, _with_doubts(row), "", str(row["n"])])
    columns = ("student or vote", "style or cost", "prompted style", "free", "n")
    print_table(columns, rows, f"{run_dir}: accuracy on {scores['split']}, % (95 % interval)")
    for warning in _warnings(run_dir, scores):
        print(f"warning: {clean(warning)}")


def _with_doubts(score: dict[str, Any] | None) -> str:
    """An accuracy, and how many answers were cut by their limit and how many could not be read."""
    if score is None:
        return ""
    cut = f"{score['truncated']} cut, " if "truncated" in score else ""  # a vote is cut nowhere
    return f"{interval(score)}, {cut}{score['undecided']} unreadable"


def _warnings(run_dir: Path, scores: dict[str, Any]) -> Iterator[str]:
    """What the stages warned of, and what the scores say of themselves; each once."""
    said = [record.get("warnings", []) for record in Manifest(run_dir).stages.values()]
    yield from dict.fromkeys(str(text) for texts in (*said, scores.get("warnings", [])) for text in texts)


def compare_runs(runs: Sequence[Path], *, as_json: bool = False, html: Path | None = None) -> None:
    """Prints paired differences of two or more runs on the questions that they share, and writes them as a page."""
    from qrdistill.scores.compare import compare

    if len(runs) < 2:
        raise InputError("compare needs two or more run directories")
    results = compare([_existing(run, "scores.json").parent for run in runs])
    if html is not None:
        from qrdistill.report.compare_page import write_compare_page

        print(f"page: {write_compare_page(runs, html)}", file=sys.stderr)
    if as_json:
        print(json.dumps([row.model_dump() for row in results]))
        return
    rows = [
        [
            clean(row.first),
            clean(row.second),
            str(row.n),
            f"{100 * row.difference:+.1f}",
            f"{100 * row.low:+.1f} to {100 * row.high:+.1f}" if row.high - row.low > 1e-9 else "none",
            str(row.only_first),
            str(row.only_second),
            "<0.001" if row.p < 0.001 else f"{row.p:.3f}",
        ]
        for row in results
    ]
    columns = ("first", "second", "n", "difference", "interval", "only first", "only second", "p")
    print_table(columns, rows, "first - second, accuracy points (paired 95 % interval)")
