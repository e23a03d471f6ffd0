"""How far each check can be trusted, measured against known truth.

The truth is what a teacher planted (`truth.parquet`) or what a person said of a sample
(`verdicts.audit.label`). For a checker that keeps or does not keep paths, some of which are good:

    precision = good and kept / kept            recall = good and kept / good
    kappa     = (p_o - p_e) / (1 - p_e)         agreement beyond chance (Cohen 1960)

An undecided path counts as not kept, because it does not train; how many there are is said apart.
What counts as good depends on the checker: the answer check is right to keep a spurious path whose
answer is right, the judge and the filter as a whole are not.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import groupby
from typing import Literal, NamedTuple

from qrdistill.base.records import Outcome, Verdict
from qrdistill.base.statistics import kappa, wilson

Label = Literal["sound", "spurious", "wrong"]
FILTER = "filter"
_GOOD: dict[str, tuple[Label, ...]] = {"answer": ("sound", "spurious")}  # every other checker: sound only


class Share(NamedTuple):
    """A proportion with its Wilson 95 % interval; `value` is nan where n = 0."""

    value: float
    low: float
    high: float
    n: int


def share(count: int, n: int) -> Share:
    """
    >>> [round(number, 3) for number in share(8, 10)]
    [0.8, 0.49, 0.943, 10]
    """
    return Share(*wilson(count, n))


@dataclass(frozen=True)
class Vote:
    judge: str
    vote: int
    outcome: Outcome
    confidence: float | None


@dataclass
class Ballot:
    """All that was said of one path. `checkers`: a check's name, `judge` (the panel's decision),
    `judge/NAME` (that judge's first vote), or `filter`."""

    path_id: str
    checkers: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    votes: list[Vote] = field(default_factory=list[Vote])
    closing: Verdict | None = None

    @property
    def closed_by(self) -> str | None:
        """The check that decided against the path; None for a kept one."""
        assert self.closing is not None
        return None if self.closing.outcome == "keep" else self.closing.reason.partition(":")[0]


def ballots(verdicts: Iterable[Verdict]) -> Iterable[Ballot]:
    """Groups a verdicts table, in which one path's rows stand together and end with the closing one."""
    for path_id, rows in groupby(verdicts, key=lambda row: row.path_id):
        ballot = Ballot(path_id)
        for row in rows:
            if row.check == FILTER:
                ballot.closing = row
                ballot.checkers[FILTER] = row.outcome
            elif row.check == "judge" and row.judge is not None:
                ballot.votes.append(Vote(row.judge, row.vote, row.outcome, row.confidence))
                ballot.checkers.setdefault(f"judge/{row.judge}", row.outcome)
            else:
                ballot.checkers[row.check] = row.outcome
        assert ballot.closing is not None, f"no closing verdict for {path_id}"
        if ballot.votes:
            ballot.checkers["judge"] = ballot.closing.outcome if ballot.closed_by == "judge" else "keep"
        yield ballot


@dataclass(frozen=True)
class Reliability:
    """One checker against the truth, over the paths it was asked about whose truth is known."""

    checker: str
    n: int
    good: int
    kept: int
    undecided: int
    precision: Share
    recall: Share
    caught: Share  # of the paths that are not good, how many it does not keep
    kappa: float


def reliability(checker: str, outcomes: Iterable[tuple[Outcome, Label]]) -> Reliability:
    """
    >>> reliability("judge", [("keep", "sound"), ("keep", "spurious"), ("drop", "wrong")]).precision.value
    0.5
    """
    wanted = _GOOD.get(checker, ("sound",))
    pairs = [(outcome, label in wanted) for outcome, label in outcomes]
    table = Counter((outcome == "keep", good) for outcome, good in pairs)
    kept, good = table[True, True] + table[True, False], table[True, True] + table[False, True]
    bad = len(pairs) - good
    return Reliability(
        checker,
        n=len(pairs),
        good=good,
        kept=kept,
        undecided=sum(outcome == "undecided" for outcome, _ in pairs),
        precision=share(table[True, True], kept),
        recall=share(table[True, True], good),
        caught=share(table[False, False], bad),
        kappa=kappa((outcome == "keep", good) for outcome, good in pairs),
    )


def calibrate(verdicts: Iterable[Verdict], truth: Mapping[str, Label]) -> dict[str, Reliability]:
    """Checker -> how reliable it is, in the order in which checkers appear, `filter` last.

    Checks run one after the other: each is measured on the paths that came as far as it.
    """
    outcomes: dict[str, list[tuple[Outcome, Label]]] = {}
    for ballot in ballots(verdicts):
        label = truth.get(ballot.path_id)
        if label is not None:
            for checker, outcome in ballot.checkers.items():
                outcomes.setdefault(checker, []).append((outcome, label))
    whole = outcomes.pop(FILTER, [])
    return {checker: reliability(checker, pairs) for checker, pairs in [*outcomes.items(), (FILTER, whole)]}


# --- a judge's threshold ------------------------------------------------------------------------


def calibration_half(path_id: str, *, seed: int = 0) -> bool:
    """Whether a path belongs to the half that thresholds are chosen on; one question's paths go together."""
    question = path_id.split("/")[1]
    return hashlib.blake2b(f"{seed}/{question}".encode(), digest_size=1).digest()[0] < 128


@dataclass(frozen=True)
class Threshold:
    """A value for `filter.threshold`, chosen on one half of the questions and measured on both."""

    value: float
    reached: bool  # whether the target was, on the half it was chosen on
    chosen_on: Reliability
    held_out: Reliability


def choose_threshold(
    verdicts: Iterable[Verdict],
    truth: Mapping[str, Label],
    *,
    judge: str,
    target: float = 0.95,
    seed: int = 0,
) -> Threshold:
    """The lowest confidence at which the judge's first vote is precise enough.

    Sound votes of lower confidence count as undecided. Among the confidences that occur (and 0), takes
    the smallest whose precision on the calibration half is at least `target`, or, where none is, the
    one with the best lower bound of precision.
    """
    halves: tuple[list[tuple[float, Outcome, Label]], list[tuple[float, Outcome, Label]]] = ([], [])
    for ballot in ballots(verdicts):
        label = truth.get(ballot.path_id)
        vote = next((vote for vote in ballot.votes if vote.judge == judge), None)
        if label is not None and vote is not None:
            confidence = 1.0 if vote.confidence is None else vote.confidence
            halves[not calibration_half(ballot.path_id, seed=seed)].append((confidence, vote.outcome, label))

    def at(threshold: float, votes: Sequence[tuple[float, Outcome, Label]]) -> Reliability:
        return reliability(
            f"judge/{judge}",
            [("undecided" if c < threshold else outcome, label) for c, outcome, label in votes],
        )

    measured = {t: at(t, halves[0]) for t in sorted({0.0, *(c for c, _, _ in halves[0])})}
    value = next((t for t, one in measured.items() if one.precision.value >= target), None)
    reached = value is not None
    if value is None:
        value = max(measured, key=lambda t: measured[t].precision.low)
    return Threshold(value, reached, measured[value], at(value, halves[1]))


# --- what to look at ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Audit:
    """Two checkers on the paths that both were asked about; `table` counts (first, second) outcomes."""

    first: str
    second: str
    n: int
    agree: Share
    kappa: float
    table: Mapping[tuple[Outcome, Outcome], int]
    disagreements: tuple[str, ...]  # path ids, a seeded sample


def audit(verdicts: Iterable[Verdict], first: str, second: str, *, show: int = 20, seed: int = 0) -> Audit:
    """Where two checkers disagree: `audit(rows, "judge/gemini", "judge/qwen")`.

    Since a dropped path goes no further, compare checkers that saw the same paths: judges of one panel,
    or one check of two runs of the same paths (concatenate per path with `second_opinion`).
    """
    table: Counter[tuple[Outcome, Outcome]] = Counter()
    differ: list[str] = []
    for ballot in ballots(verdicts):
        one, other = ballot.checkers.get(first), ballot.checkers.get(second)
        if one is not None and other is not None:
            table[one, other] += 1
            if one != other:
                differ.append(ballot.path_id)
    return _audit(first, second, table, differ, show, seed)


def second_opinion(
    first: Iterable[Verdict],
    second: Iterable[Verdict],
    checker: str = FILTER,
    *,
    show: int = 20,
    seed: int = 0,
) -> Audit:
    """Where two runs of the filter over the same paths disagree on one checker."""
    earlier: dict[str, Outcome] = {
        ballot.path_id: ballot.checkers[checker] for ballot in ballots(first) if checker in ballot.checkers
    }
    table: Counter[tuple[Outcome, Outcome]] = Counter()
    differ: list[str] = []
    for ballot in ballots(second):
        one: Outcome | None = earlier.get(ballot.path_id)
        other = ballot.checkers.get(checker)
        if one is not None and other is not None:
            table[one, other] += 1
            if one != other:
                differ.append(ballot.path_id)
    return _audit(f"{checker} (first)", f"{checker} (second)", table, differ, show, seed)


def _audit(
    first: str,
    second: str,
    table: Counter[tuple[Outcome, Outcome]],
    differ: Sequence[str],
    show: int,
    seed: int,
) -> Audit:
    n = table.total()
    return Audit(
        first,
        second,
        n,
        agree=share(n - len(differ), n),
        kappa=kappa(pair for pair, count in table.items() for _ in range(count)),
        table=dict(sorted(table.items())),
        disagreements=tuple(sorted(nsmallest(show, differ, key=rank(seed)))),
    )


def rejected_sample(verdicts: Iterable[Verdict], *, per_check: int = 5, seed: int = 0) -> dict[str, list[Verdict]]:
    """Check -> closing verdicts of paths that it rejected, a seeded sample: read them before you trust it."""
    rejected: dict[str, list[Verdict]] = {}
    for ballot in ballots(verdicts):
        if ballot.closed_by is not None and ballot.closing is not None:
            rejected.setdefault(ballot.closed_by, []).append(ballot.closing)
    key = rank(seed)
    return {check: nsmallest(per_check, rows, key=lambda row: key(row.path_id)) for check, rows in rejected.items()}


def rank(seed: int) -> Callable[[str], bytes]:
    """A random order of path ids that hangs on the seed alone, not on which others there are."""
    return lambda path_id: hashlib.blake2b(f"{seed}/{path_id}".encode(), digest_size=8).digest()
