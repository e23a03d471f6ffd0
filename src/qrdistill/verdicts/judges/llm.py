"""An LLM as judge: asked like a teacher, through the same cache, limits and budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

from qrdistill.base.errors import BoundaryError
from qrdistill.base.progress import Progress
from qrdistill.llm.ask import Budget, Job, fill
from qrdistill.llm.client import ChatConfig, Requests
from qrdistill.llm.config import OpenAITeacher
from qrdistill.llm.finish_reasons import ending
from qrdistill.llm.reply_cache import ChatRequest, Failed, Reply
from qrdistill.verdicts.judges.judge import Item, Judgement
from qrdistill.verdicts.judges.prompt import (
    RESPONSE_FORMAT,
    RepairedReply,
    Unreadable,
    judge_prompt,
    judgement,
    read_verdict,
)

if TYPE_CHECKING:
    from qrdistill.llm.reply_cache import ReplyCache


class LLMJudge:
    """A `BatchJudge`. An unreadable reply is asked for once more, then it is an undecided vote.

    A request that fails is no verdict: the vote is marked `failed`, nothing was cached, and the next
    run asks again. A judge that has answered nothing at all stops the run (BoundaryError).

    Structured output is asked for where the server takes it: if the first request is refused with a
    JSON schema and accepted without, the schema is left out from then on.
    """

    def __init__(
        self,
        config: ChatConfig,
        *,
        seed: int,
        cache: ReplyCache | None,
        base_dir: Path,
        progress: Progress,
        budget: Budget,
    ) -> None:
        assert cache is not None, "a judge that is paid for needs a reply cache"
        self._config, self._cache, self._base_dir = config, cache, base_dir
        self._progress, self._budget = progress, budget
        self._plain = Requests(config, base_dir=base_dir)
        self._structured = Requests(config, base_dir=base_dir, extra={"response_format": RESPONSE_FORMAT})
        self._takes_schema = None if isinstance(config, OpenAITeacher) else False  # None: not known yet
        self._answered = False
        self.usd = 0.0
        self._read_replies = self._repaired = 0  # replies that could be read; that only the second pass could

    @property
    def repaired(self) -> float | None:
        return self._repaired / self._read_replies if self._read_replies else None

    def judge_many(self, items: Sequence[Item]) -> list[Judgement]:
        if not items:
            return []
        self._find_out(items[0])
        votes: list[Judgement | None] = [None] * len(items)
        problems: dict[int, str] = {}
        for index, outcome in enumerate(self._ask(items, lambda index: None)):
            votes[index] = self._read(items[index], outcome, problems, index)
        broken = list(problems.items())
        again = [items[index] for index, _ in broken]
        last: dict[int, str] = {}
        for place, outcome in enumerate(self._ask(again, lambda place: broken[place][1])):
            index = broken[place][0]
            votes[index] = self._read(items[index], outcome, last, index)
        if not self._answered:
            reasons = sorted({vote.reason for vote in votes if vote})
            raise BoundaryError(
                f"judge {self._config.name!r} has answered none of {len(items)} requests ({reasons[0]}); see that "
                "it works, then run the same command again"
            )
        return [
            vote or Judgement("undecided", f"unreadable verdict, also when asked again: {last[index]}")
            for index, vote in enumerate(votes)
        ]

    def _read(self, item: Item, outcome: Reply | Failed, problems: dict[int, str], index: int) -> Judgement | None:
        """The vote in a judge's reply; None, and a line in `problems`, where it cannot be read."""
        if isinstance(outcome, Failed):
            return Judgement("undecided", outcome.reason, failed=True)
        self._answered = True
        self.usd += outcome.cost
        try:
            meaning = ending(outcome.finish_reason)
            if meaning in ("cut", "refused"):
                raise Unreadable("it was cut off" if meaning == "cut" else "it was withheld")
            material = item.question.question + item.text
            read = read_verdict(outcome.text, material=material)
            self._read_replies += 1
            self._repaired += isinstance(read, RepairedReply)
            return judgement(read, item.text)
        except Unreadable as problem:
            problems[index] = str(problem)
            return None

    def _request(self, item: Item, problem: str | None, *, schema: bool) -> ChatRequest:
        make = self._structured if schema else self._plain
        prompt = judge_prompt(item.question.question, item.text, problem=problem)
        return make([("user", prompt)], sample=item.vote, label="judge")

    def _ask(self, items: Sequence[Item], problem: Callable[[int], str | None]) -> list[Reply | Failed]:
        schema = self._takes_schema is not False
        requests = [self._request(item, problem(index), schema=schema) for index, item in enumerate(items)]
        return self._send(requests, self._budget) if requests else []

    def _send(self, requests: Sequence[ChatRequest], budget: Budget, *, at_once: bool = False) -> list[Reply | Failed]:
        """`at_once`: not in a batch, also where this judge is asked in batches."""
        plain = at_once and isinstance(self._config, OpenAITeacher)
        config = self._config.model_copy(update={"batch": False}) if plain else self._config
        fill(
            [Job(config, requests, len(requests))],
            self._cache,
            base_dir=self._base_dir,
            budget=budget,
            progress=_Aside(self._progress),
        )
        self._cache.warn(self._progress)
        keys = [request.key for request in requests]
        replies, failures = self._cache.replies(requests), self._cache.failures(keys)
        return [replies.get(key) or failures.get(key) or Failed("no reply") for key in keys]

    def _find_out(self, item: Item) -> None:
        """Whether this server takes a JSON schema: from the cache if it tells, else by asking once."""
        if self._takes_schema is not None:
            return
        with_schema, without = (self._request(item, None, schema=schema) for schema in (True, False))
        known = [self._cache.replies([request]).get(request.key) for request in (with_schema, without)]
        if any(known):
            self._takes_schema = known[0] is not None
            return
        # within the budget, but not booked: that is done when the item is asked for in earnest
        [tried] = self._send([with_schema], copy(self._budget), at_once=True)
        if isinstance(tried, Reply):
            self._takes_schema = True
        elif tried.status is not None and isinstance(self._send([without], copy(self._budget), at_once=True)[0], Reply):
            self._takes_schema = False
            self._progress.log(f"judge {self._config.name!r} takes no JSON schema: asked without ({tried.reason})")


class _Aside:
    """Passes live figures on without moving the stage's count; the filter itself counts and warns."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def start(self, stage: str, total: int | None = None) -> None: ...

    def advance(self, steps: int = 1, **facts: object) -> None:
        self._progress.advance(0, **facts)

    def done(self, **facts: object) -> None: ...

    def log(self, message: str) -> None:
        self._progress.log(message)

    def warn(self, message: str) -> None: ...
