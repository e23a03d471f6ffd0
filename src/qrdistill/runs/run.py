"""A run directory, for reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrdistill.base.errors import InputError
from qrdistill.base.records import Answer, Assignment, Question, ReasoningPath, Verdict
from qrdistill.base.store import read_table
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.runs.config import Config
from qrdistill.runs.load_config import load_config
from qrdistill.runs.manifest import Manifest


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

    def questions(self) -> Iterator[Question]:
        return read_table(self.folder / "questions.parquet", Question)

    def paths(self) -> Iterator[ReasoningPath]:
        return read_table(self.folder / "paths.parquet", ReasoningPath)

    def verdicts(self) -> Iterator[Verdict]:
        return read_table(self.folder / "verdicts.parquet", Verdict)

    def own_paths(self) -> Iterator[ReasoningPath]:
        """What the students wrote in the rounds, if there were any."""
        return read_table(self.folder / "own_paths.parquet", ReasoningPath)

    def own_verdicts(self) -> Iterator[Verdict]:
        return read_table(self.folder / "own_verdicts.parquet", Verdict)

    def assignments(self) -> Iterator[Assignment]:
        return read_table(self.folder / "assignments.parquet", Assignment)

    def answers(self) -> Iterator[Answer]:
        return read_table(self.folder / "answers.parquet", Answer)

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
