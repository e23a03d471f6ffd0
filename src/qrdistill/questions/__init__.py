"""What is asked, and what counts as right.

`load_questions` reads a run's questions; `answers` compares what was answered. `TASKS` names every
task; `docs/tasks.md` describes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qrdistill.questions.answers import answer_format
    from qrdistill.questions.load import TASKS, load_questions

__all__ = ["TASKS", "answer_format", "load_questions"]


def __getattr__(name: str) -> Any:
    import importlib

    if name in ("TASKS", "load_questions"):
        return getattr(importlib.import_module("qrdistill.questions.load"), name)
    if name == "answer_format":
        return importlib.import_module("qrdistill.questions.answers").answer_format
    raise AttributeError(name)
