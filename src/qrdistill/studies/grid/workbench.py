"""What a study can vary of a task whose truth is planted: its teachers, judges and students are made to order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from qrdistill.base.plugins import registry
from qrdistill.runs.config import Config


class Workbench(Protocol):
    """Registered under the name of its task, and of the scheme of its models (group `workbenches`)."""

    def scenarios(self) -> Sequence[tuple[str, str, Mapping[str, object]]]:
        """(name, title, `questions.options`) of every condition; the first is the plain one."""
        ...

    def teacher(self, name: str, *, strength: Mapping[str, float], coverage: float) -> dict[str, Any]:
        """A teacher that errs in `strength[family]` of its paths and writes for a share of the questions."""
        ...

    def judge(self, error_rate: float) -> dict[str, Any]: ...

    def students(self, config: Config) -> Mapping[str, str]:
        """Name -> model, of students that read the task: those of a pair first."""
        ...

    def second_base(self, model: str) -> str | None:
        """Another base checkpoint of the same model; None where there is none."""
        ...


def workbench(name: str) -> Workbench | None:
    """The workbench of a task or of a model scheme; None where it is the user's own."""
    return registry.find("workbenches", name) if registry.knows("workbenches", name) else None
