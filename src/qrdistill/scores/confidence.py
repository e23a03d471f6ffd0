"""Does a student's log-probability tell whether its answer is right?

The raw confidence is the mean token probability, exp(logprob / tokens). It ranks answers but is far
too high for a chance of being right: nearly every token of a path is certain. So it is also mapped by
a logistic curve that is fitted on the dev answers (Platt scaling), and that is what calibrates.

Suffixes: N answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from qrdistill.scores.ensemble import Ballot, Table, probability_weights
from qrdistill.scores.scores_file import LogprobCalibration, ReliabilityBin
from qrdistill.scores.statistics import calibration

_FEWEST = 20  # dev answers below which no curve is fitted


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
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    def features(given: Sequence[Ballot]) -> np.ndarray:
        return np.array([[ballot.logprob / max(1, ballot.tokens)] for ballot in given])

    dev_N1 = features(dev)
    centre, spread = dev_N1.mean(), dev_N1.std() or 1.0
    model = LogisticRegression().fit((dev_N1 - centre) / spread, right)
    return model.predict_proba((features(ballots) - centre) / spread)[:, 1].tolist()
