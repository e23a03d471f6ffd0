"""A run directory, for reading."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qrdistill.base.errors import InputError
from qrdistill.base.records import Answer, Assignment, Question, ReasoningPath, Record, Verdict
from qrdistill.base.store import write_text
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.report.helped import helped
from qrdistill.report.sentences import shown_name
from qrdistill.runs.config import Config
from qrdistill.runs.load_config import load_config
from qrdistill.runs.manifest import Manifest
from qrdistill.runs.tables import Table, as_html
from qrdistill.scores.compare import compare
from qrdistill.scores.scores_file import Difference

R = TypeVar("R", bound=Record)

_CARD_LINE = "<!-- written by qrdistill, and written anew when the run goes on -->"
_TABLES = (
    "paths",
    "questions",
    "verdicts",
    "own_paths",
    "own_verdicts",
    "assignments",
    "answers",
    "untrained",
    "failures",
)


def write_run_card(folder: Path) -> None:
    """README.md of a run directory, by which `datasets.load_dataset(folder, table)` reads each table that is there.

    A README.md that somebody else put there is left alone.
    """
    card = folder / "README.md"
    if card.is_file() and _CARD_LINE not in card.read_text(encoding="utf-8", errors="replace"):
        return
    tables = [name for name in _TABLES if (folder / f"{name}.parquet").exists()]
    if not tables:
        return
    lines = ["---", "configs:"]
    for name in tables:
        files = f"{name}.parquet/*.parquet" if (folder / f"{name}.parquet").is_dir() else f"{name}.parquet"
        lines += [f"- config_name: {name}", "  data_files:", "  - split: train", f"    path: {files}"]
        lines += ["  default: true"] if name == tables[0] else []
    listed = ", ".join(f"`{name}`" for name in tables)
    lines += ["---", _CARD_LINE, "", f"# {folder.resolve().name}", "", "A run of qrdistill. Its tables open with"]
    lines += [f'`datasets.load_dataset("{folder.resolve().name}", TABLE, split="train")`: {listed}.']
    lines += [
        "`report.html` shows what came of it, `config.yaml` how it was made, `manifest.json` what each stage did."
    ]
    text = "\n".join(lines) + "\n"
    if not card.is_file() or card.read_text(encoding="utf-8") != text:
        write_text(card, text)


@dataclass(frozen=True)
class Run:
    """A finished (or partly finished) run directory, for reading."""

    folder: Path

    @property
    def config(self) -> Config:
        return load_config(self.folder / "config.yaml")

    @property
    def stages(self) -> Mapping[str, Mapping[str, Any]]:
        """What manifest.json records of each stage: state, counts, seconds, warnings."""
        return Manifest(self.folder).stages

    @property
    def scores(self) -> dict[str, Any]:
        """Every figure that the report shows."""
        return read_json(Manifest(self.folder).check("scores.json"), nan=True)

    def questions(self) -> Table[Question]:
        return self._table("questions", Question)

    def paths(self) -> Table[ReasoningPath]:
        return self._table("paths", ReasoningPath)

    def verdicts(self) -> Table[Verdict]:
        return self._table("verdicts", Verdict)

    def own_paths(self) -> Table[ReasoningPath]:
        """What the students wrote in the rounds, if there were any."""
        return self._table("own_paths", ReasoningPath)

    def own_verdicts(self) -> Table[Verdict]:
        return self._table("own_verdicts", Verdict)

    def assignments(self) -> Table[Assignment]:
        return self._table("assignments", Assignment)

    def answers(self) -> Table[Answer]:
        return self._table("answers", Answer)

    def untrained(self) -> Table[Answer]:
        """What the students answered before they were trained, to the prompts that their scores are of."""
        return self._table("untrained", Answer)

    def _table(self, name: str, record: type[R]) -> Table[R]:
        return Table(self.folder / f"{name}.parquet", record)

    def compare(self, other: Run) -> list[Difference]:
        """This run minus another one, paired by question: per student prompted with its best style and free, then the mean.

        Raises InputError where they share no student or no scored question.
        """
        return compare([self.folder, other.folder])

    def _repr_html_(self) -> str:
        """For a notebook: whether it helped, and each student's score."""
        if not (self.folder / "scores.json").is_file():
            done = ", ".join(name for name, stage in self.stages.items() if stage.get("state") == "done") or "none"
            return f"<p>{html.escape(str(self.folder))}: not scored yet; stages done: {html.escape(done)}</p>"
        rows = [
            {
                "student": shown_name(head["student"]),
                "style": head["style"],
                "prompted with it": _shown(head["styled"]),
                "free": _shown(head["free"]),
            }
            for head in self.scores["headlines"]
        ]
        return f"<p>{html.escape(helped(self.folder).sentence)}</p>{as_html(rows)}"

    def student(self, name: str) -> Path:
        """The Hugging Face folder of a trained student. Raises DataError where a file of it is damaged."""
        folder = self.folder / "students" / name
        if not (self.folder / "manifest.json").is_file():
            raise InputError(f"{self.folder} is no run directory (no manifest.json in it); runs live in runs/<name>")
        known = sorted(path.name for path in (self.folder / "students").glob("*"))
        if name not in known or not folder.is_dir():
            planned = name in [student.name for student in self.config.students]
            why = f"{name!r} has not been trained yet in" if planned else f"no student {name!r} in"
            raise InputError(f"{why} {self.folder}; there are: {', '.join(known) or 'none yet'}")
        Manifest(self.folder).check("students")
        return folder


def _shown(score: Mapping[str, Any] | None) -> str:
    return f"{100 * score['accuracy']:.1f} ({100 * score['low']:.1f} to {100 * score['high']:.1f})" if score else ""
