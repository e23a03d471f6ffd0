"""Ctrl-C and SIGTERM as a flag that training looks at between steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """`requested` is the signal's name once one arrived. A second one acts at once, as without us."""

    def __init__(self) -> None:
        self.requested: str | None = None


@contextmanager
def stopping() -> Generator[Stop]:
    """Handles SIGINT and SIGTERM while the block runs; outside the main thread nothing is handled."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        stop.requested = signal.Signals(number).name
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
