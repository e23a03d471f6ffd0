"""Watches the router for the two ways in which it fails: collapse, and routing by chance.

Tensor suffixes: B paths, S students.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from qrdistill.base.statistics import assignment_information
from qrdistill.routing.config import COLLAPSE, NEAR_RANDOM


class RouterWatch:
    """Warns once about collapse while training, and at the end about near-random assignment."""

    def __init__(self, students: Sequence[str], window: int) -> None:
        self.students, self.collapsed = students, False
        self._shares: deque[list[float]] = deque(maxlen=window)
        self._entropies: deque[float] = deque(maxlen=window)

    def observe(self, step: int, soft_BS: Tensor) -> str | None:
        """Enters one step's gates; returns the warning where one student takes nearly everything."""
        soft_BS = soft_BS.detach().double()
        self._shares.append(soft_BS.mean(0).tolist())
        self._entropies.append(float(-(soft_BS * soft_BS.clamp_min(1e-12).log()).sum(1).mean()))
        if self.collapsed or len(self.students) < 2 or len(self._shares) < (self._shares.maxlen or 1):
            return None
        share_S = torch.tensor(list(self._shares)).mean(0)
        top = int(share_S.argmax())
        if float(share_S[top]) <= COLLAPSE:
            return None
        self.collapsed = True
        return (
            f"router collapse: over the {len(self._shares)} steps before step {step}, {share_S[top]:.0%} of the "
            f"paths went to {self.students[top]}; raise router.balance or lower router.learning_rate"
        )

    def information(self) -> float:
        """Mutual information of path and student over the window, in nats; at most log S."""
        if not self._shares:
            return 0.0
        return float(assignment_information(list(self._shares), entropy_B=list(self._entropies)))

    def closing(self) -> str | None:
        """The warning where the last steps' assignment hardly depends on the path."""
        if self.collapsed or len(self.students) < 2 or not self._shares:
            return None
        known = self.information() / math.log(len(self.students))
        if known > NEAR_RANDOM:
            return None
        return (
            f"near-random assignment: at the end of training a path tells {known:.1%} of what could be told about "
            "its student; train longer, raise router.learning_rate, or use router.kind random, which costs less"
        )

    def state_dict(self) -> dict[str, Tensor]:
        return {
            "collapsed": torch.tensor(self.collapsed),
            "shares": torch.tensor(list(self._shares), dtype=torch.float64).reshape(-1, len(self.students)),
            "entropies": torch.tensor(list(self._entropies), dtype=torch.float64),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.collapsed = bool(state["collapsed"])
        self._shares.extend(state["shares"].tolist())
        self._entropies.extend(state["entropies"].tolist())
