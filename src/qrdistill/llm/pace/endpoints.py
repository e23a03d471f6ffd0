"""The addresses at which one teacher is asked: balanced, each with its own gate, and left alone while one is down."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property

from qrdistill.llm.client import ChatClient, Refused, TellsHealth, Transient
from qrdistill.llm.pace.limits import Gate, Stop

LONGEST_PAUSE = 900.0  # seconds; a server that asks to wait longer has a daily limit
_FAULTS_IN_A_ROW = 3  # 5xx, time-outs: then the other addresses are asked instead
_FIRST_REST, _LONGEST_REST = 2.0, 60.0  # seconds until an address that is down is looked at again
_OTHER_TEACHER = frozenset({401, 403, 404})  # one address among several that refuses so is set up wrongly


class Endpoint:
    """One address."""

    def __init__(self, url: str, make_client: Callable[[], ChatClient], gate: Gate) -> None:
        self.url, self.gate = url, gate
        self._make_client = make_client
        self.down_until: float | None = None  # None: it is up
        self.reason = ""
        self._rest, self._faults = _FIRST_REST, 0
        self.looking = False

    @cached_property
    def client(self) -> ChatClient:
        return self._make_client()

    async def close(self) -> None:
        if "client" in vars(self):
            await self.client.close()

    def went_well(self) -> None:
        self._faults, self._rest = 0, _FIRST_REST

    def is_down_after(self, fault: Transient | Refused) -> bool:
        """Whether a fault is one of the address rather than of the request or the moment."""
        if isinstance(fault, Refused):
            return fault.status in _OTHER_TEACHER
        self._faults += fault.status != 429
        return (
            fault.unreachable
            or fault.daily
            or (fault.retry_after or 0) > LONGEST_PAUSE
            or self._faults >= _FAULTS_IN_A_ROW
        )

    def rest(self, reason: str, seconds: float | None = None) -> float:
        """Takes it down for a while, longer every time; returns how long."""
        seconds = seconds or self._rest
        self._rest = min(_LONGEST_REST, 2 * self._rest)
        self.down_until, self.reason, self._faults = time.monotonic() + seconds, reason, 0
        return seconds

    async def is_back(self) -> bool:
        """Asks for its list of models, which costs nothing."""
        client = self.client
        if isinstance(client, TellsHealth) and not await client.alive():
            return False
        self.down_until = None
        self.gate.start()
        return True


class Endpoints:
    """`enter` waits for room at one of them, and counts the request in; `leave` counts it out.

    The last one that is up is never taken down: what it answers decides what becomes of a request.
    """

    def __init__(self, endpoints: Sequence[Endpoint], stop: Stop, log: Callable[[str], None]) -> None:
        self.all, self._stop, self._log = endpoints, stop, log
        self._waiting: deque[asyncio.Future[None]] = deque()
        stop.also(lambda: self._wake(len(self._waiting)))

    @property
    def in_flight(self) -> int:
        return sum(endpoint.gate.in_flight for endpoint in self.all)

    def __str__(self) -> str:
        allowed = sum(endpoint.gate.allowed for endpoint in self.all if endpoint.down_until is None)
        return f"{allowed}/{sum(endpoint.gate.ceiling for endpoint in self.all)}"

    def settled_at(self) -> str:
        """Where it ended and why, as one line; empty where nothing held it back."""
        return "; ".join(
            f"{endpoint.url}: {endpoint.gate.allowed} of {endpoint.gate.ceiling} at once in the end (told to wait "
            f"{endpoint.gate.refused} times, slower without answering more {endpoint.gate.slowed} times)"
            for endpoint in self.all
            if endpoint.gate.refused or endpoint.gate.slowed
        )

    def prepare(self) -> None:
        """Makes the clients; raises ConfigError or InputError where this teacher cannot be asked at all."""
        for endpoint in self.all:
            _ = endpoint.client

    async def close(self) -> None:
        for endpoint in self.all:
            await endpoint.close()

    async def enter(self) -> tuple[Endpoint, int] | None:
        """The address, and how many are in flight there now; None: the run was stopped."""
        while not self._stop:
            await self._look_again()
            up = [endpoint for endpoint in self.all if endpoint.down_until is None]
            open_ = [endpoint for endpoint in up if not endpoint.gate.closed_for]
            found = max(open_, key=lambda endpoint: endpoint.gate.room, default=None)
            if found is None:
                await self._stop.sleep(min(endpoint.gate.closed_for for endpoint in up))
            elif found.gate.room > 0:
                return found, found.gate.enter()
            else:
                await self._turn()
        return None

    def leave(self, entered: tuple[Endpoint, int], *, seconds: float | None = None) -> None:
        """`seconds` that a reply took; None: there was none."""
        endpoint, in_flight = entered
        endpoint.gate.leave(in_flight, seconds=seconds)
        if seconds is not None:
            endpoint.went_well()
        self._wake(max(1, endpoint.gate.room))

    def elsewhere(self, endpoint: Endpoint, fault: Transient | Refused) -> bool:
        """Notes what went wrong at an address; whether the request can go to another one at once."""
        down = endpoint.is_down_after(fault)
        others = [other for other in self.all if other is not endpoint and other.down_until is None]
        if down and others and endpoint.down_until is None:
            asked = fault.retry_after if isinstance(fault, Transient) and not fault.daily else None
            seconds = endpoint.rest(fault.reason, asked)
            self._log(f"{endpoint.url} is left alone for {seconds:g} s, the other addresses go on ({fault.reason})")
            self._wake(len(self._waiting))
        busy = isinstance(fault, Transient) and fault.status == 429
        return bool(others) and (down or busy)

    async def _look_again(self) -> None:
        """Whether an address that has rested long enough is back: one worker asks, the others go on."""
        for endpoint in self.all:
            if endpoint.down_until is None or endpoint.looking or endpoint.down_until > time.monotonic():
                continue
            endpoint.looking = True
            try:
                if await endpoint.is_back():
                    self._log(f"{endpoint.url} is back")
                    self._wake(len(self._waiting))
                else:
                    endpoint.rest(endpoint.reason)
            finally:
                endpoint.looking = False

    async def _turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._wake(1)
            raise

    def _wake(self, most: int) -> None:
        while most > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                most -= 1
