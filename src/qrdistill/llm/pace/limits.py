"""What keeps a teacher within its limits: token buckets, and a gate that reacts to refusals and delays.

Own code rather than aiolimiter, because a bucket here must take back what a request was expected but
did not turn out to cost, must not let a whole minute's allowance through at once, and every wait must
end when the run is stopped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from statistics import mean, median

_FIRST = 4  # requests at once, before anything is known of a server
_ROUND = 16  # replies that a latency is the median of, at least
_SLOWER, _MORE = 2.0, 1.1  # times the best round: this much slower, and not this much more a second, is too many
_LESS, _HELD = 0.75, 0.9


class Stop:
    """A wish to end: no new requests, those in flight finish. The first reason given is kept."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._told: list[Callable[[], None]] = []
        self.reason: BaseException | None = None

    def __bool__(self) -> bool:
        return self._event.is_set()

    def now(self, reason: BaseException) -> None:
        self.reason = self.reason or reason
        self._event.set()
        for tell in self._told:
            tell()

    def also(self, tell: Callable[[], None]) -> None:
        """`tell` is called when the run is stopped, so that who waits elsewhere is woken."""
        self._told.append(tell)

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
    """How many requests may be in flight at one address: found out while asking, below a ceiling.

    It starts low and opens by one per reply, until the server says 429 or grows slower without answering more;
    either takes a quarter off, and from then on it opens by one per round (additive increase, multiplicative
    decrease). Only a gate that is full opens further. A `fixed` one begins at its ceiling and looks at no latency.
    """

    def __init__(self, ceiling: int, *, fixed: bool = False) -> None:
        self.ceiling, self._fixed = ceiling, fixed
        self.start()
        self.in_flight = 0
        self.refused = self.slowed = 0  # how often it was narrowed, by which of the two

    def start(self) -> None:
        """As if nothing were known of the server."""
        self._allowed = float(self.ceiling if self._fixed else min(self.ceiling, _FIRST))
        self._searching, self._full = True, False
        self._opens_at = 0.0
        self._round: list[
            tuple[float, int]
        ] = []  # latency in seconds, and how many were in flight when it was asked for
        self._skip = 0  # replies that were asked for before it was narrowed
        self._best: tuple[float, float] | None = None  # latency, replies a second
        self._narrowed_at: float | None = None  # replies a second in the round for which it was narrowed

    @property
    def allowed(self) -> int:
        return max(1, int(self._allowed))

    @property
    def room(self) -> int:
        return self.allowed - self.in_flight

    @property
    def closed_for(self) -> float:
        """Seconds."""
        return max(0.0, self._opens_at - time.monotonic())

    def enter(self) -> int:
        """Returns how many are in flight now; `leave` wants to know."""
        self.in_flight += 1
        self._full = self._full or self.room <= 0
        return self.in_flight

    def leave(self, entered: int, *, seconds: float | None = None) -> None:
        """`seconds` that a reply took; None: there was none."""
        self.in_flight -= 1
        self._full = self._full and 2 * self.in_flight >= self.allowed
        if seconds is None:
            return
        if self._full and self._allowed < self.ceiling:
            step = 1.0 if self._searching else 1 / self._allowed
            self._allowed = min(self.ceiling, self._allowed + step)
        if not self._fixed:
            self._observe(seconds, entered)

    def close_for(self, seconds: float) -> None:
        now = time.monotonic()
        if now >= self._opens_at:  # further refusals of the same burst count once
            self.refused += 1
            self._narrow()
        self._opens_at = max(self._opens_at, now + seconds)

    def _narrow(self) -> None:
        self._skip, self._searching = self.in_flight, False
        self._allowed = max(1.0, _LESS * self._allowed)
        self._round.clear()

    def _observe(self, seconds: float, in_flight: int) -> None:
        """At the end of a round of replies: has it become slower, and not answered more for it?"""
        if self._skip:
            self._skip -= 1
            return
        self._round.append((seconds, in_flight))
        if len(self._round) < (_ROUND if self._searching else max(_ROUND, self.allowed)):
            return
        latency = max(1e-6, median(seconds for seconds, _ in self._round))
        rate = mean(in_flight for _, in_flight in self._round) / latency  # by Little's law: bursts do not blur it
        self._round.clear()
        best = self._best or (latency, rate)
        before, self._narrowed_at = self._narrowed_at, None
        if before is not None and rate < _HELD * before:
            best = latency, rate  # fewer at once answer fewer a second: it was not full, only slower, or replies longer
        elif latency > _SLOWER * best[0] and rate < _MORE * best[1]:
            self.slowed += 1
            self._narrow()
            self._narrowed_at = rate
        elif rate > _MORE * best[1] or latency < best[0]:
            best = latency, rate
        self._best = best
