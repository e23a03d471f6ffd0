"""The budget's own arithmetic, at its boundary."""

from __future__ import annotations

import pytest

from qrdistill.llm.live_counts import Budget
from qrdistill.llm.reply_cache import Reply


@pytest.mark.parametrize(("count", "reached"), [(9, False), (10, True), (11, True)])
def test_a_budget_is_reached_exactly_at_its_number(count: int, reached: bool):
    reply = Reply("x", prompt_tokens=60, completion_tokens=40, cost=0.0001)  # ten are 0.0009999999999999998
    dollars, tokens = Budget(usd=0.001), Budget(tokens=1000)
    for _ in range(count):
        dollars.spend(reply)
        tokens.spend(reply)
    assert (dollars.exceeded() is not None) is reached
    assert (tokens.exceeded() is not None) is reached


def test_a_budget_of_nothing_is_reached_before_anything_is_bought():
    assert Budget(usd=0.0).exceeded()
    assert Budget(tokens=0).exceeded()
    assert Budget().exceeded() is None
