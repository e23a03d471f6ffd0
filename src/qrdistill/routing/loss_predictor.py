"""What each student would pay for a path that it has not read lately: a prediction from all that it has read.

Tensor suffixes: B paths, S students, T styles, F embedding features, D features of the regression (F + styles + 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_FORGET = 0.98  # per step that measured the student: a memory of about 50 steps, as losses fall while training
_RIDGE = 1.0  # prior precision of each weight, in units of the noise's; kept up against forgetting


class LossPredictor:
    """Online ridge regression of each student's current loss on [embedding; one-hot style; 1].

        A_s <- l A_s + X' X + (1 - l) R        b_s <- l b_s + X' y        w_s = A_s^-1 b_s
        mean = w_s . x + m_s                   std = sigma_s sqrt(x' A_s^-1 x)

    y are losses in nats per character, minus the student's own running mean m_s; l is the forgetting factor and R
    the prior precision, which is added back so that directions without news return to the prior instead of growing
    without bound. sigma_s is the residual's running spread. Exact recursive least squares, in float64; students are
    independent of each other.

    >>> predictor = LossPredictor(("a", "b"), num_features=1, styles=("vanilla",))
    >>> x_BF, style_B = torch.tensor([[-1.0], [0.0], [1.0]]), torch.zeros(3, dtype=torch.long)
    >>> for _ in range(50):
    ...     predictor.update(x_BF, style_B, torch.tensor([[1.0, 0.5], [2.0, 0.5], [3.0, float("nan")]]))
    >>> [round(value, 1) for value in predictor.predict(x_BF, style_B)[0][:, 0].tolist()]
    [1.0, 2.0, 3.0]
    """

    def __init__(self, students: Sequence[str], num_features: int, styles: Sequence[str]) -> None:
        self.students, self.styles = tuple(students), tuple(styles)
        self._scale = max(1.0, float(num_features)) ** 0.5  # so that an embedding weighs as much as a style
        size = num_features + len(styles) + 1
        self._prior_DD = _RIDGE * torch.eye(size, dtype=torch.float64)
        self.precision_SDD = self._prior_DD.repeat(len(students), 1, 1)
        self.moment_SD = torch.zeros(len(students), size, dtype=torch.float64)
        # decayed count, sum of losses, weight of residuals, sum of their squares
        self._sums_4S = torch.zeros(4, len(students), dtype=torch.float64)

    @property
    def known_S(self) -> Tensor:
        """bool [S]: the students of whom anything was measured; of the others nothing is predicted."""
        return self._sums_4S[0] > 0

    def predict(self, features_BF: Tensor, style_B: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every student's current loss, nats per character, float64 [B, S].

        NaN for a student of whom nothing was measured yet. `style_B` indexes `styles`; -1: none of them.
        """
        x_BD = self._inputs(features_BF, style_B)
        mean_BS = torch.full((len(x_BD), len(self.students)), torch.nan, dtype=torch.float64)
        std_BS = mean_BS.clone()
        count_S, total_S, seen_S, squares_S = self._sums_4S
        for s in self.known_S.nonzero().flatten().tolist():
            factor_DD = torch.linalg.cholesky(self.precision_SDD[s])
            weights_D = torch.cholesky_solve(self.moment_SD[s, :, None], factor_DD)[:, 0]
            spread_DB = torch.linalg.solve_triangular(factor_DD, x_BD.T, upper=False)
            noise = (squares_S[s] / seen_S[s].clamp_min(1e-9)).clamp_min(1e-8)
            mean_BS[:, s] = x_BD @ weights_D + total_S[s] / count_S[s]
            std_BS[:, s] = (noise * spread_DB.square().sum(0)).sqrt()
        return mean_BS, std_BS

    def update(self, features_BF: Tensor, style_B: Tensor, nll_BS: Tensor) -> None:
        """Enters one step's measurements (nats per character); NaN marks what was not measured."""
        x_BD, nll_BS = self._inputs(features_BF, style_B), nll_BS.detach().to("cpu", torch.float64)
        before_BS, _ = self.predict(features_BF, style_B)
        for s in range(len(self.students)):
            known_B = ~nll_BS[:, s].isnan()
            if not bool(known_B.any()):
                continue
            x_BD_s, y_B = x_BD[known_B], nll_BS[known_B, s]
            self._sums_4S[:, s] *= _FORGET
            self._sums_4S[0, s] += len(y_B)
            self._sums_4S[1, s] += y_B.sum()
            mean = self._sums_4S[1, s] / self._sums_4S[0, s]
            residual_B = y_B - torch.where(before_BS[known_B, s].isnan(), mean, before_BS[known_B, s])
            self._sums_4S[2, s] += len(y_B)
            self._sums_4S[3, s] += residual_B.square().sum()
            self.precision_SDD[s] = _FORGET * self.precision_SDD[s] + x_BD_s.T @ x_BD_s + (1 - _FORGET) * self._prior_DD
            self.moment_SD[s] = _FORGET * self.moment_SD[s] + x_BD_s.T @ (y_B - mean)

    def _inputs(self, features_BF: Tensor, style_B: Tensor) -> Tensor:
        style_BT = torch.zeros(len(style_B), len(self.styles), dtype=torch.float64)
        known_B = style_B >= 0
        style_BT[known_B.nonzero().flatten(), style_B[known_B]] = 1.0
        one_B1 = torch.ones(len(style_B), 1, dtype=torch.float64)
        return torch.cat([features_BF.detach().to("cpu", torch.float64) / self._scale, style_BT, one_B1], dim=1)

    def state_dict(self) -> dict[str, Tensor]:
        return {"precision": self.precision_SDD, "moment": self.moment_SD, "sums": self._sums_4S}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.precision_SDD, self.moment_SD = state["precision"].clone(), state["moment"].clone()
        self._sums_4S = state["sums"].clone()
