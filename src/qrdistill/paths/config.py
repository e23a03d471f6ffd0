from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from qrdistill.base.plugins.kinds import Kinds
from qrdistill.base.records import FREE
from qrdistill.base.settings import Name, Settings, ShapesNothing
from qrdistill.llm.config import OpenAITeacher, TeacherBase, TransformersTeacher


class PathColumns(Settings):
    """The names that another tool's table has for ours; null: the same name."""

    question_id: str | None = None
    """Of the run's question."""
    question: str | None = None
    """The question's text (or a conversation that begins with it), where there is no id: found among the run's questions."""
    style: str | None = None
    """In which style the path is written."""
    text: str | None = None
    """The path: a text, a list of texts (samples), or a conversation whose last answer is taken."""
    thought: str | None = None
    """What was thought before it, where that is apart; in tags before the text it is found there."""
    teacher: str | None = None
    """Who wrote it."""


class ReplayTeacher(TeacherBase):
    """Ready paths from a file: question_id, style and text per line, a teacher's name optionally."""

    kind: Literal["replay"]
    """`replay`: ready paths."""
    file: str
    """.jsonl, .json, .csv or .parquet, relative to the config file, or an address such as `s3://bucket/p.parquet`; a
    folder of .parquet shards is one file."""
    columns: PathColumns = PathColumns()
    """What the file calls its columns, where another tool wrote it."""
    style: Name | None = None
    """The style of all its paths, where no column says it."""


class PlainTeacher(TeacherBase):
    """A registered teacher that brings no keys of its own."""

    kind: str
    """A registered name, or `module:function`."""


TeacherConfig = Annotated[
    TeacherBase,
    Kinds(
        "teachers",
        base=TeacherBase,
        plain=PlainTeacher,
        own={"replay": ReplayTeacher, "openai": OpenAITeacher, "transformers": TransformersTeacher},
    ),
]


class StyleConfig(Settings):
    """A style of the user's own; see `paths.styles.Style`."""

    name: Annotated[Name, Field(pattern=r"^[a-z0-9_]+$")]
    """What paths and prompts of this style carry: small letters, digits and underscores."""
    instruction: str
    """What a teacher is asked for."""
    hint: str
    """The short sentence after the question that tells a student to use this style."""
    description: str = ""
    """For people: what is special about it."""

    @field_validator("name")
    @classmethod
    def _not_the_free_one(cls, name: str) -> str:
        if name == FREE:
            raise ValueError(f"{FREE} is what a prompt without a style is called; choose another name")
        return name


class PathsConfig(Settings):
    """What the teachers are asked for."""

    styles: list[str | StyleConfig] = [
        "vanilla",
        "chain_of_thought",
        "tree_of_thoughts",
        "program",
        "backward",
        "facts",
    ]
    """Reasoning styles that every teacher is asked for: registered names, or styles of your own."""
    per_style: int = Field(default=1, gt=0)
    """Paths per question, teacher and style."""
    budget_usd: ShapesNothing[float | None] = Field(default=None, ge=0)
    """Dollars for teachers' replies, those of earlier runs in this folder included; null: no limit."""
    budget_tokens: ShapesNothing[int | None] = Field(default=None, ge=0)
    """Prompt and completion tokens for teachers' replies; null: no limit."""
