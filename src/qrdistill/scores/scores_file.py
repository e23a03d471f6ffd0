"""scores.json: every figure of a run that is shown, each with n and an interval."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from qrdistill.base.records import Record, Score, Split

Method = Literal["majority", "logprob", "weighted", "self_consistency", "fallback"]


class Difference(Record):
    """first - second on the same questions: bootstrap interval over questions, exact McNemar p."""

    first: str
    second: str
    n: int
    difference: float  # accuracy points as a share: 0.05 is five points
    low: float
    high: float
    only_first: int  # questions that only the first got right
    only_second: int
    p: float


class Headline(Record):
    """One student: prompted with its best style (chosen on dev), and free; beside its untrained self."""

    student: str
    base: bool
    style: str | None  # the best on dev; None where there are no dev questions
    styled: Score | None
    free: Score | None
    styled_gain: Difference | None = None  # over the untrained self, in the same style unless dev chose it another
    free_gain: Difference | None = None


class Gain(Record):
    """What training has changed, on the same questions and prompts: the mean over the students, paired by question."""

    mode: Literal["styled", "free"]
    students: list[str]
    n: int
    untrained: float
    untrained_low: float
    untrained_high: float
    trained: float
    trained_low: float
    trained_high: float
    gain: Difference


class Ensemble(Record):
    """Several answers per question become one."""

    name: str
    method: Method
    members: list[str]  # student/style, in voting order
    weights: list[float] | None = None
    n: int
    correct: int
    undecided: int
    accuracy: float
    low: float
    high: float
    decodes: float  # completions per question, mean
    tokens: float  # completion tokens per question, mean
    against_single: Difference | None = None  # the best single student and style on dev, one decode
    against_equal_cost: Difference | None = None  # self-consistency of that pair, as many decodes
    equal_cost_decodes: float | None = None  # what the other side of that comparison spent


class PassAtK(Record):
    """P[one of k sampled answers is right], unbiased, mean over questions."""

    student: str
    style: str
    k: int
    n: int
    value: float
    low: float
    high: float


class ReliabilityBin(Record):
    confidence: float
    accuracy: float
    n: int


class LogprobCalibration(Record):
    """Does the mean token probability of an answer tell whether it is right? Greedy answers.

    `ece` and `bins` are of the confidence fitted on dev where `fitted`, of the raw probability otherwise.
    """

    student: str
    style: str
    n: int
    auroc: float | None  # None: all right or all wrong
    raw_ece: float
    ece: float
    fitted: bool
    bins: list[ReliabilityBin]


class ChosenStyle(Record):
    """A student's best style, and by what the dev questions chose it (`students.best_style`)."""

    student: str
    style: str
    n: int  # dev questions
    accuracy: dict[str, float]  # of each style
    nll: dict[str, float]  # nats per character of the student's own answers: decides among equals
    tied: list[str]  # the styles with as many right answers; empty where accuracy alone decided


class Scores(Record):
    """The whole of scores.json."""

    version: int = 1
    split: Split
    confidence: float
    students: list[str]
    styles: list[str]
    scores: list[Score]
    best_style: dict[str, str]
    style_choices: list[ChosenStyle] = Field(default_factory=lambda: list[ChosenStyle]())
    headlines: list[Headline]
    gain: Gain | None = None  # None: no untrained student answered; manifest.json says why
    ensembles: list[Ensemble] = Field(default_factory=list[Ensemble])
    pass_at_k: list[PassAtK] = Field(default_factory=list[PassAtK])
    calibration: list[LogprobCalibration] = Field(default_factory=list[LogprobCalibration])
    free_use: dict[str, dict[str, int]] = Field(default_factory=dict)  # student -> style -> free answers
    # student -> share of its answers that were cut where it began another question; only those that did
    rambled: dict[str, float] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
