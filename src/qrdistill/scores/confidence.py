"""Does a student's log-probability tell whether its answer is right?

The raw confidence is the mean token probability, exp(logprob / tokens). It ranks answers but is far
too high for a chance of being right: nearly every token of a path is certain. So it is also mapped by
a logistic curve that is fitted on the dev answers (Platt scaling), and that is what calibrates.

Suffixes: N answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qrdistill.scores.ensemble import Ballot, Table, probability_weights
from qrdistill.scores.scores_file import LogprobCalibration, ReliabilityBin
from qrdistill.scores.statistics import calibration

_FEWEST = 20  # dev answers below which no curve is fitted
_NEWTON_STEPS, _CLOSE = 50, 1e-9


def calibrations(table: Table, dev: Table) -> list[LogprobCalibration]:
    """One entry per student and style with greedy answers; `dev` may lack any of them."""
    found: list[LogprobCalibration] = []
    for (student, style, sample), column in table.items():
        if sample != 0:
            continue
        ballots = list(column.values())
        right = [ballot.correct is True for ballot in ballots]
        raw = calibration(probability_weights(ballots), right)
        fitted = fitted_confidence(list(dev.get((student, style, 0), {}).values()), ballots)
        best = raw if fitted is None else calibration(fitted, right)
        found.append(
            LogprobCalibration(
                student=student,
                style=style,
                n=raw.n,
                auroc=None if math.isnan(raw.auroc) else raw.auroc,
                raw_ece=raw.ece,
                ece=best.ece,
                fitted=fitted is not None,
                bins=[ReliabilityBin(**bin._asdict()) for bin in best.bins],
            )
        )
    return found


def fitted_confidence(dev: Sequence[Ballot], ballots: Sequence[Ballot]) -> list[float] | None:
    """P[right] = sigmoid(a * logprob / tokens + b), a and b fitted on dev.

    None where dev has too few answers, or only right or only wrong ones.
    """
    right = [ballot.correct is True for ballot in dev]
    if len(dev) < _FEWEST or len(set(right)) < 2 or not ballots:
        return None

    def features(given: Sequence[Ballot]) -> np.ndarray:
        return np.array([ballot.logprob / max(1, ballot.tokens) for ballot in given])

    dev_N = features(dev)
    centre, spread = dev_N.mean(), dev_N.std() or 1.0
    slope, offset = _logistic((dev_N - centre) / spread, np.array(right, np.float64))
    return (1 / (1 + np.exp(-slope * (features(ballots) - centre) / spread - offset))).tolist()


def _logistic(x_N: np.ndarray, right_N: np.ndarray) -> np.ndarray:
    """(a, b) that minimise sum log(1 + exp(-+(a x + b))) + a^2 / 2, by Newton's method; both outcomes must occur."""
    design_N2 = np.stack((x_N, np.ones_like(x_N)), 1)
    shrink = np.array([1.0, 0.0])

    def cost(given: np.ndarray) -> float:
        z_N = design_N2 @ given
        return float((np.logaddexp(0, z_N) - right_N * z_N).sum() + given @ (shrink * given) / 2)

    found = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        chance_N = 1 / (1 + np.exp(-design_N2 @ found))
        slope = design_N2.T @ (chance_N - right_N) + shrink * found
        bend = (design_N2.T * (chance_N * (1 - chance_N))) @ design_N2 + np.diag(shrink)
        step = np.linalg.solve(bend, slope)
        while cost(found - step) > cost(found) and np.abs(step).max() > _CLOSE:
            step /= 2
        found = found - step
        if np.abs(step).max() < _CLOSE:
            break
    return found
