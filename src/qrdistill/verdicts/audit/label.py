"""A person's verdicts: `qrdistill label RUN` shows sampled paths and saves each label as it is given.

Labels go to `labels.jsonl` in the run directory, one line each, synced before the next path is shown;
the same command goes on where it stopped. The sample is drawn from all paths, kept and dropped, and
the filter's decision is not shown: only so can precision and recall be measured with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Literal

from qrdistill.base.errors import BoundaryError, DataError, InputError
from qrdistill.base.records import Question, ReasoningPath, Record
from qrdistill.base.store import read_table, write_text
from qrdistill.base.untrusted.clean_text import clean_text
from qrdistill.verdicts.audit.calibration import Label, rank

FILE = "labels.jsonl"
KEYS: dict[str, Literal["sound", "spurious", "wrong", "unsure"]] = {
    "s": "sound",
    "p": "spurious",
    "w": "wrong",
    "u": "unsure",
}
HELP = "s sound, p spurious (right answer, a wrong step), w wrong answer, u unsure, b back, q quit"


class PathLabel(Record):
    """What a person said of one path. `unsure` is left out of every measurement.

    `first_wrong_step`: where it stands in the path's text, [start, end) in characters; None: not said.
    """

    path_id: str
    label: Literal["sound", "spurious", "wrong", "unsure"]
    first_wrong_step: tuple[int, int] | None = None


@dataclass(frozen=True)
class Labelled:
    """How far a labelling went."""

    done: int
    planned: int


def read_label_file(file: Path) -> list[PathLabel]:
    """The labels in the order in which they were given; a last line that a kill cut short is left out.

    Raises DataError for any other line that is no label.
    """
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")
    labels: list[PathLabel] = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline was cut short
        try:
            labels.append(PathLabel.model_validate_json(line))
        except ValueError as error:
            raise DataError(f"is no label ({line[:60]!r}); mend or remove the line", file=file, line=number) from error
    return labels


def read_labels(run_dir: Path) -> dict[str, Label]:
    """Path id -> label, as `calibration` takes it: without the unsure ones, the last word counts."""
    labels: dict[str, Label] = {}
    for one in read_label_file(run_dir / FILE):
        labels.pop(one.path_id, None)
        if one.label != "unsure":
            labels[one.path_id] = one.label
    return labels


def read_first_wrong_steps(run_dir: Path) -> dict[str, tuple[int, int]]:
    """Path id -> where its first wrong step stands, of the labels that say so."""
    last = {one.path_id: one for one in read_label_file(run_dir / FILE)}
    return {path: one.first_wrong_step for path, one in last.items() if one.first_wrong_step and one.label != "unsure"}


def label_paths(
    run_dir: Path,
    *,
    num_paths: int = 100,
    seed: int = 0,
    ask: Callable[[str], str] = input,
    show: Callable[[str], None] = print,
) -> Labelled:
    """Asks for a label of `num_paths` sampled paths of a run, one after the other.

    `ask` returns the key pressed; the end of input quits, as `q` does. Raises InputError where the run
    has no paths, BoundaryError where a label cannot be written.
    """
    for name in ("paths.parquet", "questions.parquet"):
        if not (run_dir / name).exists():
            raise InputError(f"{run_dir / name} is not there; label a run that has generated its paths")
    order = rank(seed)
    ids = (path.id for path in read_table(run_dir / "paths.parquet", ReasoningPath))
    sample = set(nsmallest(num_paths, ids, key=order))
    paths = sorted(
        (path for path in read_table(run_dir / "paths.parquet", ReasoningPath) if path.id in sample),
        key=lambda path: order(path.id),
    )
    asked = {path.question_id for path in paths}
    questions = {one.id: one for one in read_table(run_dir / "questions.parquet", Question) if one.id in asked}
    file = run_dir / FILE
    labels = read_label_file(file)
    write_label_file(file, labels)  # without a line that was cut short
    show(f"{len(paths)} paths, {_count(labels, sample)} labelled already. {HELP}")
    while True:
        known = {one.path_id for one in labels}
        path = next((path for path in paths if path.id not in known), None)
        if path is None:
            break
        show(_page(questions[path.question_id], path, f"{_count(labels, sample) + 1}/{len(paths)}"))
        key = _key(ask, show)
        if key == "q":
            break
        if key == "b":
            labels = labels[:-1]
            write_label_file(file, labels)
            continue
        labels.append(PathLabel(path_id=path.id, label=KEYS[key]))
        _append(file, labels[-1])
    return Labelled(_count(labels, sample), len(paths))


def _count(labels: list[PathLabel], sample: set[str]) -> int:
    return len({one.path_id for one in labels} & sample)


def _key(ask: Callable[[str], str], show: Callable[[str], None]) -> str:
    while True:
        try:
            key = ask("label: ").strip().lower()[:1]
        except EOFError:
            return "q"
        if key in KEYS or key in ("b", "q"):
            return key
        show(HELP)


def _page(question: Question, path: ReasoningPath, place: str) -> str:
    rule = "-" * 72
    parts = [
        f"{rule}\n{place}  {path.style}",
        clean_text(question.question),
        f"gold answer: {clean_text(question.gold or '(none)')}",
        rule,
        clean_text(path.lesson, max_line=len(path.lesson)),
        rule,
    ]
    return "\n".join(parts)


def _append(file: Path, label: PathLabel) -> None:
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(label.model_dump(exclude_none=True), ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise BoundaryError(f"cannot write {file}: {error.strerror or error}; free some space and go on") from error


def write_label_file(file: Path, labels: list[PathLabel]) -> None:
    """The whole file anew."""
    text = "".join(json.dumps(one.model_dump(exclude_none=True), ensure_ascii=False) + "\n" for one in labels)
    if text or file.exists() or file.is_symlink():  # a link is replaced, so that no label goes through it
        write_text(file, text)
