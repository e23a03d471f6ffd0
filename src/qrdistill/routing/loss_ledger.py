"""The loss ledger: what each student last paid for each path, and when that was.

Tensor suffixes: N paths of the pool, S students, B paths of one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_DECAY = 0.8  # per step, of the sums behind a student's usual loss: a window of about five steps
LIMIT = 3.0  # z-scores are cut here: one absurd path must not steer the router


class Ledger:
    """Last seen NLL of every (path, student) pair, in nats per response character.

    Per character, because tokens belong to a tokenizer. A pair that was never measured is NaN,
    never zero. Beside the value stands its z-score *at the time of measurement*, against the
    student's own recent losses: positive means worse than usual for this student. As losses fall
    while training, an old value read against today's mean would look bad only because it is old.

    >>> ledger = Ledger(num_paths=3, students=("a", "b"))
    >>> ledger.record(np.array([0, 2]), torch.tensor([[0.5, float("nan")], [0.7, 0.2]]), step=4)
    >>> ledger.known_NS.tolist()
    [[True, False], [False, False], [True, True]]
    >>> round(ledger.relative_NS[2, 0].item(), 3), ledger.step_NS[2, 0].item()
    (1.0, 4)
    """

    def __init__(self, num_paths: int, students: Sequence[str]) -> None:
        shape = (num_paths, len(students))
        self.students = tuple(students)
        self.nll_NS = torch.full(shape, torch.nan, dtype=torch.float64)
        self.relative_NS = torch.full(shape, torch.nan, dtype=torch.float64)
        self.step_NS = torch.full(shape, -1, dtype=torch.int64)
        self._sums_3S = torch.zeros(3, len(students), dtype=torch.float64)  # decayed n, sum x, sum x^2

    @property
    def known_NS(self) -> Tensor:
        return self.step_NS >= 0

    def record(self, rows_B: NDArray[np.int64], nll_BS: Tensor, step: int) -> None:
        """Enters one step's measurements; NaN marks what was not measured and leaves no trace."""
        nll_BS = nll_BS.detach().to("cpu", torch.float64)
        known_BS = ~nll_BS.isnan()
        filled_BS = torch.where(known_BS, nll_BS, 0.0)
        fresh_3S = torch.stack([known_BS.double().sum(0), filled_BS.sum(0), filled_BS.square().sum(0)])
        measured_S = fresh_3S[0] > 0
        self._sums_3S = torch.where(measured_S, self._sums_3S * _DECAY + fresh_3S, self._sums_3S)
        rows = torch.from_numpy(rows_B)
        self.nll_NS[rows] = torch.where(known_BS, nll_BS, self.nll_NS[rows])
        self.relative_NS[rows] = torch.where(known_BS, self.standardise(nll_BS), self.relative_NS[rows])
        self.step_NS[rows] = torch.where(known_BS, step, self.step_NS[rows])

    def standardise(self, nll_BS: Tensor) -> Tensor:
        """z-scores against each student's recent losses, cut to [-3, 3]; NaN stays NaN."""
        mean_S = self._sums_3S[1] / self._sums_3S[0].clamp_min(1e-9)
        return ((nll_BS - mean_S) / self.spread_S).clamp(-LIMIT, LIMIT)

    @property
    def spread_S(self) -> Tensor:
        """Standard deviation of each student's recent losses, nats per character."""
        count_S, total_S, square_S = self._sums_3S
        mean_S = total_S / count_S.clamp_min(1e-9)
        return (square_S / count_S.clamp_min(1e-9) - mean_S.square()).clamp_min(1e-8).sqrt()

    def staleness(self, rows_B: NDArray[np.int64], step: int) -> float | None:
        """Mean age, in steps, of the known values of these paths; None where nothing is known."""
        steps = self.step_NS[torch.from_numpy(rows_B)]
        known = steps >= 0
        return float((step - steps[known]).double().mean()) if bool(known.any()) else None

    def state_dict(self) -> dict[str, Tensor]:
        return {
            "nll": self.nll_NS,
            "relative": self.relative_NS,
            "step": self.step_NS,
            "sums": self._sums_3S,
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.nll_NS, self.relative_NS = state["nll"].clone(), state["relative"].clone()
        self.step_NS, self._sums_3S = state["step"].clone(), state["sums"].clone()
