"""All that goes on disk, as frozen records; `store` maps each to a Parquet schema.

Data flows one way: Question -> ReasoningPath -> Verdict -> Assignment -> Answer -> Score.
Ids are readable, so that lineage can be followed by eye: a path's id holds its question's.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from qrdistill.base.thoughts import taught

Split = Literal["train", "dev", "test"]
Outcome = Literal["keep", "drop", "undecided"]
Correctness = Literal["correct", "wrong", "undecided"]

FREE = "free"  # the style name of a prompt without a style hint: the student picks its own form


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


R = TypeVar("R", bound=Record)


def unchecked(record: type[R], values: dict[str, Any]) -> R:
    """`model_construct` of all a record's fields, in a quarter of its time: rows of a table come by the million."""
    made, put = record.__new__(record), object.__setattr__
    put(made, "__dict__", values)
    put(made, "__pydantic_fields_set__", _names(record))
    put(made, "__pydantic_extra__", None)
    put(made, "__pydantic_private__", None)
    return made


@cache
def _names(record: type[Record]) -> set[str]:
    return set(record.model_fields)  # one for all rows: a frozen record never adds to it


class Question(Record):
    """What is asked, and what counts as right.

    `question` is the complete text a solver sees (answer options included). `kind` names the
    comparer in `answers.check`; whatever it needs beyond `gold` (options, tolerance) is in
    `metadata`. `gold` is None only where `questions.require_gold` was switched off.
    """

    id: str
    split: Split
    task: str
    family: str  # the group that scores are broken down by: a template family, a subject
    kind: str  # number | math | choice | yes_no | nli | text | date | reasoning_gym | module:function
    question: str
    gold: str | None
    metadata: dict[str, Any] = Field(default_factory=dict)


class ReasoningPath(Record):
    """One reasoning path that a teacher wrote: what it answered, and what it thought before.

    `text` is the answer, which every check of right and wrong reads; `thought` what came before it, without tags.
    """

    id: str
    round: int = 0  # 0: the teachers' own; n: written by the students of round n - 1
    question_id: str
    teacher: str
    style: str
    sample: int = 0
    prompt_hash: str
    text: str
    answer: str | None  # extracted from `text` by questions.answers; None: nothing could be read
    finish_reason: str = "stop"  # stop | length, or the server's own word; see `llm.finish_reasons`
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0  # US dollars
    thought: str = ""
    thinking: str = "drop"  # what of it trains: drop: the text | keep: thought and text | only: the thought

    @property
    def lesson(self) -> str:
        """What a student learns from it."""
        if self.thinking == "drop" or not (self.thought or self.thinking == "only"):
            return self.text
        return taught(self.thought, self.text) if self.thinking == "keep" else self.thought


def path_id(round: int, question_id: str, teacher: str, style: str, sample: int) -> str:
    """The id of a path, unique and stable over resumes.

    >>> path_id(0, "train-7", "gemini", "program", 1)
    '0/train-7/gemini/program/1'
    """
    return f"{round}/{question_id}/{teacher}/{style}/{sample}"


class Failure(Record):
    """A request that ended without a path: recorded, counted, and asked again on the next run."""

    round: int = 0
    question_id: str
    teacher: str
    style: str
    sample: int = 0
    reason: str
    status: int | None = None  # HTTP status where there was one
    attempts: int = 1


class Verdict(Record):
    """What one check says of one path. `check == "filter"` is the decision all others led to."""

    path_id: str
    round: int = 0
    check: str  # duplicate | truncated | answer | judge | program | ... | filter
    outcome: Outcome
    reason: str = ""
    judge: str | None = None
    vote: int = 0
    confidence: float | None = None  # 0 to 1, as the judge stated it
    quote: str | None = None  # the first wrong step, as the judge quoted it


class Assignment(Record):
    """One (path, student) pair of one training step."""

    round: int = 0
    step: int
    path_id: str
    student: str
    probability: float  # the router's, before sampling; of a rule: 0 or 1
    chosen: bool
    nll: float | None  # nats per response character, the newest measurement; None: never measured
    nll_step: int | None = None  # when it was measured: step - nll_step is its staleness


class Answer(Record):
    """What one student wrote for one question in one style."""

    student: str
    question_id: str
    split: Split
    style: str  # a style's name, or FREE
    sample: int = 0
    text: str
    answer: str | None
    correct: bool | None  # None: undecided (unparsed or ambiguous), counted apart
    reason: str = ""
    logprob: float  # summed over the completion's tokens, nats
    tokens: int  # completion tokens, the end-of-sequence token included
    finish_reason: str = "stop"  # stop | length
    training: Literal["trained", "untrained"] = "trained"  # tables without this column hold trained students only


class Score(Record):
    """One accuracy with its Wilson 95 % interval. `undecided` of the `n` count as not correct."""

    student: str
    split: Split
    style: str
    family: str = "all"
    n: int
    correct: int
    undecided: int
    truncated: int
    accuracy: float
    low: float
    high: float


class Truth(Record):
    """What a teacher planted on purpose. Stored apart: the filter and the router never read it."""

    path_id: str
    label: Literal["sound", "spurious", "wrong"]
    detail: str = ""
