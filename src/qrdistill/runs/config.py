"""Composes the stages' settings into one config; YAML in, resolved YAML and JSON Schema out.

Every mistake is reported with file, line, key, value and the nearest key that is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from pydantic import Field, model_validator

from qrdistill.base.errors import ConfigError
from qrdistill.base.plugins.presets import embedded_default, preset_of
from qrdistill.base.settings import Name, Settings, ShapesNothing
from qrdistill.base.store import SHARD_ROWS
from qrdistill.compute.config import ComputeConfig
from qrdistill.own_paths.config import OwnPathsConfig
from qrdistill.paths.config import PathsConfig, TeacherConfig
from qrdistill.questions.config import QuestionsConfig
from qrdistill.routing.config import AnyEncoder, AnyRouter, EncoderConfig, RouterConfig
from qrdistill.scores.config import EvaluateConfig
from qrdistill.students.config import StudentConfig
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.verdicts.config import FilterConfig

FILE_KEYS = ("file", "train_file", "dev_file", "test_file")  # of questions and teachers: what names a user's file


class Config(Settings):
    """A whole run. `Config()` is the embedded default: it needs no key, no weights and no GPU."""

    name: Name = embedded_default().sections["name"]
    """Of the run and its folder, `runs/NAME`."""
    seed: int = Field(default=0, ge=0)
    """Of everything that is drawn by lot; the same seed gives the same tables."""
    shard_rows: ShapesNothing[int] = Field(default=SHARD_ROWS, gt=0)
    """Rows of one file of paths or verdicts; a longer table is a folder of such files."""
    questions: QuestionsConfig = QuestionsConfig()
    """What is asked, and what counts as right."""
    teachers: Sequence[TeacherConfig] = ()
    """Who writes the reasoning paths."""
    paths: PathsConfig = PathsConfig()
    """Which styles are asked for, how often, for how much."""
    filter: FilterConfig = FilterConfig()
    """Which paths train."""
    encoder: AnyEncoder = EncoderConfig()
    """What a learned router sees of a path."""
    router: AnyRouter = RouterConfig()
    """Who reads which path."""
    mutual: MutualConfig = MutualConfig()
    """What students learn from each other."""
    students: list[StudentConfig] = []
    """The models that are trained."""
    train: TrainConfig = TrainConfig()
    """The joint training."""
    own_paths: OwnPathsConfig = OwnPathsConfig()
    """Rounds in which the students write paths themselves."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """How the trained students are measured."""
    compute: ComputeConfig = ComputeConfig()
    """Where the work is done: this process, or a Ray cluster."""

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, data: Any) -> Any:
        """A task's preset fills in what is not given; of a section that is given, the keys that are not."""
        if not isinstance(data, dict):
            return data
        given = cast("dict[str, Any]", data)
        questions = given.get("questions")
        default = embedded_default().task
        task = cast("dict[str, Any]", questions).get("task", default) if isinstance(questions, dict) else default
        preset = preset_of(task) if isinstance(task, str) else None
        filled = {**(preset.sections if preset else {}), **given}
        for name, section in (preset.sections if preset else {}).items():
            if isinstance(section, dict) and isinstance(given.get(name), dict):
                filled[name] = {**section, **given[name]}
                if name == "train" and "epochs" in given[name]:
                    filled[name] = {**section, "steps": None, **given[name]}  # the user's word, not the preset's
        return filled

    @model_validator(mode="after")
    def _names_fit(self) -> Config:
        for section, names in (
            ("teachers", [teacher.name for teacher in self.teachers]),
            ("students", [student.name for student in self.students]),
        ):
            if not names:
                raise ConfigError(f"task {self.questions.task!r} brings none; list at least one", key=section)
            for index, name in enumerate(names):
                # folders are named so, and some file systems do not tell A from a
                if name.lower() in [other.lower() for other in names[:index]]:
                    raise ConfigError(
                        f"the name {name!r} is used twice; give each its own", key=f"{section}.{index}.name"
                    )
        if not self.students:
            raise ConfigError("at least one student is needed", key="students")
        return self
