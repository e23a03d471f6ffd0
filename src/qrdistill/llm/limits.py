"""What keeps a teacher within its limits: token buckets, and a gate that reacts to refusals.

Own code rather than aiolimiter, because a bucket here must take back what a request was expected but
did not turn out to cost, must not let a whole minute's allowance through at once, and every wait must
end when the run is stopped.
"""

from __future__ import annotations

import asyncio
import time


class Stop:
    """A wish to end: no new requests, those in flight finish. The first reason given is kept."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason: BaseException | None = None

    def __bool__(self) -> bool:
        return self._event.is_set()

    def now(self, reason: BaseException) -> None:
        self.reason = self.reason or reason
        self._event.set()

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`, or as soon as the run is stopped."""
        if seconds > 0 and not self:
            try:
                async with asyncio.timeout(seconds):
                    await self._event.wait()
            except TimeoutError:
                pass


class Bucket:
    """At most `per_minute` units in a minute, smoothly: one second's worth may pass at once.

    Who takes more than there is goes into debt and waits until it is paid, first come first served.
    A None rate never waits.
    """

    def __init__(self, per_minute: float | None, stop: Stop) -> None:
        self._rate = per_minute / 60 if per_minute else None  # units per second
        self._most = max(1.0, self._rate or 0.0)
        self._level, self._at = self._most, time.monotonic()
        self._stop = stop

    async def take(self, amount: float) -> None:
        if self._rate is None:
            return
        self._accrue(self._rate)
        self._level -= amount
        if self._level < 0:
            await self._stop.sleep(-self._level / self._rate)

    @property
    def limited(self) -> bool:
        return self._rate is not None

    def give_back(self, amount: float) -> None:
        """Corrects an estimate; a negative amount takes more."""
        if self._rate is not None:
            self._accrue(self._rate)
            self._level += amount

    def _accrue(self, rate: float) -> None:
        """Time alone fills it to `_most`; what was given back may stand above."""
        now = time.monotonic()
        self._level = max(self._level, min(self._most, self._level + (now - self._at) * rate))
        self._at = now


class Gate:
    """How many requests may be in flight: the configured number, fewer after the server said 429.

    A refusal takes a quarter off the number and closes the gate for as long as the server asked; every
    success opens it a little further (additive increase, multiplicative decrease).
    """

    def __init__(self, concurrency: int, stop: Stop) -> None:
        self._most, self._allowed = concurrency, float(concurrency)
        self._opens_at = 0.0
        self._stop = stop
        self.in_flight = 0

    async def enter(self) -> None:
        while not self._stop:
            wait = self._opens_at - time.monotonic()
            if wait <= 0 and self.in_flight < max(1.0, self._allowed):
                break
            await self._stop.sleep(max(wait, 0.05))
        self.in_flight += 1

    def leave(self, *, success: bool) -> None:
        self.in_flight -= 1
        if success and self._allowed < self._most:
            self._allowed = min(self._most, self._allowed + 1 / max(1.0, self._allowed))

    def close_for(self, seconds: float) -> None:
        now = time.monotonic()
        if now >= self._opens_at:  # further refusals of the same burst count once
            self._allowed = max(1.0, 0.75 * self._allowed)
        self._opens_at = max(self._opens_at, now + seconds)
