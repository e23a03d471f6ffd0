"""The judge stage: a panel of judges votes on each path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qrdistill.base.progress import Progress
from qrdistill.base.records import Outcome, Verdict
from qrdistill.llm.ask import Budget
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.judges.judge import Item, Judgement, Seat, blind, seat_judges
from qrdistill.verdicts.judges.votes import combine
from qrdistill.verdicts.open_case import Case, Finding

if TYPE_CHECKING:
    from qrdistill.llm.reply_cache import ReplyCache
    from qrdistill.paths.config import TeacherConfig

WORDS: dict[Outcome, str] = {"keep": "sound", "drop": "spurious", "undecided": "undecided"}


class Panel:
    """Asks in waves (vote 0 of every judge, then vote 1, ...) and stops where the outcome is settled.

    The decision is the one that all votes would give: only votes that cannot change it are not
    asked for. `errors` counts votes that could not be asked; `agreement()` is, per judge that casts a
    second vote on every path (rule `majority`), the share of paths on which its first two agree.
    """

    def __init__(self, seats: Sequence[Seat], escalation: Seat | None, config: FilterConfig) -> None:
        self._seats, self._escalation, self._config = seats, escalation, config
        # a second vote that is asked only after certain first ones would bias their agreement
        always = [
            config.rule == "majority" and 2 * (len(seats) + k) <= len(seats) * config.votes for k in range(len(seats))
        ]
        self._measured = {seat.name for seat, asked in zip(seats, always, strict=True) if asked}
        self._pairs: Counter[str] = Counter()
        self._equal: Counter[str] = Counter()
        self.errors = 0

    def run(self, cases: Sequence[Case]) -> list[Finding]:
        votes: list[list[Verdict]] = [[] for _ in cases]
        failed = [False] * len(cases)
        total = len(self._seats) * self._config.votes
        for wave in range(self._config.votes):
            for seat in self._seats:
                waiting = [
                    index
                    for index, cast in enumerate(votes)
                    if not failed[index] and self._combine(cast, total) is None
                ]
                self._ask(seat, wave, cases, waiting, votes, failed)
        self._measure_agreement(votes)
        results: list[Outcome | None] = [self._combine(cast, total) for cast in votes]
        if self._escalation:
            unclear = [i for i, result in enumerate(results) if result == "undecided" and not failed[i]]
            before = [len(cast) for cast in votes]
            self._ask(self._escalation, 0, cases, unclear, votes, failed)
            for index in unclear:
                results[index] = votes[index][before[index]].outcome
        return [
            self._finding(cast, result, broken) for cast, result, broken in zip(votes, results, failed, strict=True)
        ]

    def _combine(self, cast: Sequence[Verdict], total: int) -> Outcome | None:
        return combine([vote.outcome for vote in cast], self._config.rule, missing=total - len(cast))

    def _ask(
        self,
        seat: Seat,
        wave: int,
        cases: Sequence[Case],
        which: Sequence[int],
        votes: list[list[Verdict]],
        failed: list[bool],
    ) -> None:
        items = [Item(blind(cases[index].question), cases[index].path.lesson, wave) for index in which]
        for index, judgement in zip(which, seat.judge.judge_many(items), strict=True):
            failed[index] |= judgement.failed
            self.errors += judgement.failed
            votes[index].append(self._vote(cases[index], seat, wave, judgement))

    def _vote(self, case: Case, seat: Seat, wave: int, judgement: Judgement) -> Verdict:
        outcome, reason = judgement.outcome, judgement.reason
        confidence = judgement.confidence
        if outcome != "undecided" and confidence is not None and confidence < self._config.threshold:
            reason = (
                f"{WORDS[outcome]} at confidence {confidence:g}, below filter.threshold = "
                f"{self._config.threshold:g}: {reason}"
            )
            outcome = "undecided"
        return case.verdict(
            "judge",
            outcome,
            reason,
            judge=seat.name,
            vote=wave,
            confidence=confidence,
            quote=judgement.quote,
        )

    def _finding(self, cast: Sequence[Verdict], result: Outcome | None, broken: bool) -> Finding:
        count = Counter(vote.outcome for vote in cast)
        split = ", ".join(f"{count[outcome]} {WORDS[outcome]}" for outcome in WORDS if count[outcome])
        if broken:
            reasons = [vote.reason for vote in cast if vote.outcome == "undecided"]
            return Finding("undecided", f"a vote could not be asked ({reasons[-1]})", tuple(cast))
        assert result is not None
        if result == "undecided" and self._config.undecided == "keep":
            return Finding("keep", f"{split}; kept by filter.undecided = keep", tuple(cast))
        first = next((vote.reason for vote in cast if vote.outcome == result and vote.reason), "")
        return Finding(result, f"{split}: {first}" if first else split, tuple(cast))

    def _measure_agreement(self, votes: Sequence[Sequence[Verdict]]) -> None:
        for cast in votes:
            first = {vote.judge: vote.outcome for vote in cast if vote.vote == 0}
            for vote in cast:
                if vote.vote == 1 and vote.judge in first and vote.judge in self._measured:
                    self._pairs[vote.judge or ""] += 1
                    self._equal[vote.judge or ""] += vote.outcome == first[vote.judge]

    @property
    def usd(self) -> float:
        return sum(seat.judge.usd for seat in [*self._seats, *([self._escalation] if self._escalation else [])])

    def repaired(self) -> dict[str, float]:
        """Judge -> share of its readable replies that only the second, stricter reading could read."""
        seats = [*self._seats, *([self._escalation] if self._escalation else [])]
        return {seat.name: seat.judge.repaired for seat in seats if seat.judge.repaired is not None}

    def agreement(self) -> dict[str, float]:
        return {name: self._equal[name] / pairs for name, pairs in sorted(self._pairs.items())}


def seat_panel(
    config: FilterConfig,
    teachers: Sequence[TeacherConfig],
    *,
    cache: ReplyCache | None,
    base_dir: Path,
    seed: int,
    progress: Progress,
) -> Panel | None:
    """The judges of `filter.judges` under the filter's votes, rule and budget; None where no judge is named.

    Replies go through the cache; the budget counts anew. Raises ConfigError for a judge that cannot be had.
    """
    budget = Budget(config.budget_usd, config.budget_tokens, section="filter")
    seats, escalation = seat_judges(
        config, teachers, seed=seed, cache=cache, base_dir=base_dir, progress=progress, budget=budget
    )
    return Panel(seats, escalation, config) if seats else None
