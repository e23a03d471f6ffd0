"""Who reads what: the gates of one step, and the protocol of whatever sets them.

Tensor suffixes: N paths of the pool, B paths of one step, S students, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qrdistill.routing.config import RouterConfig
from qrdistill.routing.loss_ledger import Ledger

if TYPE_CHECKING:
    from qrdistill.routing.learning_state import State

DevAccuracy = Mapping[str, Mapping[str, float]]  # student -> style -> share of dev questions answered right


@dataclass(frozen=True)
class Gates:
    """The assignment of B paths to S students.

    `hard_BS` is 0 or 1; for a learned router it carries the gradient of the relaxed Gumbel-Softmax
    sample (straight-through). `soft_BS` are the router's own probabilities before sampling, rows
    sum to 1; for a rule the same as `hard_BS`.
    """

    hard_BS: Tensor
    soft_BS: Tensor

    @property
    def chosen_BS(self) -> Tensor:
        return self.hard_BS.detach() > 0.5


def pin(gates: Gates, pinned_BS: Tensor) -> Gates:
    """Gives paths with a fixed destination (a student's own) to exactly the students named there.

    Rows of `pinned_BS` (bool) without any True stay as they are; pinned rows carry no gradient.

    >>> gates = Gates(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.full((2, 2), 0.5))
    >>> pin(gates, torch.tensor([[False, False], [False, True]])).hard_BS.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    rows_B1 = pinned_BS.any(1, keepdim=True)
    value_BS = pinned_BS.to(gates.hard_BS.dtype)
    share_BS = value_BS / value_BS.sum(1, keepdim=True).clamp_min(1)
    return Gates(torch.where(rows_B1, value_BS, gates.hard_BS), torch.where(rows_B1, share_BS, gates.soft_BS))


@dataclass(frozen=True)
class Pool:
    """What is to be shared out, fixed before training. Students stand in the order of their names.

    `base_nll_NS` measures every path with every untrained student (nats per character); it costs a
    gradient-free forward over the pool, so only rules that need it call it. `dev_accuracy` decodes
    dev questions in every style with the untrained students; `best_styles` chooses each one's style by it.
    """

    path_ids: Sequence[str]
    styles: Sequence[str]  # each path's
    students: tuple[str, ...]
    seed: int
    base_nll_NS: Callable[[], Tensor]
    dev_accuracy: Callable[[], DevAccuracy]
    best_styles: Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Request:
    """One step's paths: `rows_B` index the pool, `features_BF` are their standardised embeddings."""

    rows_B: NDArray[np.int64]
    features_BF: Tensor
    ledger: Ledger
    step: int
    num_steps: int
    state: State | None = None  # the students' learning state, for a router that reads it

    @property
    def rows(self) -> list[int]:
        return self.rows_B.tolist()

    @property
    def progress(self) -> float:
        """0 at the first step, 1 at the last."""
        return self.step / max(1, self.num_steps - 1)


class Assigner(Protocol):
    """Sets the gates. The training step treats a learned router and a rule alike."""

    def prepare(self, ledger: Ledger) -> None:
        """Measures what it needs, once, before the first step; a resumed run loads the state instead."""

    def eligible_N(self) -> NDArray[np.bool_]:
        """Which paths of the pool any student may be given."""
        ...

    def gates(self, request: Request) -> Gates: ...

    def observe(self, accuracy: DevAccuracy) -> None:
        """A dev evaluation while training."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """What trains: empty for a rule."""
        ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None: ...


Factory = Callable[[Pool, RouterConfig, int], Assigner]  # the number is F, the length of an embedding
