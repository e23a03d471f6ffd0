from __future__ import annotations

import math

import pytest

from qrdistill.base.draws import gumbel, seed_of, uniform


def test_uniform_draws_fill_the_open_interval_evenly() -> None:
    draws = [uniform("even", index) for index in range(4000)]
    assert all(0 < draw < 1 for draw in draws)
    assert sum(draws) / len(draws) == pytest.approx(0.5, abs=0.02)
    assert sum(draw < 0.25 for draw in draws) / len(draws) == pytest.approx(0.25, abs=0.02)


def test_gumbel_draws_have_the_mean_and_spread_of_a_standard_gumbel() -> None:
    draws = [gumbel("noise", index) for index in range(4000)]
    mean = sum(draws) / len(draws)
    assert mean == pytest.approx(0.5772, abs=0.06)  # Euler's constant
    assert math.sqrt(sum((draw - mean) ** 2 for draw in draws) / len(draws)) == pytest.approx(
        math.pi / 6**0.5, abs=0.08
    )


def test_a_seed_depends_on_every_name_and_on_their_order() -> None:
    assert len({seed_of("a", "b"), seed_of("b", "a"), seed_of("ab"), seed_of("a", 1), seed_of("a", 2)}) == 5
    assert 0 <= seed_of("a") < 2**63
