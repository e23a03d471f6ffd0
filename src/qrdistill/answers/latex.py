"""Comparing LaTeX outside this process: a few worker processes that may hang, crash and be killed.

math-verify's own time limit is an alarm that works in a main thread only, and sympy can loop in C
where no exception reaches it. Here every comparison runs in a child process; one that takes too long
or dies costs one undecided verdict, and a new child takes over. No threads, no shared state.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque

from qrdistill.answers.comparer import Same, Ticket
from qrdistill.base.errors import InputError
from qrdistill.base.threads import cores

CPU_SECONDS = 5.0  # of processor time per comparison
WALL_SECONDS = 60.0  # for a comparison that sleeps, and for a worker to start
MAX_LENGTH = 1000  # characters of an answer; longer ones are undecided
_AHEAD = 2  # comparisons sent to a worker beyond the one it works on
_REMEMBERED = 4096


class _Worker:
    """One child process and the tickets it has been sent, oldest first."""

    def __init__(self, cpu_seconds: float) -> None:
        command = [sys.executable, "-m", "qrdistill.answers.latex_worker", str(cpu_seconds)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.tickets: deque[Ticket] = deque()
        self.ready = False
        self.since = time.monotonic()  # when the oldest ticket's clock started
        self._buffer = b""

    def send(self, ticket: Ticket) -> None:
        if not self.tickets:
            self.since = time.monotonic()
        self.tickets.append(ticket)
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is seen when its output closes
            self.process.stdin.write(json.dumps([ticket.gold, ticket.answer]).encode() + b"\n")

    def receive(self) -> bool:
        """Takes the replies that are there; False when the process has ended."""
        assert self.process.stdout is not None
        block = os.read(self.process.stdout.fileno(), 1 << 16)
        if not block:
            return False
        *lines, self._buffer = (self._buffer + block).split(b"\n")
        for line in lines:
            outcome, reason = json.loads(line)
            self.since = time.monotonic()
            if outcome == "ready":
                self.ready = True
            else:
                self.tickets.popleft().result = Same(outcome, reason)
        return True

    def end(self) -> int:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return self.process.wait()


class LatexWorkers:
    """A pool for one thread at a time (see `compare`): `submit` hands out, `wait` collects.

    Results do not depend on which worker computed them, nor on how many there are.
    """

    def __init__(
        self,
        count: int | None = None,
        *,
        cpu_seconds: float = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
    ) -> None:
        self.count = count or max(1, min(4, cores() - 1))
        self.cpu_seconds, self.wall_seconds = cpu_seconds, wall_seconds
        self.restarts = 0
        self._owner = os.getpid()
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._waiting: deque[Ticket] = deque()
        self._known: OrderedDict[tuple[str, str], Ticket] = OrderedDict()

    def submit(self, gold: str, answer: str) -> Ticket:
        """Asks for a comparison; the same one is never computed twice in a row of 4096."""
        key = (gold, answer)
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return known
        ticket = Ticket(gold, answer)
        if max(len(gold), len(answer)) > MAX_LENGTH:
            ticket.result = Same("undecided", f"longer than {MAX_LENGTH} characters")
            return ticket
        self._known[key] = ticket
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        self._waiting.append(ticket)
        self._pump(0)
        return ticket

    def wait(self, ticket: Ticket) -> Same:
        while ticket.result is None:
            self._pump(1.0)
        return ticket.result

    def _pump(self, seconds: float) -> None:
        """Hands out what waits, takes replies for at most `seconds`, replaces what is dead or late."""
        self._hand_out()
        for key, _ in self._selector.select(seconds):
            worker: _Worker = key.data
            if not worker.receive():
                self._replace(worker, late=False)
        for worker in list(self._workers):
            if (worker.tickets or not worker.ready) and time.monotonic() - worker.since > self.wall_seconds:
                self._replace(worker, late=True)

    def _hand_out(self) -> None:
        while self._waiting:
            idle = [worker for worker in self._workers if not worker.tickets]
            if not idle and len(self._workers) < self.count:
                idle = [self._start()]
            open_workers = idle or [w for w in self._workers if len(w.tickets) <= _AHEAD]
            if not open_workers:
                return
            min(open_workers, key=lambda worker: len(worker.tickets)).send(self._waiting.popleft())

    def _start(self) -> _Worker:
        _require_math_verify()
        worker = _Worker(self.cpu_seconds)
        assert worker.process.stdout is not None
        self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
        self._workers.append(worker)
        return worker

    def _replace(self, worker: _Worker, *, late: bool) -> None:
        """The oldest ticket ended the worker: it is undecided; the others go to the front of the queue."""
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        self._workers.remove(worker)
        status = worker.end()
        if not worker.ready:
            raise InputError(
                "the process that compares LaTeX does not start; try: python -m qrdistill.answers.latex_worker 5"
            )
        self.restarts += 1
        if worker.tickets:
            slow = late or status == -getattr(signal, "SIGPROF", 0)
            reason = f"the comparison took more than {self.cpu_seconds:g} s" if slow else "the comparison crashed"
            worker.tickets.popleft().result = Same("undecided", reason)
            self._waiting.extendleft(reversed(worker.tickets))

    def close(self) -> None:
        if os.getpid() != self._owner:
            return  # a forked child: the workers are its parent's
        for worker in self._workers:
            assert worker.process.stdout is not None
            self._selector.unregister(worker.process.stdout)
            worker.end()
        self._workers = []


def _require_math_verify() -> None:
    from importlib.util import find_spec

    if find_spec("math_verify") is None:
        raise InputError("comparing LaTeX needs the package math-verify: pip install 'qrdistill[math]'")


_lock = threading.RLock()
_pools: dict[int, LatexWorkers] = {}  # by process id: a forked child starts its own


def _pool() -> LatexWorkers:
    pool = _pools.get(os.getpid())
    if pool is None:
        pool = _pools[os.getpid()] = LatexWorkers()
        atexit.register(pool.close)
    return pool


def submit(gold: str, answer: str) -> Ticket:
    with _lock:
        return _pool().submit(gold, answer)


def wait(ticket: Ticket) -> Same:
    """The result of a ticket; safe to call from any thread."""
    while ticket.result is None:
        with _lock:
            if ticket.result is None:
                _pool()._pump(0.05)  # pyright: ignore[reportPrivateUsage]
    return ticket.result
