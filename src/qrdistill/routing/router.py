"""The learned router: a small MLP, straight-through Gumbel-Softmax gates.

Tensor suffixes: N paths of the pool, B paths of a step, S students, F embedding features, K hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qrdistill.base.draws import gumbel, seed_of
from qrdistill.routing.config import RouterConfig
from qrdistill.routing.gates import DevAccuracy, Gates, Pool, Request
from qrdistill.routing.learning_state import State
from qrdistill.routing.loss_ledger import LIMIT, Ledger


class Network(nn.Module):
    """Logits over students from [embedding; learning state].

        u   = GELU(W e + c + sum_s W_s [z_s; sd_s] + w progress)
        l_s = v_s . u + b_s

    z_s is the z-scored current loss of student s on the path, measured or predicted, and sd_s its uncertainty
    (`learning_state.State`); where nothing is known, 0 stands beside the largest. Each student's weights are seeded by its name, so neither the order
    of students nor the presence of another changes them.
    """

    def __init__(
        self, students: Sequence[str], num_features: int, hidden: int, *, learning_state: bool, seed: int
    ) -> None:
        super().__init__()
        self.trunk_KF = nn.Parameter(_normal((hidden, num_features), num_features, seed, "trunk"))
        self.trunk_bias_K = nn.Parameter(torch.zeros(hidden))
        self.head_SK = nn.Parameter(torch.stack([_normal((hidden,), hidden, seed, "head", name) for name in students]))
        self.head_bias_S = nn.Parameter(torch.zeros(len(students)))
        self.learning_state = learning_state
        if learning_state:
            fan_in = 2 * len(students) + 1
            self.state_SK2 = nn.Parameter(
                torch.stack([_normal((hidden, 2), fan_in, seed, "state", name) for name in students])
            )
            self.progress_K = nn.Parameter(_normal((hidden,), fan_in, seed, "progress"))

    def forward(self, features_BF: Tensor, state: State | None, progress: float) -> Tensor:
        """Logits [B, S]; without `state` nothing is known."""
        hidden_BK = features_BF @ self.trunk_KF.T + self.trunk_bias_K
        if self.learning_state:
            unknown_BS = torch.full((len(features_BF), len(self.head_SK)), torch.nan)
            z_BS, sd_BS = (state.relative_BS, state.uncertainty_BS) if state else (unknown_BS, unknown_BS)
            z_BS, sd_BS = z_BS.nan_to_num(0.0), sd_BS.nan_to_num(LIMIT)
            state_BS2 = torch.stack([z_BS, sd_BS], dim=-1).to(features_BF)
            hidden_BK = hidden_BK + torch.einsum("bsi,ski->bk", state_BS2, self.state_SK2)
            hidden_BK = hidden_BK + progress * self.progress_K
        return nn.functional.gelu(hidden_BK) @ self.head_SK.T + self.head_bias_S


class Router:
    """The learned assigner: samples hard gates from the network's logits.

        hard = one_hot(argmax((l + g) / T)),   d hard = d softmax((l + g) / T),   g ~ Gumbel(0, 1)

    The temperature T falls geometrically from `config.temperature[0]` to `[1]` over training. The
    noise is seeded by student, path and step. Source: arXiv 2508.16861, routing.

    >>> pool = Pool(["p", "q"], ["vanilla"] * 2, ("a", "b"), 0, lambda: torch.zeros(2, 2), dict, dict)
    >>> router = Router(pool, RouterConfig(), 4)
    >>> from dataclasses import replace
    >>> from qrdistill.routing.learning_state import LearningState
    >>> features, ledger = torch.randn(2, 4), Ledger(2, ("a", "b"))
    >>> request = Request(np.arange(2), features, ledger, 0, 10)
    >>> state = LearningState(ledger, features, ["vanilla"] * 2).look(request)
    >>> router.gates(replace(request, state=state)).hard_BS.sum(1).tolist()
    [1.0, 1.0]
    """

    def __init__(self, pool: Pool, config: RouterConfig, num_features: int) -> None:
        self._pool, self._config = pool, config
        self.network = Network(
            pool.students, num_features, config.hidden, learning_state=config.learning_state, seed=pool.seed
        )

    def gates(self, request: Request) -> Gates:
        logits_BS = self.network(request.features_BF, request.state, request.progress)
        noise_BS = torch.tensor(
            [
                [gumbel(self._pool.seed, "gumbel", student, path, request.step) for student in self._pool.students]
                for path in (self._pool.path_ids[row] for row in request.rows)
            ],
            dtype=logits_BS.dtype,
        )
        return straight_through(logits_BS, noise_BS, self.temperature(request.progress))

    def temperature(self, progress: float) -> float:
        first, last = self._config.temperature
        return first * (last / first) ** progress

    def prepare(self, ledger: Ledger) -> None: ...

    def eligible_N(self) -> NDArray[np.bool_]:
        return np.ones(len(self._pool.path_ids), dtype=np.bool_)

    def observe(self, accuracy: DevAccuracy) -> None: ...

    def parameters(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    def state_dict(self) -> dict[str, Tensor]:
        return self.network.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(dict(state))


def straight_through(logits_BS: Tensor, noise_BS: Tensor, temperature: float) -> Gates:
    """Gumbel-Softmax gates: the forward value is one-hot, the gradient is the relaxed sample's.

    >>> gates = straight_through(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]), 1.0)
    >>> gates.hard_BS.tolist(), [round(p, 3) for p in gates.soft_BS[0].tolist()]
    ([[0.0, 1.0]], [0.881, 0.119])
    """
    relaxed_BS = ((logits_BS + noise_BS) / temperature).softmax(-1)
    chosen_BS = nn.functional.one_hot(relaxed_BS.argmax(-1), logits_BS.shape[1]).to(relaxed_BS)
    # in this order: relaxed - relaxed.detach() is exactly zero, so the value is exactly one-hot
    return Gates(chosen_BS + (relaxed_BS - relaxed_BS.detach()), logits_BS.softmax(-1))


def _normal(shape: tuple[int, ...], fan_in: int, *keys: str | int) -> Tensor:
    generator = torch.Generator().manual_seed(seed_of("router", *keys))
    return torch.randn(shape, generator=generator) / math.sqrt(fan_in)
