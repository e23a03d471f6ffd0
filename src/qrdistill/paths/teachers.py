"""What a teacher is: something that writes reasoning paths, in its own time or on request.

Two shapes. A *path teacher* (such as `replay`) has its paths at hand and is called once per question,
style and sample. A *chat teacher* (`openai`, `transformers`) answers chat requests, each of which may
take long, cost money and fail; its replies go through the reply cache (see `llm.ask`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from qrdistill.base.plugins import registry
from qrdistill.base.progress import Progress
from qrdistill.base.records import Question
from qrdistill.llm.config import TeacherBase
from qrdistill.paths.styles import Style


@dataclass(frozen=True)
class Draft:
    """One path as its teacher hands it over, before it has an id.

    `truth` is (label, detail) as in `records.Truth` where a teacher plants errors on purpose.
    `teacher` names the writer where it is not the configured teacher (a replay file may hold several).
    """

    text: str
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    truth: tuple[str, str] | None = None
    cost: float = 0.0
    teacher: str | None = None
    thought: str = ""  # what was thought before `text`, without tags


class PathTeacher(Protocol):
    """A teacher that has its paths at hand; made by `factory(config, *, base_dir, seed, questions)`."""

    def path(self, question: Question, style: Style, sample: int) -> Draft | None:
        """None: it has no path there, which is no failure."""
        ...


@runtime_checkable
class CountsSamples(Protocol):
    """A path teacher that knows how many samples it has, whatever `paths.per_style` says."""

    def samples(self, question: Question, style: Style) -> int: ...


@runtime_checkable
class ReportsProblems(Protocol):
    """A path teacher that has something to say once it was made (rows that fit no question)."""

    def report(self, progress: Progress) -> None: ...


def make_path_teacher(config: TeacherBase, *, base_dir: Path, seed: int, questions: Sequence[Question]) -> PathTeacher:
    kind: str = getattr(config, "kind")  # noqa: B009 - the base class leaves `kind` to its children
    return registry.find("teachers", kind, key="teachers.kind")(
        config, base_dir=base_dir, seed=seed, questions=questions
    )
