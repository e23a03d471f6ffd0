"""Notices a process that has died or hangs, and says in one message which, and where the others wait for it.

Every process tells the store twice a second that it lives, and at which meeting it is: the meetings (collectives) have
numbers and names, so that who is missing shows. GPUs wait inside of NCCL, which no signal reaches: the watch ends
such a process itself.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qrdistill.base.errors import TrainingError

if TYPE_CHECKING:
    from torch.distributed import Store

_BEAT, _LISTEN = 0.5, 2.5  # seconds between two beats, and for which a failed meeting listens for them
_SILENT = 30.0  # without a beat for so long (or `timeout`, if that is less), while another listens: it counts as dead
_OWN_WORK = "its own work"
_BROKEN = ("gloo", "nccl", "connection", "broken pipe", "timed out", "socket", "process group", "store")


class Watch:
    """One per process, from joining to leaving."""

    def __init__(self, store: Store, rank: int, size: int, timeout: float) -> None:
        self._store, self._rank, self._size, self._timeout = store, rank, size, timeout
        self._silent = min(_SILENT, timeout)
        self._beats, self._meeting, self._place = 0, 0, _OWN_WORK
        self._since: float | None = None  # when this process began to need the others; None: it does not
        self._waits = False  # whether needing them for long is a sign by itself
        self._self = f"process {os.getpid()} on {socket.gethostname()}".replace("|", "_")
        self._told = False
        self._ended = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._go_on, name="watch", daemon=True)
        self._thread.start()

    @contextmanager
    def at(self, what: str, *, waits: bool = True, counts: bool = True) -> Generator[None]:
        """A meeting of all processes. Raises TrainingError in the one that speaks where it fails; others end silently.

        waits: False where this process may be here for long, so that only another's silence is a sign of anything.
        counts: False where the others come to no meeting.
        """
        before = self._place, self._since, self._waits
        self._meeting += counts and self._place == _OWN_WORK  # one within another is counted with it
        self._place, self._since, self._waits = what, time.monotonic(), waits
        try:
            yield
        except RuntimeError as error:
            if not waits and not any(word in str(error).lower() for word in _BROKEN):
                raise
            message = self._explain(what, _first_words(error))
            if message is None:
                raise SystemExit(1) from None
            raise TrainingError(message) from error
        finally:
            self._place, self._since, self._waits = before

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _go_on(self) -> None:
        heard = {rank: (b"", time.monotonic()) for rank in range(self._size)}
        while not self._ended.wait(_BEAT):
            try:
                self._beat()
                since, waits = self._since, self._waits
                if since is None or (waited := time.monotonic() - since) < 2 * _LISTEN:
                    heard = {rank: (b"", time.monotonic()) for rank in range(self._size)}
                    continue
                for rank, beat in enumerate(self._hear()):
                    if beat != heard[rank][0]:
                        heard[rank] = beat, time.monotonic()
                silent = any(time.monotonic() - when > self._silent for _, when in heard.values())
                if silent or (waits and waited > self._timeout):
                    self._give_up(f"waited {waited:.0f} s")
            except (RuntimeError, OSError):  # the store is gone, as it is when all leave; otherwise nobody is in charge
                if not self._ended.wait(2 * _LISTEN):
                    self._give_up("the store of the processes is gone")
                return

    def _give_up(self, why: str) -> None:
        """The main thread waits where nothing reaches it."""
        if (message := self._explain(self._place, why)) is not None:
            print(f"qrdistill: {message}", file=sys.stderr, flush=True)
        os._exit(1)

    def _beat(self) -> None:
        self._beats += 1
        self._store.set(f"beat/{self._rank}", f"{self._beats}|{self._meeting}|{self._self}|{self._place}")

    def _hear(self) -> list[bytes]:
        return self._store.multi_get([f"beat/{rank}" for rank in range(self._size)])

    def _explain(self, what: str, why: str) -> str | None:
        """What happened, for the first who asks; None for the others, and for the same process again."""
        told, self._told = self._told, True
        if told:
            return None
        try:
            first = self._hear()
            time.sleep(_LISTEN)
            now = self._hear()
            if self._store.add("told", 1) > 1:
                return None
        except (RuntimeError, OSError):
            return f"rank {self._rank} lost the other processes in {what!r} ({why}); {_GOES_ON}"
        others = [rank for rank in range(self._size) if rank != self._rank]
        dead = [rank for rank in others if first[rank] == now[rank]]
        late = [rank for rank in others if rank not in dead and _meeting(now[rank]) < self._meeting]
        said = [
            f"rank {rank} has died or is stopped ({_who(now[rank])}; last at: {_place(now[rank])})" for rank in dead
        ]
        said += [f"rank {rank} does not come ({_who(now[rank])}; it is at: {_place(now[rank])})" for rank in late]
        missing = "; ".join(said) or "no process is missing, the connection failed"
        return f"{missing}. Rank {self._rank} waited for it in {what!r} ({why}). {_GOES_ON}"


_GOES_ON = (
    "The same command goes on from the last checkpoint (torchrun --max-restarts N does so by itself); nothing that was "
    "paid for is asked again"
)


def _first_words(error: RuntimeError) -> str:
    """Its first sentence, without the place in torch's own source that stands before it."""
    return re.sub(r"^\[[^\]]*\]\s*", "", f"{error}\n".splitlines()[0]).partition(". ")[0][:160]


def _meeting(beat: bytes) -> int:
    return int(beat.split(b"|", 3)[1])


def _who(beat: bytes) -> str:
    return beat.split(b"|", 3)[2].decode()


def _place(beat: bytes) -> str:
    return beat.split(b"|", 3)[3].decode()
