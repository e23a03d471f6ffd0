from __future__ import annotations

from typing import Literal

from pydantic import Field

from qrdistill.base.settings import Settings


class OwnPathsConfig(Settings):
    """How the students' own paths join the pool."""

    rounds: int = Field(default=0, ge=0)  # of sampling, filtering and training on; 0: none
    warm_share: float = Field(default=0.2, gt=0, lt=1)  # of train.steps, spent on the teachers' paths first
    ask: Literal["all", "gaps"] = "gaps"  # gaps: only where the student's style has no kept path yet
    samples: int = Field(default=8, gt=0)  # paths per question that is asked, and student
    temperature: float = Field(default=0.8, gt=0)
    max_tokens: int = Field(default=160, gt=0)
    peers: Literal["own", "peer", "fill"] = "fill"  # fill: a peer's path only where the student has none
    gold: bool = True  # False: where no teacher path was kept, the students' agreement stands in for gold
    min_agreement: float = Field(default=0.6, gt=0, le=1)  # share of the sampled paths that state one answer
    restart: bool = False  # train each round from the base weights instead of going on
    ask_teachers: bool = False  # each round also asks the teachers again, for the questions without a kept path
