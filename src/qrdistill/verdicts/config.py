from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qrdistill.base.plugins.kinds import Kinds
from qrdistill.base.settings import Name, Settings, ShapesNothing
from qrdistill.llm.config import OpenAITeacher, TransformersTeacher


class JudgeBase(Settings):
    """A registered judge; `name` is what its verdicts carry."""

    kind: str
    """A registered judge, or `module:function`."""
    name: Name
    """What its verdicts carry."""


JUDGES = Kinds(
    "judges",
    base=JudgeBase,
    plain=JudgeBase,
    own={"openai": OpenAITeacher, "transformers": TransformersTeacher},
)
JudgeConfig = Annotated[JudgeBase | OpenAITeacher | TransformersTeacher, JUDGES]


class FilterConfig(Settings):
    """Which paths train. A judge is a teacher's name, a registered judge's, or an endpoint of its own."""

    answer: bool = True
    """Drop paths whose answer is not the gold answer."""
    judges: list[str | JudgeConfig] = []
    """Who reads the paths that are left: a teacher's name, a registered judge's, or an endpoint of its own."""
    votes: int = Field(default=1, gt=0)
    """Verdicts asked of each judge."""
    rule: Literal["all", "majority", "any"] = "majority"
    """How many sound votes keep a path."""
    threshold: float = Field(default=0.0, ge=0, le=1)
    """A judge's vote below this confidence is undecided."""
    undecided: Literal["drop", "keep", "escalate"] = "drop"
    """A path that the votes leave undecided is left out (`drop`), trains all the same (`keep`), or goes to
    another judge (`escalate`)."""
    escalate_to: str | JudgeConfig | None = None
    """With `undecided: escalate`: the judge that is asked; null: none."""
    budget_usd: ShapesNothing[float | None] = Field(default=None, ge=0)
    """For the judges' replies, those of earlier runs included."""
    budget_tokens: ShapesNothing[int | None] = Field(default=None, ge=0)
    """Prompt and completion tokens for the judges' replies; null: no limit."""
    keep: Annotated[int, Field(gt=0)] | Literal["all"] = "all"
    """Sound paths that train per question, at most."""
    deduplicate: bool = True
    """Drop paths that say the same as another of their question."""
    near_duplicate: float = Field(default=0.9, gt=0, le=1)
    """Jaccard similarity of word 3-grams from which two paths say the same."""
    truncated: bool = True
    """Drop paths that the token limit cut."""
    max_characters: int | None = Field(default=None, gt=0)
    """Drop longer paths; null: no limit."""
    language: bool = False
    """Drop paths in another script than their question's."""
    leak: bool = False
    """Drop paths that state the answer before any reasoning."""
    program: bool = False
    """Run program paths in the sandbox and drop those that print another answer."""
    contamination: int | None = Field(default=13, gt=0)
    """Look for dev and test questions in train questions and paths, by so many words in a row; null: don't."""
    contaminated: Literal["refuse", "drop"] = "refuse"
    """What happens to a train question that is also asked in dev or test: the run stops, or it is dropped."""
