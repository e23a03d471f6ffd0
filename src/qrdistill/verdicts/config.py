from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qrdistill.base.kinds import Kinds
from qrdistill.base.settings import Name, Settings, ShapesNothing
from qrdistill.llm.config import OpenAITeacher, TransformersTeacher


class JudgeBase(Settings):
    """A registered judge; `name` is what its verdicts carry."""

    kind: str
    name: Name


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
    judges: list[str | JudgeConfig] = []
    votes: int = Field(default=1, gt=0)  # verdicts asked of each judge
    rule: Literal["all", "majority", "any"] = "majority"  # how many sound votes keep a path
    threshold: float = Field(default=0.0, ge=0, le=1)  # a judge's vote below this confidence is undecided
    undecided: Literal["drop", "keep", "escalate"] = "drop"
    """A path that the votes leave undecided is left out (`drop`), trains all the same (`keep`), or goes to
    another judge (`escalate`)."""
    escalate_to: str | JudgeConfig | None = None
    budget_usd: ShapesNothing[float | None] = Field(default=None, ge=0)
    """For the judges' replies, those of earlier runs included."""
    budget_tokens: ShapesNothing[int | None] = Field(default=None, ge=0)
    keep: int | Literal["all"] = "all"  # at most so many sound paths per question
    deduplicate: bool = True
    near_duplicate: float = Field(default=0.9, gt=0, le=1)  # Jaccard similarity of word 3-grams
    truncated: bool = True  # drop replies that the token limit cut
    max_characters: int | None = None
    language: bool = False  # drop paths in another script than the question's
    leak: bool = False  # drop paths that state the answer before any reasoning
    program: bool = False  # run program paths in the sandbox and compare what they print
    contamination: int | None = Field(default=13, gt=0)
    """Look for dev and test questions in train questions and paths, by so many words in a row; null: don't."""
    contamination_share: float = Field(default=0.8, gt=0, le=1)
    """The share of a question's word sequences (those that few other questions have) that gives it away."""
    contaminated: Literal["refuse", "drop"] = "refuse"  # a train question that is also asked in dev or test
