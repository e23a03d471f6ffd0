"""What the training step knows of a method: what it asks of a step's paths, and the terms that it adds to the loss.

A method is one class in its own file of `methods/`. The step sums a few components over tokens; a method says
which paths are read by whom, with what weights, and brings whatever trains beside the students. A new one touches
no file of the step.

Tensor suffixes: N paths of the pool, B paths of one step, S students (in the order of their names), T target
tokens of one path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qrdistill.routing.gates import DevAccuracy, Gates, Request
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.students.student import View
from qrdistill.students.tokens import Encoded
from qrdistill.training.data import Material
from qrdistill.training.dev_questions import DevQuestions
from qrdistill.training.optimizers import Group
from qrdistill.training.plan import TrainPlan

TokenWeights = Callable[[int, int], Tensor]  # (student, path of the step) -> [T], one weight per target token


@dataclass(frozen=True)
class StepBatch:
    """One step's paths.

    pinned_BS: the students that paths with a fixed destination go to; other rows are all False. encoded:
    (student, path of the step) -> its tokens. hinted: per path, whether its prompt names its style.
    """

    request: Request
    path_ids: Sequence[str]
    characters_B: Tensor
    pinned_BS: Tensor
    encoded: Callable[[int, int], Encoded]
    hinted: Sequence[bool] = ()


@dataclass(frozen=True)
class Reading:
    """What one method, or all together, ask of a step's paths.

    weights_BS: what the imitation of each pair counts; 0: not learnt from. A negative weight is an advantage:
    the student moves away from the path. token_weights: within a pair, what each target token counts, beside the
    pair's own weight; None: all 1. measured_BS: pairs read without a gradient, for their loss. compared: paths
    that all students read at once, with their hidden states. gates: the assignment behind the weights, if any.
    """

    weights_BS: Tensor
    token_weights: TokenWeights | None = None
    measured_BS: Tensor | None = None
    compared: Sequence[int] = ()
    gates: Gates | None = None


@dataclass(frozen=True)
class Term:
    """One summand of the loss, `weight` times `value`, reported as `value` under `name`.

    aside: it moves only the method's own parameters, so it is no part of the loss that the students descend.
    """

    name: str
    value: Tensor
    weight: float = 1.0
    aside: bool = False


class Method(Protocol):
    """How students learn from a step's paths. Only `name` and `read` must be given."""

    name: str  # under which its state is saved

    def read(self, batch: StepBatch) -> Reading:
        """Which paths are read by whom, with what weights. Called once a step, before any forward."""
        ...

    def agree(
        self, batch: StepBatch, reading: Reading, compared: Sequence[int], views: Mapping[int, View]
    ) -> Sequence[Term]:
        """A micro-batch's terms between students; the micro-batches' sums add up to the step's.

        `compared` stand first, in this order, in each student's view; not all need be this method's.
        """
        return ()

    def settle(self, batch: StepBatch, reading: Reading) -> Sequence[Term]:
        """Its own loss, when every path was read and the ledger knows what each cost."""
        return ()

    def facts(self, batch: StepBatch, reading: Reading) -> Mapping[str, object]:
        """What its part of the step's line in metrics.jsonl says, beside its terms."""
        return {}

    def finish(self, batch: StepBatch, reading: Reading) -> str | None:
        """Called after the updates; a warning where something goes wrong."""

    def close(self) -> str | None:
        """Called after the last step; a warning where training came to nothing."""

    def constant(self) -> Sequence[str]:
        """What it reads and found to be the same for every path, asked after the last step."""
        return ()

    def prepare(self) -> None:
        """Measures what it needs, once, before the first step; a resumed run loads the state instead."""

    def eligible_N(self, num_paths: int) -> NDArray[np.bool_]:
        """Which paths of the pool it may have read; steps draw from the union over methods."""
        return np.ones(num_paths, dtype=np.bool_)

    def observe(self, accuracy: DevAccuracy) -> None:
        """A dev evaluation while training."""

    def groups(self) -> Sequence[Group]:
        """What trains beside the students, with its optimizers."""
        return ()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that shapes its future, optimizers aside: for checkpoints."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None: ...


@dataclass(frozen=True)
class Setting:
    """What a method is built from. `num_features`: the length of an embedding, 0 without any."""

    material: Material
    ledger: Ledger
    plan: TrainPlan
    num_features: int
    seed: int
    dev: DevQuestions

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(student.name for student in self.material.students)


MethodFactory = Callable[[Setting], Method]


def together(readings: Sequence[Reading], encoded: Callable[[int, int], Encoded]) -> Reading:
    """What all methods ask, as one: weights add up, token by token where any method sets them so.

    >>> one, two = Reading(torch.tensor([[1.0, 0.0]])), Reading(torch.tensor([[0.5, 0.5]]), compared=[0])
    >>> both = together([one, two], lambda s, b: Encoded((1,), (2, 3), []))
    >>> both.weights_BS.tolist(), both.compared
    ([[1.5, 0.5]], [0])
    """
    if len(readings) == 1:
        return readings[0]
    weights_BS = readings[0].weights_BS
    for reading in readings[1:]:
        weights_BS = weights_BS + reading.weights_BS
    measured = [reading.measured_BS for reading in readings if reading.measured_BS is not None]
    token_weights = None
    if any(reading.token_weights is not None for reading in readings):
        weights_BS = torch.stack([reading.weights_BS != 0 for reading in readings]).any(0).to(weights_BS)

        def added(s: int, b: int) -> Tensor:
            ones_T = torch.ones(encoded(s, b).num_targets)
            parts = [r.weights_BS[b, s] * (r.token_weights(s, b) if r.token_weights else ones_T) for r in readings]
            return torch.stack(parts).sum(0)

        token_weights = added
    return Reading(
        weights_BS,
        token_weights,
        torch.stack(measured).any(0) if measured else None,
        sorted({path for reading in readings for path in reading.compared}),
        next((reading.gates for reading in readings if reading.gates is not None), None),
    )
