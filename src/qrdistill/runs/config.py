"""Composes the stages' settings into one config; YAML in, resolved YAML and JSON Schema out.

Every mistake is reported with file, line, key, value and the nearest key that is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from pydantic import Field, model_validator

from qrdistill.base.errors import ConfigError
from qrdistill.base.settings import Name, Settings
from qrdistill.own_paths.config import OwnPathsConfig
from qrdistill.paths.config import LabTeacher, PathsConfig, TeacherConfig
from qrdistill.questions.config import QuestionsConfig
from qrdistill.routing.config import EncoderConfig, RouterConfig
from qrdistill.scores.config import EvaluateConfig
from qrdistill.students.config import StudentConfig
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.verdicts.config import FilterConfig


class Config(Settings):
    """A whole run. `Config()` is the embedded default: it needs no key, no weights and no GPU."""

    name: Name = "lab"
    seed: int = Field(default=0, ge=0)
    questions: QuestionsConfig = QuestionsConfig()
    teachers: Sequence[TeacherConfig] = [LabTeacher()]
    paths: PathsConfig = PathsConfig()
    filter: FilterConfig = FilterConfig(judges=["lab"])
    encoder: EncoderConfig = EncoderConfig()
    router: RouterConfig = RouterConfig()
    mutual: MutualConfig = MutualConfig()
    students: list[StudentConfig] = [
        StudentConfig(name="mistral", model="lab:mistral-tiny", learning_rate=1e-3),
        StudentConfig(name="gemma", model="lab:gemma-tiny", learning_rate=1e-3),
    ]
    train: TrainConfig = TrainConfig()
    own_paths: OwnPathsConfig = OwnPathsConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="before")
    @classmethod
    def _lab_defaults(cls, data: Any) -> Any:
        """The lab's judge, teacher and students are defaults of the lab's questions only."""
        if not isinstance(data, dict):
            return data
        given = cast("dict[str, Any]", data)
        questions = given.get("questions")
        task = cast("dict[str, Any]", questions).get("task", "lab") if isinstance(questions, dict) else "lab"
        if task == "lab":
            chosen = given.get("filter") or {}
            return {**given, "filter": {"judges": ["lab"], **chosen}} if isinstance(chosen, dict) else given
        for section in ("teachers", "students"):
            if not given.get(section):
                raise ConfigError(f"this key is needed with task {task!r} and missing", key=section)
        return {"filter": {}, **given}

    @model_validator(mode="after")
    def _names_fit(self) -> Config:
        for section, names in (
            ("teachers", [teacher.name for teacher in self.teachers]),
            ("students", [student.name for student in self.students]),
        ):
            for index, name in enumerate(names):
                # folders are named so, and some file systems do not tell A from a
                if name.lower() in [other.lower() for other in names[:index]]:
                    raise ConfigError(
                        f"the name {name!r} is used twice; give each its own", key=f"{section}.{index}.name"
                    )
        if not self.students:
            raise ConfigError("at least one student is needed", key="students")
        return self
