"""What a teacher is: something that writes reasoning paths, in its own time or on request.

Two shapes. A *path teacher* (`lab`, `replay`) has its paths at hand and is called once per question,
style and sample. A *chat teacher* (`openai`, `transformers`) answers chat requests, each of which may
take long, cost money and fail; its replies go through the reply cache (see `paths.fill`).
Teachers from outside register under the entry-point group `qrdistill.teachers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from qrdistill.base.errors import ConfigError
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


TEACHERS: dict[str, str] = {
    "lab": "qrdistill.lab.teacher:LabTeacherImplementation",
    "replay": "qrdistill.paths.replay:ReplayTeacherImplementation",
    "openai": "qrdistill.llm.openai_client:OpenAIChat",
    "transformers": "qrdistill.llm.transformers_client:TransformersChat",
}

CHAT_KINDS = frozenset({"openai", "transformers"})  # these answer chat requests


def teacher_factory(kind: str) -> Any:
    """The class or function that makes a teacher of this kind; raises ConfigError for an unknown one."""
    target = TEACHERS.get(kind) or _outside(kind)
    if target is None:
        raise ConfigError(f"unknown teacher kind {kind!r}; known: {', '.join(TEACHERS)}", key="teachers.kind")
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def _outside(kind: str) -> str | None:
    from importlib.metadata import entry_points

    return next((point.value for point in entry_points(group="qrdistill.teachers", name=kind)), None)


def make_path_teacher(config: TeacherBase, *, base_dir: Path, seed: int, questions: Sequence[Question]) -> PathTeacher:
    kind: str = getattr(config, "kind")  # noqa: B009 - the base class leaves `kind` to its children
    return teacher_factory(kind)(config, base_dir=base_dir, seed=seed, questions=questions)
