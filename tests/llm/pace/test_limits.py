"""Buckets and the gate, on a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from qrdistill.llm.pace import limits
from qrdistill.llm.pace.endpoints import Endpoint, Endpoints
from qrdistill.llm.pace.limits import Bucket, Gate, Stop


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


def one_address(gate: Gate, stop: Stop) -> Endpoints:
    return Endpoints([Endpoint("here", lambda: pytest.fail("nothing is asked"), gate)], stop, lambda message: None)


def test_a_refusal_closes_the_gate_and_narrows_it(clock: Clock):
    async def work() -> None:
        gate = Gate(8, fixed=True)
        doors = one_address(gate, ClockStop(clock))
        [here] = doors.all
        for _ in range(8):
            await doors.enter()
        gate.close_for(10)
        gate.close_for(5)  # of the same burst: counts once, shortens nothing
        for _ in range(8):
            doors.leave((here, 8))
        for _ in range(6):
            await doors.enter()
        assert clock.now >= 10
        assert gate.in_flight == 6, "three quarters of eight"
        seventh = asyncio.create_task(doors.enter())
        await asyncio.sleep(0.01)
        assert not seventh.done()
        doors.leave((here, 6), seconds=1.0)
        assert await asyncio.wait_for(seventh, 5) == (here, 6), "who waits is let in as soon as one has left"
        assert (gate.refused, gate.slowed) == (1, 0)

    run(work)


class Server:
    """Answers `capacity` requests at a time, a second each; the others wait for their turn."""

    def __init__(self, gate: Gate, clock: Clock, capacity: int) -> None:
        self.gate, self.clock, self.capacity = gate, clock, capacity
        self.seconds = 1.0
        self._free = [0.0] * capacity  # when each place is free again
        self._under_way: list[tuple[float, float, int]] = []  # end, begin, in flight

    def answer(self, number: int) -> list[int]:
        """Keeps the gate full for so many replies; what it lets in, after each."""
        found: list[int] = []
        for _ in range(number):
            while self.gate.room > 0:
                place = min(range(self.capacity), key=self._free.__getitem__)
                end = max(self.clock.now, self._free[place]) + self.seconds
                self._free[place] = end
                self._under_way.append((end, self.clock.now, self.gate.enter()))
            first = min(self._under_way)
            self._under_way.remove(first)
            self.clock.now, begun, entered = first
            self.gate.leave(entered, seconds=self.clock.now - begun)
            found.append(self.gate.allowed)
        return found


@pytest.mark.parametrize("capacity", [4, 16, 40])
def test_it_finds_how_many_a_server_can_answer_at_once(clock: Clock, capacity: int):
    gate = Gate(256)
    found = Server(gate, clock, capacity).answer(8000)
    assert min(found[2000:]) >= capacity, "never idle"
    assert max(found[2000:]) <= 3 * capacity + 16, "nor a long queue"
    assert gate.slowed > 0


def test_a_server_that_keeps_up_is_asked_up_to_the_ceiling_within_a_few_rounds(clock: Clock):
    gate = Gate(64)
    assert gate.allowed < 64
    assert Server(gate, clock, 1000).answer(130)[-1] == 64
    assert (gate.refused, gate.slowed) == (0, 0)


def test_a_server_that_is_slower_for_everyone_is_not_starved(clock: Clock):
    gate = Gate(32)
    server = Server(gate, clock, 1000)
    server.answer(400)
    server.seconds = 5.0
    found = server.answer(2000)
    assert gate.slowed >= 1, "a rise of the latency alone counts"
    assert min(found) >= 12
    assert found[-1] == 32, "fewer at once did not help"


def test_a_gate_that_is_never_full_stays_where_it_is(clock: Clock):
    gate = Gate(64)
    for _ in range(200):
        entered = gate.enter()
        clock.now += 1
        gate.leave(entered, seconds=1.0)
    assert gate.allowed < 8


def test_a_stop_ends_every_wait():
    async def work() -> None:
        stop = Stop()
        bucket, doors = Bucket(1, stop), one_address(Gate(1), stop)
        await doors.enter()
        await bucket.take(1)
        waits = [asyncio.create_task(wait) for wait in (bucket.take(5), doors.enter(), stop.sleep(100))]
        await asyncio.sleep(0.01)
        first = ValueError("first")
        stop.now(first)
        stop.now(ValueError("second"))
        async with asyncio.timeout(2):
            await asyncio.gather(*waits)
        assert stop.reason is first

    run(work)
