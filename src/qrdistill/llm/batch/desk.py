"""What a teacher's batches need of the filling run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from qrdistill.llm.live_counts import Budget
from qrdistill.llm.pace.limits import Stop
from qrdistill.llm.reply_cache import ChatRequest, Failed, Reply, ReplyCache

Outcome = Reply | Failed


@dataclass(frozen=True)
class Desk:
    """What the filling run does for its batches."""

    cache: ReplyCache
    budget: Budget
    stop: Stop
    log: Callable[[str], None]
    write: Callable[..., Awaitable[Any]]  # calls a function in the thread that writes the cache
    next: Callable[[], Awaitable[ChatRequest | None]]  # the next request to be asked; None: there are no more
    starved: Callable[[], bool]  # nothing more will come before something has ended
    book: Callable[[ChatRequest, Outcome], None]  # a wanted request has got its outcome, which is committed
    again: Callable[[ChatRequest], None]  # a wanted request is to be asked once more
    shown: Callable[[], None]
