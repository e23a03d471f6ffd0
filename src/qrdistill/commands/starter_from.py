"""`qrdistill init NAME --from FILE`: a config for a table of the user's own, its columns mapped by their names and values."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from qrdistill.answers.check import read_gold
from qrdistill.base.errors import InputError
from qrdistill.base.records import Question
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.files_and_hub import draft
from qrdistill.questions.read_rows import Row, read_file

_ROWS = 500  # that are looked at
_NAMES: Mapping[str, Sequence[str]] = {
    "question": ("question", "problem", "prompt", "instruction", "query", "input", "task", "text"),
    "gold": ("gold", "answer", "target", "label", "final_answer", "expected", "response", "output", "solution"),
    "id": ("id", "question_id", "uuid", "idx", "index"),
    "split": ("split", "subset", "partition"),
    "family": ("family", "category", "subject", "topic", "type"),
    "options": ("options", "choices"),
    "context": ("context", "passage", "background"),
}
_PATHS = ("generations", "generation", "reasoning_path", "path", "rationale", "reasoning", "solution", "messages")


@dataclass(frozen=True)
class Mapped:
    """`fields`: ours to theirs where names differ. `paths`: the column that already holds reasoning, if any."""

    fields: Mapping[str, str]
    kind: str
    rows: int  # that were looked at
    unread: int  # whose gold answer this kind does not read
    paths: str | None
    columns: Sequence[str]


def map_columns(file: Path) -> Mapped:
    """Looks at the first rows of a CSV, JSONL, JSON or Parquet file. Raises InputError where no question or answer is there."""
    rows = list(islice(read_file(file), _ROWS))
    if not rows:
        raise InputError(f"{file} has no rows; a question and its answer per row are expected")
    columns = list(dict.fromkeys(name for row in rows for name in row.value))
    found = {ours: theirs for ours, names in _NAMES.items() if (theirs := _first(columns, names, rows))}
    for needed in ("question", "gold"):
        if needed not in found:
            raise InputError(
                f"{file}: no column looks like the {needed if needed == 'question' else 'right answer'}; there are: "
                f"{', '.join(columns)}. Name one {_NAMES[needed][0]!r}, or write questions.fields yourself (docs/tasks.md)"
            )
    if found.get("gold") == found.get("question"):
        del found["gold"]
    kind, unread = _kind(rows, found)
    paths = _first([name for name in columns if name not in found.values()], _PATHS, rows)
    differing = {ours: theirs for ours, theirs in found.items() if ours != theirs}
    return Mapped(differing, kind, len(rows), unread, paths, columns)


def _first(columns: Sequence[str], names: Sequence[str], rows: Sequence[Row]) -> str | None:
    """The first known name among the columns, whatever its case, that is filled in every row."""
    for name in names:
        for column in columns:
            plain = re.sub(r"[\s-]+", "_", column.strip().lower())
            if plain == name and all(row.value.get(column) not in (None, "") for row in rows):
                return column
    return None


def _kind(rows: Sequence[Row], found: Mapping[str, str]) -> tuple[str, int]:
    """The first kind that reads nearly all gold answers, from the strictest to the one that reads anything."""
    golds = [str(row.value.get(found["gold"], "")).strip() for row in rows]
    if "options" in found:
        return "choice", 0
    tests: Mapping[str, Callable[[str], bool]] = {
        "yes_no": lambda gold: gold.lower() in ("yes", "no", "true", "false"),
        "number": lambda gold: _reads("number", gold) and not re.search(r"\\|[a-zA-Z]{3}", gold.rpartition("####")[2]),
        "math": lambda gold: ("\\" in gold or "$" in gold or bool(re.search(r"[\d^=]", gold))) and _reads("math", gold),
    }
    for kind, test in tests.items():
        right = sum(map(test, golds))
        if right >= 0.95 * len(golds):
            return kind, len(golds) - right
    return "text", 0


def _reads(kind: str, gold: str) -> bool:
    question = Question(id="q", split="train", task="t", family="all", kind=kind, question="?", gold=gold)
    return bool(gold) and read_gold(question).answer is not None


def questions_section(file: Path, folder: Path, mapped: Mapped) -> str:
    """The config's `questions:` for a file, relative to the folder that the config stands in."""
    place = os.path.relpath(file.resolve(), folder.resolve())
    lines = [
        "questions:",
        "  task: jsonl                 # your own table, whatever its format",
        f"  file: {_quoted(place)}",
    ]
    lines.append(f"  kind: {mapped.kind:<20} # how answers are compared; read from the first {mapped.rows} rows")
    if mapped.fields:
        pairs = ", ".join(f"{ours}: {_quoted(theirs)}" for ours, theirs in mapped.fields.items())
        lines.append(f"  fields: {{{pairs}}}   # ours: yours")
    unused = [name for name in mapped.columns if name not in (*mapped.fields.values(), *_NAMES)]
    if unused:
        lines.append(f"  # not used: {', '.join(re.sub(r'[^ -~]', '?', name) for name in unused)[:200]}")
    lines += ["  train: null                 # null: all there are; without a split column dev and test are carved out"]
    lines += ["  dev: null", "  test: null"]
    config = QuestionsConfig(task="jsonl", file=str(file), kind=mapped.kind, fields=dict(mapped.fields))
    draft(next(iter(read_file(file))), config)  # what the run would refuse is refused here
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A YAML scalar: plain where it can be."""
    import json

    return text if re.fullmatch(r"[A-Za-z0-9_./-]+", text) else json.dumps(text)


def paths_teacher(file: Path, folder: Path, mapped: Mapped, style: str) -> str | None:
    """A replay teacher over the same table, where it holds reasoning already."""
    if mapped.paths is None:
        return None
    place = os.path.relpath(file.resolve(), folder.resolve())
    question: Any = mapped.fields.get("question", "question")
    columns = f"{{question: {_quoted(question)}, text: {_quoted(mapped.paths)}}}"
    return (
        f"  - {{name: ready, kind: replay, file: {_quoted(place)}, style: {style},\n"
        f"     columns: {columns}}}   # the reasoning that the table already has"
    )
