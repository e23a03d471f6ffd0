from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qrdistill.base.kinds import KnownName
from qrdistill.base.settings import Settings, ShapesNothing


class MutualConfig(Settings):
    """Mutual-student distillation; weight 0 switches it off."""

    weight: float = Field(default=0.0, ge=0)
    dimension: int = Field(default=64, gt=0)  # of the shared space
    share: float = Field(default=0.25, gt=0, le=1)  # of each step's paths that every student reads
    span: Literal["step", "word"] = "step"  # what is pooled and compared: lines, or words
    gate: Literal["ensemble", "better_peer"] = "ensemble"  # better_peer: only towards a better student
    learning_rate: float = Field(default=1e-3, gt=0)  # of projectors and competence net


class TrainConfig(Settings):
    steps: int = Field(default=200, ge=0)
    seed: int | None = Field(default=None, ge=0)  # of order, router and dropout; None: the run's
    paths_per_step: int = Field(default=32, gt=0)  # drawn from the pool; routing shares them out
    order: Literal["paths", "questions"] = "paths"  # questions: one question's paths meet in one step
    max_tokens_per_batch: ShapesNothing[int] = Field(default=4096, gt=0)  # per forward, per student
    warmup: int = Field(default=20, ge=0)  # steps
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float = Field(default=1.0, gt=0)  # gradient norm, per student
    style_dropout: float = Field(default=0.1, ge=0, le=1)  # share of training prompts without their style's hint
    shared_prefix: bool = True
    checkpoint_every: ShapesNothing[int] = Field(default=50, gt=0)  # steps
    checkpoint_minutes: ShapesNothing[float | None] = Field(default=None, gt=0)  # and at least this often
    keep_last: ShapesNothing[int] = Field(default=2, gt=0)
    eval_every: int | None = None  # steps between dev evaluations; None: none while training
    eval_questions: int = Field(default=50, gt=0)
    patience: int | None = None  # dev evaluations without a better mean accuracy before stopping
    device: ShapesNothing[str] = "auto"
    autocast: Literal["none", "bfloat16", "float16"] = "none"
    gradient_checkpointing: ShapesNothing[bool] = False
    compile: bool = False
    track: ShapesNothing[list[Annotated[str, KnownName("trackers")]]] = []
