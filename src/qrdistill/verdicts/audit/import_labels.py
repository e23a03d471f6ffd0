"""Labels from a file: `qrdistill label RUN --from FILE` (JSONL, JSON, CSV, TSV or Parquet).

A row names its path by `path_id`, or by `question_id` and `text` as a file for the teacher `replay` does (and `style`,
where given). It says `label` (sound, spurious, wrong or unsure; without one the row is left out) and may say
`first_wrong_step`: the number of the line, from 1 over the path's lines that are not blank, or the step's own words.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrdistill.base.errors import DataError, InputError
from qrdistill.base.records import ReasoningPath
from qrdistill.base.store import read_table
from qrdistill.questions.read_rows import Row, read_file
from qrdistill.verdicts.audit.first_wrong_step import Place, place_of_line, place_of_quote
from qrdistill.verdicts.audit.label import FILE, KEYS, PathLabel, read_label_file, write_label_file


@dataclass(frozen=True)
class Imported:
    """What came of an import: paths labelled, of them with a place; rows without a label, and for no path of the run."""

    labelled: int
    placed: int
    without_label: int
    unknown: int


def import_labels(run_dir: Path, file: Path) -> Imported:
    """Takes over the labels of `file`; a path that had one gets the new one.

    Raises InputError where the run has no paths, DataError (with the line) for a row that is no label, for two rows
    that differ over one path, and where no row is for a path of the run. Then nothing is written.
    """
    source = run_dir / "paths.parquet"
    if not source.exists():
        raise InputError(f"{source} is not there; label a run that has generated its paths")
    paths = _Paths(read_table(source, ReasoningPath))
    found: dict[str, PathLabel] = {}
    lines: dict[str, int] = {}
    left: Counter[str] = Counter()
    for row in read_file(file):
        label = _text(row, "label")
        if label is None:
            left["without label"] += 1
            continue
        named = paths.of(row)
        left["unknown"] += not named
        for path in named:
            made = _label(row, label, path)
            if found.setdefault(path.id, made) != made:
                raise row.error(f"another label for {path.id!r} than line {lines[path.id]}; keep one of them")
            lines.setdefault(path.id, row.line)
    if not found:
        raise DataError(
            f"no row labels a path of {run_dir} ({left['unknown']} rows for others, {left['without label']} without "
            "`label`); give path_id, or question_id and text, as they stand in the run",
            file=file,
        )
    kept = [one for one in read_label_file(run_dir / FILE) if one.path_id not in found]
    write_label_file(run_dir / FILE, [*kept, *found.values()])
    placed = sum(one.first_wrong_step is not None for one in found.values())
    return Imported(len(found), placed, left["without label"], left["unknown"])


class _Paths:
    """A run's paths by id, and by what a replay file says of them."""

    def __init__(self, paths: Iterable[ReasoningPath]) -> None:
        self._by_id: dict[str, ReasoningPath] = {}
        self._by_text: defaultdict[tuple[str, str], list[ReasoningPath]] = defaultdict(list)
        for path in paths:
            self._by_id[path.id] = path
            self._by_text[path.question_id, path.text.strip()].append(path)

    def of(self, row: Row) -> Sequence[ReasoningPath]:
        """The paths that a row speaks of; none where the run has no such path."""
        text, given = _text(row, "text"), _text(row, "path_id")
        if given is not None:
            path = self._by_id.get(given)
            if path is not None and text is not None and path.text.strip() != text:
                raise row.error(f"the text is not the one of {given!r} in this run; label the run that it is from")
            return [path] if path else []
        question = row.value.get("question_id")
        if question in (None, "") or text is None:
            raise row.error("which path is labelled? give path_id, or question_id and text")
        style = _text(row, "style")
        return [path for path in self._by_text.get((str(question), text), ()) if style in (None, path.style)]


def _label(row: Row, label: str, path: ReasoningPath) -> PathLabel:
    if label not in KEYS.values():
        raise row.error(f"label {label!r:.60} is none; write {', '.join(KEYS.values())}")
    place = _place(row, path.text)
    if place and label == "sound":
        raise row.error("label is sound and first_wrong_step names a step; take one of them out")
    return PathLabel(path_id=path.id, label=label, first_wrong_step=place)  # pyright: ignore[reportArgumentType]


def _place(row: Row, text: str) -> Place | None:
    given: Any = row.value.get("first_wrong_step")
    if given is None or given == "":
        return None
    if isinstance(given, str) and not (given.strip().isdecimal() and len(given) < 10):
        place, mend = place_of_quote(text, given), "does not stand in the path; copy the step word for word"
    elif isinstance(given, bool) or not isinstance(given, int | float | str) or float(given) != int(given):
        place, mend = None, "is no step; give its line's number, or its words"
    else:  # data frames hand whole numbers on as 3.0 where others are missing
        place, mend = place_of_line(text, int(given)), "is no line of the path; lines that are not blank count from 1"
    if place is None:
        raise row.error(f"first_wrong_step {given!r:.60} {mend}")
    return place


def _text(row: Row, field: str) -> str | None:
    """A text without blanks at its ends; None where it is missing or blank."""
    value = row.value.get(field)
    if value is not None and not isinstance(value, str):
        raise row.error(f"{field} has to be a text, not {value!r:.60}")
    return value.strip() or None if value else None
