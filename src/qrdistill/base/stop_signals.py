"""Ctrl-C and SIGTERM: what they do to a command, and how a stage that can stop well looks at them.

A command is `interruptible`: the first signal raises KeyboardInterrupt wherever its main thread is, so that every
stage ends alike, cleaning up on the way. Training and asking teachers go on to a safe point first (`stopping`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Generator[None]:
    """The first SIGINT or SIGTERM raises KeyboardInterrupt with its name; a second one ends the process at once.

    A signal that the process was started to ignore (a background job of a shell) stays ignored.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    came = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        if not came:
            for number, handler in before.items():
                signal.signal(number, handler)


class Stop:
    """`requested` is the signal's name once one arrived. A second one acts at once, as without us."""

    def __init__(self) -> None:
        self.requested: str | None = None


@contextmanager
def stopping() -> Generator[Stop]:
    """Handles SIGINT and SIGTERM while the block runs; outside the main thread nothing is handled.

    A signal that the block did not act on (it ended well) is passed on when the block has ended.
    """
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
    if stop.requested:
        signal.raise_signal(signal.Signals[stop.requested])
