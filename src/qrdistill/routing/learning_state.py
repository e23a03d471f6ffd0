"""The students' learning state: what every student would pay for a path now, for paths it has not read lately too.

Tensor suffixes: N paths of the pool, B paths of one step, S students, F embedding features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qrdistill.base.draws import uniform
from qrdistill.routing.gates import Request
from qrdistill.routing.loss_ledger import LIMIT, Ledger
from qrdistill.routing.loss_predictor import LossPredictor

_FRESH = 20  # steps for which a measurement beats the prediction: what was learnt since then shifts it
_LOOKED_AT = 2000  # paths whose state is looked at for being constant


class State(NamedTuple):
    """Of the paths of one step and every student: z-scored current loss, its standard deviation in the same unit
    (0 where it was measured), and the predicted loss in nats per character. NaN where nothing is known yet."""

    relative_BS: Tensor
    uncertainty_BS: Tensor
    predicted_BS: Tensor

    @property
    def known_B(self) -> Tensor:
        """bool [B]: the paths for which every student's state is known."""
        return ~self.relative_BS.isnan().any(1)


class LearningState:
    """Measured losses where they are fresh, predicted ones everywhere else.

    A loss that is known only after a path was drawn is no state: where the pool is larger than the training, it
    never exists when the router decides.
    """

    def __init__(self, ledger: Ledger, features_NF: Tensor, styles: Sequence[str]) -> None:
        """styles: each path's."""
        names = sorted(set(styles))
        self.ledger = ledger
        self._features_NF = features_NF
        self._style_N = torch.from_numpy(np.fromiter(map(names.index, styles), np.int64, len(styles)))
        self.predictor = LossPredictor(ledger.students, features_NF.shape[1], names)

    def look(self, request: Request, fresh: int = _FRESH) -> State:
        """The state at a step; measurements up to `fresh` steps old stand for themselves."""
        rows = torch.from_numpy(request.rows_B)
        mean_BS, std_BS = self.predictor.predict(request.features_BF, self._style_N[rows])
        measured_BS = self.ledger.step_NS[rows] >= max(0, request.step - fresh)
        relative_BS = torch.where(measured_BS, self.ledger.relative_NS[rows], self.ledger.standardise(mean_BS))
        uncertainty_BS = torch.where(measured_BS, 0.0, (std_BS / self.ledger.spread_S).clamp_max(LIMIT))
        return State(relative_BS, uncertainty_BS, mean_BS)

    def learn(self, request: Request, counts_B: Tensor) -> None:
        """Enters what this step measured; paths with `counts_B` False are nobody's choice and teach nothing."""
        rows = torch.from_numpy(request.rows_B)
        now_BS = (self.ledger.step_NS[rows] == request.step) & counts_B[:, None]
        nll_BS = torch.where(now_BS, self.ledger.nll_NS[rows], torch.nan)
        self.predictor.update(request.features_BF, self._style_N[rows], nll_BS)

    def start(self, rows: Sequence[int], nll_BS: Tensor) -> None:
        """Enters what was measured before the first step: nats per character of these paths."""
        index = torch.tensor(rows, dtype=torch.long)
        self.ledger.record(index.numpy(), nll_BS, step=0)
        self.predictor.update(self._features_NF[index], self._style_N[index], nll_BS)

    def constant(self) -> list[str]:
        """The students whose state does not tell one path from another, over up to `_LOOKED_AT` of the pool's."""
        num_paths = len(self._style_N)
        rows_B = np.arange(0, num_paths, max(1, -(-num_paths // _LOOKED_AT)))
        if len(rows_B) < 2:
            return []
        last = int(self.ledger.step_NS.max())
        request = Request(rows_B, self._features_NF[torch.from_numpy(rows_B)], self.ledger, max(0, last), last + 1)
        known_BS = self.look(request).relative_BS.nan_to_num(0.0)
        return [name for name, own_B in zip(self.ledger.students, known_BS.T, strict=True) if own_B.eq(own_B[0]).all()]

    def state_dict(self) -> dict[str, Tensor]:
        return self.predictor.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.predictor.load_state_dict(state)


def stratified(path_ids: Sequence[str], styles: Sequence[str], size: int, seed: int) -> list[int]:
    """Rows of a sample in which every style has its share of the pool, at least one path; by lot, in pool order.

    >>> stratified(["a", "b", "c", "d"], ["x", "x", "x", "y"], 2, 0)[-1]
    3
    """
    if size >= len(path_ids):
        return list(range(len(path_ids)))
    names = sorted(set(styles))
    style_N = np.fromiter((names.index(style) for style in styles), np.int64, len(styles))
    chosen: list[int] = []
    for place in range(len(names)):
        rows = np.flatnonzero(style_N == place)
        lots = np.fromiter((uniform(seed, "warm", path_ids[row]) for row in rows.tolist()), np.float64, len(rows))
        drawn = np.argsort(lots, kind="stable")[: max(1, round(size * len(rows) / len(path_ids)))]
        chosen += rows[drawn].tolist()
    return sorted(chosen)


def correlation(predicted_B: Tensor, measured_B: Tensor) -> float | None:
    """Pearson's r over the pairs that have both; None for fewer than three, or where one side is constant."""
    both_B = ~(predicted_B.isnan() | measured_B.isnan())
    if int(both_B.sum()) < 3:
        return None
    r = float(torch.corrcoef(torch.stack([predicted_B[both_B].double(), measured_B[both_B].double()]))[0, 1])
    return None if r != r else r
