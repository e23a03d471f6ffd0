"""Counts and live figures of a filling run, per teacher and style."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from qrdistill.base.progress import Progress
from qrdistill.llm.finish_reasons import ending
from qrdistill.llm.reply_cache import ChatRequest, Failed, Reply

_PAUSE = 0.2  # seconds between two updates of the screen


@dataclass
class Counts:
    """What became of requests; money and tokens are those of the replies bought in this call."""

    bought: int = 0
    cached: int = 0
    failed: int = 0
    # of both bought and cached
    truncated: int = 0
    withheld: int = 0  # by a content filter, or refused
    unanswered: int = 0  # a thought at most
    unknown_ends: Counter[str] = field(default_factory=Counter[str])  # finish reasons that are not in our table
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    wasted_usd: float = 0.0  # paid for replies that were empty, withheld or broken off
    reasons: Counter[str] = field(default_factory=Counter)  # of the failures, shortened

    @property
    def done(self) -> int:
        return self.bought + self.cached + self.failed

    def read(self, reply: Reply) -> None:
        meaning = ending(reply.finish_reason)
        self.truncated += meaning == "cut"
        self.withheld += meaning == "refused"
        self.unanswered += meaning != "refused" and not reply.parts.answer.strip()
        if meaning == "unknown":
            self.unknown_ends[reply.finish_reason] += 1

    def warn(self, name: str, progress: Progress) -> None:
        if self.failed:
            most = "; ".join(f"{count} x {reason}" for reason, count in self.reasons.most_common(3))
            progress.warn(f"{self.failed} requests to {name} failed (--retry-failed asks again): {most}")
        if self.wasted_usd:
            progress.warn(f"${self.wasted_usd:.4f} went to {name} for replies that were empty, withheld or broken off")
        if self.withheld:
            progress.warn(f"{self.withheld} replies of {name} were withheld or refused: paid once, not asked for again")
        if self.unanswered:
            progress.warn(
                f"{self.unanswered} replies of {name} hold a thought at most, and no answer; raise max_tokens where "
                "they were cut"
            )
        if self.unknown_ends:
            words = ", ".join(f"{word!r} ({count})" for word, count in self.unknown_ends.most_common(3))
            progress.warn(
                f"{self.unknown_ends.total()} replies of {name} ended for a reason that is not known, {words}: kept, "
                "and left undecided by the filter"
            )
        if self.truncated:
            progress.warn(
                f"{self.truncated} replies of {name} were cut at max_tokens; raise it, or set retry_truncated"
            )


class Budget:
    """What may be spent; None is no limit. Replies of this run that were paid for earlier count too.

    `section` is where the config sets it, for the message that says how to raise it.
    """

    def __init__(self, usd: float | None = None, tokens: int | None = None, *, section: str = "paths") -> None:
        self.usd, self.tokens, self.section = usd, tokens, section
        self.spent_usd, self.spent_tokens = 0.0, 0
        self.reserved_usd, self.reserved_tokens = 0.0, 0  # for batches under way: the most that they can cost

    @property
    def limited(self) -> bool:
        return self.usd is not None or self.tokens is not None

    def spend(self, reply: Reply) -> None:
        self.spent_usd += reply.cost
        self.spent_tokens += reply.prompt_tokens + reply.completion_tokens

    def reserve(self, most: Reply) -> None:
        self.reserved_usd += most.cost
        self.reserved_tokens += most.prompt_tokens + most.completion_tokens

    def free(self, most: Reply) -> None:
        self.reserved_usd -= most.cost
        self.reserved_tokens -= most.prompt_tokens + most.completion_tokens

    def has_room_for(self, most: Reply) -> bool:
        """Whether something that costs `most` at most can be bought with what is neither spent nor reserved."""
        usd = round(self.spent_usd + self.reserved_usd + most.cost, 9)
        tokens = self.spent_tokens + self.reserved_tokens + most.prompt_tokens + most.completion_tokens
        return (self.usd is None or usd <= self.usd) and (self.tokens is None or tokens <= self.tokens)

    def waits(self) -> bool:
        """Whether only batches under way stand against buying more: what they leave over is known when they end."""
        usd, tokens = round(self.spent_usd + self.reserved_usd, 9), self.spent_tokens + self.reserved_tokens
        full = (self.usd is not None and usd >= self.usd) or (self.tokens is not None and tokens >= self.tokens)
        return full and (self.reserved_usd > 0 or self.reserved_tokens > 0) and not self.exceeded()

    def exceeded(self) -> str | None:
        """Which limit is reached, in words."""
        # to a billionth: ten times $0.0001 are $0.001, though not in binary
        if self.usd is not None and round(self.spent_usd, 9) >= self.usd:
            return f"${self.spent_usd:.4f} of budget_usd {self.usd:g} are spent"
        if self.tokens is not None and self.spent_tokens >= self.tokens:
            return f"{self.spent_tokens} of budget_tokens {self.tokens} are used"
        return None


@dataclass(frozen=True)
class Row:
    """One line of the live table."""

    teacher: str
    label: str
    counts: Counts
    seconds: float
    eta: float | None  # seconds until its teacher is done: the styles of one teacher end together

    @property
    def tokens_per_second(self) -> float:
        return self.counts.completion_tokens / self.seconds if self.seconds else 0.0


class Board:
    """Counts per teacher and label. `str(board)` is one short line, `rows()` a live table's lines."""

    def __init__(self, totals: Mapping[str, int | None], *, budget: Budget) -> None:
        self.counts: dict[str, Counts] = {name: Counts() for name in totals}
        self._totals, self._budget = totals, budget
        self._by_label: dict[tuple[str, str], Counts] = {}
        self._begun = time.monotonic()
        self._shown_at, self._unshown = 0.0, 0
        self.at_once: Callable[[], str] = lambda: ""  # how many requests each teacher may have in flight
        self.batches: Callable[[], str] = lambda: ""  # state and age of each

    def _accounts(self, name: str, request: ChatRequest) -> tuple[Counts, Counts]:
        self._unshown += 1
        label = name, request.label
        if label not in self._by_label:
            self._by_label[label] = Counts()
        return self.counts[name], self._by_label[label]

    def cached(self, name: str, request: ChatRequest, reply: Reply) -> None:
        for account in self._accounts(name, request):
            account.cached += 1
            account.read(reply)

    def bought(self, name: str, request: ChatRequest, reply: Reply) -> None:
        for account in self._accounts(name, request):
            account.bought += 1
            account.read(reply)
            account.prompt_tokens += reply.prompt_tokens
            account.completion_tokens += reply.completion_tokens
            account.usd += reply.cost

    def failed(self, name: str, request: ChatRequest, outcome: Failed) -> None:
        for account in self._accounts(name, request):
            account.failed += 1
            account.reasons[outcome.reason[:80]] += 1

    def rows(self) -> list[Row]:
        """By teacher and label: which reply came first moves no row about the screen."""
        seconds = time.monotonic() - self._begun
        return [
            Row(name, label, counts, seconds, self._eta(name))
            for (name, label), counts in sorted(self._by_label.items())
        ]

    def eta(self) -> float | None:
        """Seconds until the slowest teacher is done."""
        known = [eta for eta in map(self._eta, self.counts) if eta is not None]
        return max(known) if known else None

    def _eta(self, name: str) -> float | None:
        """At its rate so far; cached replies cost no time."""
        counts, total = self.counts[name], self._totals[name]
        asked = counts.bought + counts.failed
        if total is None or not asked:
            return None
        return max(0, total - counts.done) * (time.monotonic() - self._begun) / asked

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {counts.bought}+{counts.cached} cached" + (f" {counts.failed} failed" if counts.failed else "")
            for name, counts in self.counts.items()
        )

    def show(self, progress: Progress, *, now: bool = False) -> None:
        """Tells the screen, a few times a second at most."""
        moment = time.monotonic()
        if now or moment - self._shown_at >= _PAUSE:
            self._shown_at = moment
            progress.advance(self._unshown, **self._facts())
            self._unshown = 0

    def _facts(self) -> dict[str, object]:
        usd = sum(counts.usd + counts.wasted_usd for counts in self.counts.values())
        tokens = sum(counts.completion_tokens for counts in self.counts.values())
        facts: dict[str, object] = {"teachers": self}
        if tokens:
            facts["tokens/s"] = f"{tokens / max(1e-9, time.monotonic() - self._begun):.0f}"
        if usd:
            facts["usd"] = f"{usd:.4f}"
        if self._budget.usd is not None:
            facts["left"] = f"{max(0.0, self._budget.usd - self._budget.spent_usd):.4f}"
        if at_once := self.at_once():
            facts["at once"] = at_once
        if batches := self.batches():
            facts["batches"] = batches
        eta = self.eta()
        if eta:
            facts["eta"] = f"{eta:.0f} s"
        return facts
