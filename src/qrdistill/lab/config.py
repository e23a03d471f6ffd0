"""The settings of the scripted teacher and of the rule judge."""

from __future__ import annotations

from pydantic import Field

from qrdistill.base.settings import Name
from qrdistill.llm.config import TeacherBase
from qrdistill.verdicts.config import JudgeBase


class LabTeacher(TeacherBase):
    """The scripted teacher of the embedded default; it knows the steps and plants errors."""

    kind: str = "lab"
    """`lab`."""
    name: Name = "scripted"
    """What its paths carry as `teacher`."""
    coverage: float = Field(default=1.0, ge=0, le=1)
    """Share of the training questions that it is asked about."""
    strength: dict[str, float] = {}
    """Family -> share of its paths whose answer is wrong, instead of the scenario's."""
    thinks: bool = False
    """A path is what it thinks first, and its last line once more the answer."""


class LabJudge(JudgeBase):
    """The rule judge; `error_rate` flips that share of its verdicts, seeded per path and vote."""

    kind: str = "lab"
    """`lab`."""
    name: Name = "rules"
    """What its verdicts carry."""
    error_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of its verdicts that are turned round."""
