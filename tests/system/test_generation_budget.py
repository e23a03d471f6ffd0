"""Every attempt is a purchase: whatever the server does, no more is spent than the budget and what is in flight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fault_server import BY_NAME, FREE, KINDS, FaultServer
from generation_runner import DRIPPING, KEY, KEY_NAME, run, teacher

from qrdistill.base.errors import BoundaryError, BudgetError
from qrdistill.llm.config import Price

PER_CHARGE = 0.0001  # ten completion tokens at $10 a million
BUDGET, CONCURRENCY = 0.002, 4


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)


def spend(folder: Path, server: FaultServer, **changes: object) -> type[Exception] | None:
    asked = teacher(
        server.url,
        concurrency=CONCURRENCY,
        price=Price(input=0, output=10),
        timeout=DRIPPING,
        max_attempts=3,
        retry_truncated=4000,
        **changes,
    )
    try:
        run(folder, [asked], 15, budget_usd=BUDGET)
    except (BudgetError, BoundaryError) as error:
        return type(error)
    return None


def always(kind: str) -> Callable[[object, int], str | None]:
    return lambda body, sight: kind


def now_and_then(kind: str) -> Callable[[object, int], str | None]:
    """Every second request goes well, so that no streak of failures ends the run before the budget does."""
    seen: list[int] = []

    def fault(body: object, sight: int) -> str | None:
        seen.append(1)
        return kind if len(seen) % 2 else None

    return fault


@pytest.mark.parametrize("pattern", [always, now_and_then])
@pytest.mark.parametrize("kind", [*KINDS, *BY_NAME])
def test_no_mode_of_the_server_overspends(
    tmp_path: Path, kind: str, pattern: Callable[[str], Callable[[object, int], str | None]]
):
    with FaultServer(fault=pattern(kind), retry_after="0.01") as server:
        ended = spend(tmp_path, server)
        assert round(server.charges * PER_CHARGE, 6) <= BUDGET + CONCURRENCY * PER_CHARGE
        if pattern is now_and_then:
            assert ended is BudgetError
        elif kind in FREE:
            assert server.charges == 0
        first = server.charges
        if ended is BudgetError:  # what came to nothing is remembered too
            assert spend(tmp_path, server) is BudgetError
            assert server.charges == first
