"""What a training is told: the data that it reads, and the settings that it follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qrdistill.base.records import Question, ReasoningPath
from qrdistill.paths.styles import Style
from qrdistill.routing.config import RouterConfig
from qrdistill.students.best_style import StyleTrial
from qrdistill.students.config import StudentConfig
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.pool import Pool


@dataclass(frozen=True)
class TrainData:
    """What is learnt from.

    questions: those of `paths`, where these are records; a `Pool` holds their texts itself. embeddings: one row per path (only a learned router reads them). allowed: path id -> the students that this
    path trains, for paths that are not shared out. dev: what accuracy is measured on while training. token_counts:
    the folder where the paths' token counts are kept between starts. trials: student -> style -> how these very
    students did on the dev questions that choose styles; empty: they are asked. chosen: student -> the style that was
    chosen for it before.
    """

    questions: Mapping[str, Question]
    paths: Sequence[ReasoningPath] | Pool
    styles: Mapping[str, Style]
    embeddings: NDArray[np.float32] | None = None
    allowed: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    dev: Sequence[Question] = ()
    token_counts: Path | None = None
    trials: Mapping[str, Mapping[str, StyleTrial]] = field(default_factory=dict[str, Mapping[str, StyleTrial]])
    chosen: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class TrainPlan:
    """Who learns, and how: the config's sections. dev_tokens: the limit of an answer to a dev question;
    dev_stop: the texts that end one. whole: the training of which this is a part, after its first `begun` steps: the
    learning rate follows its curve; None: this is all of it."""

    students: Sequence[StudentConfig]
    router: RouterConfig
    mutual: MutualConfig
    train: TrainConfig
    dev_tokens: int = 160
    dev_stop: Sequence[str] = ()
    whole: TrainConfig | None = None
    begun: int = 0
