from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from qrdistill.base.plugins.kinds import KnownName
from qrdistill.base.settings import Settings, ShapesNothing
from qrdistill.training.mesh.config import MeshConfig


class MutualConfig(Settings):
    """Mutual-student distillation; weight 0 switches it off."""

    weight: float = Field(default=0.0, ge=0)
    """Of the agreement term in the loss; 0 switches it off."""
    dimension: int = Field(default=64, gt=0)
    """Of the shared space that hidden states are projected into."""
    share: float = Field(default=0.25, gt=0, le=1)
    """Share of each step's paths that every student reads."""
    span: Literal["step", "word"] = "step"
    """What is pooled and compared: lines (`step`) or words."""
    gate: Literal["ensemble", "better_peer"] = "ensemble"
    """Towards whom a student moves: the `ensemble`, or a `better_peer` only."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Of the projectors and the competence net."""


class TrainConfig(Settings):
    """The joint training of all students."""

    steps: int | None = Field(default=None, ge=0)
    """Optimizer steps; 0: the students stay as they are; null: as many as `epochs` takes."""
    epochs: float = Field(default=3.0, gt=0)
    """How often each kept path is drawn, where `steps` is null."""
    seed: int | None = Field(default=None, ge=0)
    """Of order, router and dropout; null: the run's."""
    paths_per_step: int = Field(default=32, gt=0)
    """Paths drawn from the pool for one step; routing shares them out among the students."""
    order: Literal["paths", "questions"] = "paths"
    """`questions`: one question's paths meet in one step; `paths`: any order."""
    methods: list[Annotated[str, KnownName("methods")]] = []
    """How students learn from the paths: routed_imitation, hidden_agreement, or a registered method; none named: the
    first, and the second where mutual.weight is above 0."""
    max_tokens_per_batch: ShapesNothing[int] = Field(default=4096, gt=0)
    """Tokens of one forward pass per student; a step takes as many passes as it needs."""
    warmup: int = Field(default=20, ge=0)
    """Steps in which the learning rate rises from 0."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of a student's gradient."""
    loss: Literal["nll", "dft"] = "nll"
    """What a token costs: its negative log-likelihood, or that times the probability which the student gives it, held
    constant (`dft`, arXiv 2508.05629): unlikely tokens pull less."""
    max_path_tokens: int | None = Field(default=None, gt=0)
    """Paths that are longer in some student's tokens are kept out of training and counted; null: no limit."""
    style_dropout: float = Field(default=0.1, ge=0, le=1)
    """Share of training prompts without their style's hint."""
    closing_line: bool = False
    """Students too are asked for the line that teachers close with (`End with: The answer is N.`), whenever they are
    trained, sampled or measured: what an untrained one gets wrong is then its reasoning, not its form."""
    shared_prefix: bool = True
    """Compute a question once for all of its paths in a batch."""
    checkpoint_every: ShapesNothing[int] = Field(default=50, gt=0)
    """Steps between checkpoints."""
    keep_last: ShapesNothing[int] = Field(default=2, gt=0)
    """Checkpoints that are kept while training goes on."""
    keep_finished: ShapesNothing[bool] = False
    """Keep them when training is finished too; each takes up to three times a student's size."""
    eval_every: int | None = Field(default=None, gt=0)
    """Steps between dev evaluations; null: none while training."""
    eval_questions: int = Field(default=50, gt=0)
    """Dev questions of such an evaluation."""
    patience: int | None = Field(default=None, gt=0)
    """Dev evaluations in a row without a better mean accuracy before training stops; null: never."""
    device: ShapesNothing[str] = "auto"
    """`cpu`, `cuda`, `cuda:1`, or `auto`: a GPU where there is one; for training, embedding and evaluation."""
    autocast: Literal["auto", "none", "bfloat16", "float16"] = "auto"
    """Run forward passes in this type; float16 losses are scaled. auto: bfloat16 on a GPU that has it, none elsewhere."""
    gradient_checkpointing: ShapesNothing[bool | Literal["auto"]] = "auto"
    """Recompute activations in the backward pass: less memory, about a third more time. auto: where they would not fit
    into the memory that is free."""
    compile: bool = False
    """Pass the students through torch.compile."""
    mesh: ShapesNothing[MeshConfig] = MeshConfig()
    """How several processes share the training, started with torchrun."""
    track: ShapesNothing[list[Annotated[str, KnownName("trackers")]]] = []
    """Also send config, metrics and scores to tensorboard, wandb, trackio or a registered tracker."""

    @property
    def num_steps(self) -> int:
        """`steps`, once they are known."""
        assert self.steps is not None, "with_steps comes first"
        return self.steps

    def with_steps(self, num_paths: int) -> TrainConfig:
        """The same with `steps` given, for a pool of `num_paths`.

        >>> TrainConfig(epochs=2, paths_per_step=8).with_steps(20).steps
        5
        """
        if self.steps is not None:
            return self
        drawn = max(1, min(self.paths_per_step, num_paths))
        return self.model_copy(update={"steps": math.ceil(self.epochs * num_paths / drawn)})
