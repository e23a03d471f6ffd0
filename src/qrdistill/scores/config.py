from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qrdistill.base.kinds import KnownName
from qrdistill.base.settings import Settings, ShapesNothing


class EvaluateConfig(Settings):
    split: Literal["dev", "test"] = "test"
    styles: Literal["best_on_dev", "all"] | list[str] = "best_on_dev"
    free: bool = True  # also decode without a style hint
    samples: int = Field(default=1, gt=0)  # 1: greedy; more: that many sampled answers beside the greedy one
    temperature: float = Field(default=0.8, gt=0)
    max_tokens: int = Field(default=160, gt=0)
    batch_size: ShapesNothing[int] = Field(default=64, gt=0)
    vote: bool = True
    vote_above: float = Field(default=0.5, ge=0, lt=1)  # a (student, style) pair votes if dev shows it better
    vote_styles: int = Field(default=3, gt=0)  # at most so many styles of each student vote, its best on dev
    fallback: bool = False  # the filter's judges read each answer; where one does not pass, the next pair is asked
    engine: Annotated[str, KnownName("engines")] = "torch"  # vllm: faster on a GPU, not bit for bit
