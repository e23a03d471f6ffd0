"""Buckets and the gate, on a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from qrdistill.llm import limits
from qrdistill.llm.limits import Bucket, Gate, Stop


class Clock:
    """Stands in for time: sleeping moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class ClockStop(Stop):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    async def sleep(self, seconds: float) -> None:
        self._clock.now += max(0.0, seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    return clock


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


@pytest.mark.parametrize("per_minute", [6, 60, 600, 100_000])
def test_no_minute_holds_more_than_its_rate_and_a_second(clock: Clock, per_minute: float):
    times: list[float] = []

    async def work() -> None:
        bucket = Bucket(per_minute, ClockStop(clock))
        for _ in range(200):
            await bucket.take(1)
            times.append(clock.now)

    run(work)
    for start in times[::17]:
        within = sum(start <= moment < start + 60 for moment in times)
        assert within <= per_minute + max(1, per_minute / 60) + 1
    if per_minute <= 600:  # and it is not slower than it has to be
        assert times[-1] == pytest.approx((200 - max(1, per_minute / 60)) * 60 / per_minute, rel=0.02)


def test_what_was_not_used_is_given_back(clock: Clock):
    async def work() -> None:
        bucket = Bucket(6000, ClockStop(clock))  # 100 a second
        await bucket.take(1000)  # an estimate: waits for its debt
        assert clock.now == pytest.approx(9.0)
        bucket.give_back(950)
        await bucket.take(900)
        assert clock.now == pytest.approx(9.0), "no wait: the estimate was far too high"

    run(work)


def test_no_rate_never_waits(clock: Clock):
    async def work() -> None:
        bucket = Bucket(None, ClockStop(clock))
        for _ in range(1000):
            await bucket.take(1e9)

    run(work)
    assert clock.now == 0


def test_a_refusal_closes_the_gate_and_narrows_it(clock: Clock):
    async def work() -> None:
        gate = Gate(8, ClockStop(clock))
        for _ in range(8):
            await gate.enter()
        gate.close_for(10)
        gate.close_for(5)  # of the same burst: counts once, shortens nothing
        for _ in range(8):
            gate.leave(success=False)
        entered = 0
        while entered < 6:
            await gate.enter()
            entered += 1
        assert clock.now >= 10
        assert gate.in_flight == 6, "three quarters of eight"
        before = clock.now
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await gate.enter()
        assert clock.now > before
        for _ in range(6):
            gate.leave(success=True)
        for _ in range(20):  # successes widen it again
            await gate.enter()
            gate.leave(success=True)
        now = clock.now
        for _ in range(8):
            await gate.enter()
        assert clock.now == now

    run(work)


def test_a_stop_ends_every_wait():
    async def work() -> None:
        stop = Stop()
        bucket, gate = Bucket(1, stop), Gate(1, stop)
        await gate.enter()
        await bucket.take(1)
        waits = [asyncio.create_task(wait) for wait in (bucket.take(5), gate.enter(), stop.sleep(100))]
        await asyncio.sleep(0.01)
        first = ValueError("first")
        stop.now(first)
        stop.now(ValueError("second"))
        async with asyncio.timeout(2):
            await asyncio.gather(*waits)
        assert stop.reason is first

    run(work)
