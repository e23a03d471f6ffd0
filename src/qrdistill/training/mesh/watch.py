"""Notices a process that has died or hangs, and says in one message which, and where the others wait for it.

Every process tells the store once a second that it lives, and at which meeting it is: the meetings (collectives) have
numbers and names, so that who is missing shows. GPUs wait inside of NCCL, which no signal reaches: the watch ends
such a process itself.
"""

from __future__ import annotations

import os
import re
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
_SILENT = 30.0  # without a beat for so long, while another waits, a process counts as dead
_OWN_WORK = "its own work"
_BROKEN = ("gloo", "nccl", "connection", "broken pipe", "timed out", "socket", "process group", "store")


class Watch:
    """One per process, from joining to leaving."""

    def __init__(self, store: Store, rank: int, size: int, timeout: float) -> None:
        self._store, self._rank, self._size, self._timeout = store, rank, size, timeout
        self._beats, self._meeting, self._place = 0, 0, _OWN_WORK
        self._since: float | None = None  # when this process began to wait
        self._ended = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._go_on, name="watch", daemon=True)
        self._thread.start()

    @contextmanager
    def at(self, what: str, *, waits: bool = True) -> Generator[None]:
        """A meeting of all processes. Raises TrainingError in the one that speaks where it fails; others end silently.

        waits: False where this process mostly computes, so that taking long is no sign of anything.
        """
        before = self._place, self._since
        self._meeting += self._place == _OWN_WORK  # one within another is counted with it
        self._place, self._since = what, time.monotonic() if waits else None
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
            self._place, self._since = before

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _go_on(self) -> None:
        heard = {rank: (b"", time.monotonic()) for rank in range(self._size)}
        while not self._ended.wait(_BEAT):
            try:
                self._beat()
                since = self._since
                if since is None or (waited := time.monotonic() - since) < 2 * _LISTEN:
                    heard = {rank: (b"", time.monotonic()) for rank in range(self._size)}
                    continue
                for rank, beat in enumerate(self._hear()):
                    if beat != heard[rank][0]:
                        heard[rank] = beat, time.monotonic()
                silent = any(time.monotonic() - when > _SILENT for _, when in heard.values())
                if silent or waited > self._timeout:
                    self._give_up(f"waited {waited:.0f} s")
            except (RuntimeError, OSError):  # the store is gone: whoever kept it has ended, and said why
                return

    def _give_up(self, why: str) -> None:
        """The main thread waits where nothing reaches it."""
        if (message := self._explain(self._place, why)) is not None:
            print(f"qrdistill: {message}", file=sys.stderr, flush=True)
        os._exit(1)

    def _beat(self) -> None:
        self._beats += 1
        self._store.set(f"beat/{self._rank}", f"{self._beats}|{self._meeting}|{self._place}")

    def _hear(self) -> list[bytes]:
        return self._store.multi_get([f"beat/{rank}" for rank in range(self._size)])

    def _explain(self, what: str, why: str) -> str | None:
        """What happened, for the first who asks; None for the others."""
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
        said = [f"rank {rank} has died or is stopped (last at: {_place(now[rank])})" for rank in dead]
        said += [f"rank {rank} does not come (it is at: {_place(now[rank])})" for rank in late]
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
    return int(beat.split(b"|", 2)[1])


def _place(beat: bytes) -> str:
    return beat.split(b"|", 2)[2].decode()
