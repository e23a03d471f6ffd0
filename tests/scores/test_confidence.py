import math
import random

import pytest

from qrdistill.scores.confidence import calibrations, fitted_confidence
from qrdistill.scores.ensemble import Ballot


def drawn(seed, number):
    """Answers whose chance of being right is sigmoid(2 + 4 * logprob / tokens)."""
    draw = random.Random(seed)
    found = {}
    for n in range(number):
        mean = -draw.random()
        right = draw.random() < 1 / (1 + math.exp(-(2 + 4 * mean)))
        found[f"q{n}"] = Ballot("1" if right else "2", right, 10 * mean, 10)
    return found


def test_the_curve_fitted_on_dev_calibrates_the_test_answers():
    key = ("anna", "facts", 0)
    (one,) = calibrations({key: drawn(0, 600)}, {key: drawn(1, 600)})
    assert one.fitted
    assert one.n == 600
    assert one.ece < 0.08 < one.raw_ece  # the raw probability is 0.37 to 1 where right is 0.12 to 0.88
    assert 0.7 < one.auroc < 0.9
    ballots = list(drawn(0, 600).values())
    fitted = fitted_confidence(list(drawn(1, 600).values()), ballots)
    for ballot, confidence in list(zip(ballots, fitted, strict=True))[:50]:
        assert confidence == pytest.approx(1 / (1 + math.exp(-(2 + 4 * ballot.logprob / 10))), abs=0.12)


def test_without_enough_dev_answers_the_raw_probability_stays():
    key = ("anna", "facts", 0)
    (one,) = calibrations({key: drawn(0, 50)}, {key: drawn(1, 5)})
    assert not one.fitted
    assert one.ece == one.raw_ece
    (alone,) = calibrations({key: drawn(0, 50)}, {})
    assert alone == one
    right = {"q": Ballot("1", True, -1.0, 10)}
    assert calibrations({key: right}, {key: drawn(1, 50)})[0].auroc is None


def test_sampled_answers_are_left_out():
    assert calibrations({("anna", "facts", 1): drawn(0, 5)}, {}) == []
