"""`write_compare_page`: finished runs side by side, down to the questions that one got right and the other wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from qrdistill.base.errors import InputError
from qrdistill.base.records import Answer, Question
from qrdistill.base.store import read_table, write_text
from qrdistill.base.untrusted.clean_text import clean_text, one_line
from qrdistill.base.untrusted.redact import redact
from qrdistill.report.report import render, viewer_context
from qrdistill.report.sentences import verdict
from qrdistill.report.viewer import charts_data
from qrdistill.report.viewer.charts_data import Box, Boxes, Mark
from qrdistill.report.viewer.page import embedded, with_scripts
from qrdistill.scores.compare import Mode, compare, compared_answers, run_names
from qrdistill.scores.scores_file import Difference
from qrdistill.scores.statistics import established, wilson

MOST_ROWS = 200  # questions listed of one change
_MOST_CHARACTERS = 300  # of a question
_MODES: dict[Mode, str] = {"styled": "prompted style", "free": "free"}

Key = tuple[str, Mode]
Answers = Mapping[Key, Mapping[str, Answer]]


@dataclass(frozen=True)
class Run:
    """`page`: its report.html as a link from the page that is written, "" where there is none."""

    name: str
    page: str
    answers: Answers


@dataclass(frozen=True)
class Changed:
    """A question that one of two runs got right, and what each answered. `links`: to it in both runs' own pages."""

    id: str
    text: str
    gold: str
    said: tuple[str, str]
    links: tuple[str, str]


@dataclass(frozen=True)
class Change:
    """One student in one mode in two runs: how many questions of each kind, and those that only one got right."""

    first: str
    second: str
    what: str
    both: int
    neither: int
    only_first: int
    only_second: int
    lists: tuple[list[Changed], list[Changed]]


def write_compare_page(runs: Sequence[Path], target: Path) -> Path:
    """Writes the page and returns `target`. The first run is compared with each other one, as `compare` does.

    Questions link to the pages of the runs that have one. The same files give the same bytes. Raises InputError.
    """
    if target.is_dir():
        raise InputError(f"--html {target} is a folder: name the file, {target / 'compare.html'}")
    rows = compare(runs)
    found = [
        Run(name, _page(run, target), compared_answers(run)) for name, run in zip(run_names(runs), runs, strict=True)
    ]
    questions = _questions(runs)
    boxes = Boxes()
    context = {
        "runs": found,
        "rows": rows,
        "sentences": _sentences(rows),
        "accuracy_place": boxes.put("accuracy", _accuracies(found)),
        "difference_place": boxes.put("differences", _differences(rows)),
        "changes": [change for other in found[1:] for change in _changes(found[0], other, questions)],
    }
    html = redact(render("compare.html.j2", **context, **viewer_context(True, "charts")))
    write_text(target, with_scripts(html, {"charts-data": embedded(boxes.places)}, "charts"))
    return target


def _page(run: Path, target: Path) -> str:
    page = run.resolve() / "report.html"
    if not page.is_file():
        return ""
    return "/".join(map(quote, Path(os.path.relpath(page, target.resolve().parent)).parts))


def _questions(runs: Sequence[Path]) -> dict[str, Question]:
    """By id; empty where no run has its questions any more."""
    files = [run / "questions.parquet" for run in runs]
    return {row.id: row for file in reversed(files) if file.exists() for row in read_table(file, Question)}


def _sentences(rows: Sequence[Difference]) -> list[str]:
    """The prompted style, of the mean over the students where there are several."""
    last = {_side(row.second)[0]: row for row in rows if row.first.endswith(", styled")}
    return [
        f"{_side(row.first)[0]} over {other}, {_side(row.first)[1]}: {verdict(row.model_dump())}."
        for other, row in last.items()
    ]


def _side(text: str) -> tuple[str, str]:
    """One side of a difference: the run, and who answered how."""
    run, _, what = text.rpartition(": ")
    who, _, mode = what.rpartition(", ")
    return run, f"{who}, {_MODES['free' if mode == 'free' else 'styled']}"


def _accuracies(runs: Sequence[Run]) -> list[Box]:
    """On the questions that all runs with this student answered."""
    keys = list(dict.fromkeys(key for mode in _MODES for run in runs for key in run.answers if key[1] == mode))
    marks: list[Mark] = []
    for key in keys:
        having = [(at, run.answers[key]) for at, run in enumerate(runs) if key in run.answers]
        shared = set[str](having[0][1]).intersection(*(answers for _, answers in having))
        for at, answers in having if len(having) > 1 else ():
            value = wilson(sum(answers[name].correct is True for name in shared), len(shared))
            if shared:
                label = f"{runs[at].name}: {key[0]}, {_MODES[key[1]]}"
                n = f"{len(shared)} questions"
                marks.append(
                    Mark(label, value.estimate, value.low, value.high, series=at, n=n, hollow=key[1] == "free")
                )
    note = "On the questions that the runs share, with 95 % intervals; a colour for each run. Hollow: free."
    return charts_data.estimates("Accuracy", note, marks)


def _differences(rows: Sequence[Difference]) -> list[Box]:
    others = list(dict.fromkeys(_side(row.second)[0] for row in rows))
    marks = [
        Mark(
            _side(row.first)[1] + (f" − {_side(row.second)[0]}" if len(others) > 1 else ""),
            row.difference,
            *((row.low, row.high) if row.high - row.low > 1e-9 else (None, None)),
            hollow=not established(row.low, row.high),
            n=f"{row.n} questions",
        )
        for row in rows
    ]
    title = f"{_side(rows[0].first)[0]} minus {others[0] if len(others) == 1 else 'each other run'}"
    note = "Paired differences in points with 95 % intervals over the questions. Hollow: not established."
    return charts_data.estimates(title, note, marks, differences=True)


def _changes(first: Run, second: Run, questions: Mapping[str, Question]) -> list[Change]:
    found: list[Change] = []
    for mode, shown in _MODES.items():
        for key in (key for key in first.answers if key[1] == mode and key in second.answers):
            one, other = first.answers[key], second.answers[key]
            shared = [(one[name].correct is True, other[name].correct is True, name) for name in one if name in other]
            only = [[name for a, b, name in shared if a > b], [name for a, b, name in shared if b > a]]
            lists = [[_changed(name, (first, second), key, questions) for name in ids[:MOST_ROWS]] for ids in only]
            found.append(
                Change(
                    first=first.name,
                    second=second.name,
                    what=f"{key[0]}, {shown}",
                    both=sum(a and b for a, b, _ in shared),
                    neither=sum(not a and not b for a, b, _ in shared),
                    only_first=len(only[0]),
                    only_second=len(only[1]),
                    lists=(lists[0], lists[1]),
                )
            )
    return found


def _changed(id: str, pair: tuple[Run, Run], key: Key, questions: Mapping[str, Question]) -> Changed:
    question = questions.get(id)
    said = [run.answers[key][id].answer for run in pair]
    links = [f"{run.page}#q={quote(id, safe='')}" if run.page else "" for run in pair]
    return Changed(
        clean_text(id),
        one_line(question.question, _MOST_CHARACTERS) if question else "",
        one_line(question.gold or "", 80) if question else "",
        (_shown(said[0]), _shown(said[1])),
        (links[0], links[1]),
    )


def _shown(answer: str | None) -> str:
    return "unreadable" if answer is None else one_line(answer, 80)
