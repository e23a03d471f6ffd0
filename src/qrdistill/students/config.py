from __future__ import annotations

from typing import Literal

from pydantic import Field

from qrdistill.settings import Settings


class LoraSettings(Settings):
    rank: int = Field(default=8, gt=0)
    alpha: float = Field(default=32.0, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: list[str] | Literal["all-linear"] = ["q_proj", "v_proj"]
    rslora: bool = False
    dora: bool = False


class StudentConfig(Settings):
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    model: str  # a folder (relative to the config file), a hub id, or lab:<name>
    lora: LoraSettings | None = None  # None: all weights train
    quantize: Literal["nf4"] | None = None
    double_quantize: bool = True
    learning_rate: float = Field(default=2e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    frozen: bool = False  # measured and routed to, never trained
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    trust_remote_code: bool = False
    max_context: int | None = None  # tokens; None: the model's own


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
    rounds: int = Field(default=0, ge=0)
    paths_per_step: int = Field(default=32, gt=0)  # drawn from the pool; routing shares them out
    order: Literal["paths", "questions"] = "paths"  # questions: one question's paths meet in one step
    max_tokens_per_batch: int = Field(default=4096, gt=0)  # per forward, per student
    warmup: int = Field(default=20, ge=0)  # steps
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float = Field(default=1.0, gt=0)  # gradient norm, per student
    style_dropout: float = Field(
        default=0.1, ge=0, le=1
    )  # share of training prompts without their style's hint
    shared_prefix: bool = True
    checkpoint_every: int = Field(default=50, gt=0)  # steps
    checkpoint_minutes: float | None = Field(default=None, gt=0)  # and at least this often
    keep_last: int = Field(default=2, gt=0)
    eval_every: int | None = None  # steps between dev evaluations; None: none while training
    eval_questions: int = Field(default=50, gt=0)
    patience: int | None = None  # dev evaluations without a better mean accuracy before stopping
    device: str = "auto"
    autocast: Literal["none", "bfloat16", "float16"] = "none"
    gradient_checkpointing: bool = False
    compile: bool = False
    track: list[Literal["tensorboard", "wandb", "trackio"]] = []


class RoundsConfig(Settings):
    """How the students' own paths join the pool (`train.rounds` > 0)."""

    warm_share: float = Field(default=0.2, gt=0, lt=1)  # of train.steps, spent on the teachers' paths first
    ask: Literal["all", "gaps"] = "gaps"  # gaps: only where the student's style has no kept path yet
    samples: int = Field(default=8, gt=0)  # paths per question that is asked, and student
    temperature: float = Field(default=0.8, gt=0)
    max_tokens: int = Field(default=160, gt=0)
    peers: Literal["own", "peer", "fill"] = "fill"  # fill: a peer's path only where the student has none
    gold: bool = True  # False: where no teacher path was kept, the students' agreement stands in for gold
    min_agreement: float = Field(default=0.6, gt=0, le=1)  # share of the sampled paths that state one answer
    restart: bool = False  # train each round from the base weights instead of going on
