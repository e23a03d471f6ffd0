"""What a grid's runs came to: one Outcome per run, paired differences between arms over seeds."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from qrdistill.scores.statistics import Interval, over_seeds

Mode = Literal["styled", "free", "vote", "consistency"]

# One token read in training costs a forward and a backward pass, about three forwards.
TRAINED_TOKEN = 3.0


@dataclass(frozen=True)
class Outcome:
    """One run. Accuracies are shares of the scored split; `tokens` were trained on, per student.

    `equivalents`: token-equivalents of the whole run, one being one token's forward pass: trained
    tokens count three, measured and generated ones one.
    """

    arm: str
    seed: int
    styled: dict[str, float]
    free: dict[str, float]
    dev: dict[str, float]
    vote: float | None
    consistency: float | None
    tokens: dict[str, int] = field(default_factory=dict[str, int])
    equivalents: float = 0.0
    seconds: float = 0.0

    def mean(self, mode: Mode, of: Collection[str] | None = None) -> float | None:
        """Mean over the students, or those in `of`; `vote` and `consistency` are one figure of the run."""
        if mode in ("vote", "consistency"):
            return self.vote if mode == "vote" else self.consistency
        figures = self.styled if mode == "styled" else self.free
        values = [value for name, value in figures.items() if of is None or name in of]
        return sum(values) / len(values) if values else None


def outcome(arm: str, seed: int, folder: Path) -> Outcome:
    """Reads one finished run."""
    scores: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    stages: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["stages"]
    dev = {
        (row["student"], row["style"]): row["accuracy"]
        for row in scores["scores"]
        if row["split"] == "dev" and row["family"] == "all"
    }
    heads = [row for row in scores["headlines"] if not row["base"]]
    trained = [record["counts"] for name, record in stages.items() if name.startswith("train")]
    sampled = [record["counts"] for name, record in stages.items() if name.startswith("sample@")]
    tokens: dict[str, int] = {}
    for counts in trained:
        for student, count in counts.get("tokens", {}).items():
            tokens[student] = tokens.get(student, 0) + count
    votes = {row["method"]: row for row in scores["ensembles"]}
    weighted = votes.get("weighted")
    equal = weighted["against_equal_cost"] if weighted else None
    return Outcome(
        arm,
        seed,
        styled={row["student"]: row["styled"]["accuracy"] for row in heads if row["styled"]},
        free={row["student"]: row["free"]["accuracy"] for row in heads if row["free"]},
        dev={row["student"]: dev.get((row["student"], row["style"]), 0.0) for row in heads},
        vote=weighted["accuracy"] if weighted else None,
        consistency=weighted["accuracy"] - equal["difference"] if weighted and equal else None,
        tokens=tokens,
        equivalents=TRAINED_TOKEN * sum(tokens.values()) + sum(counts["tokens"] for counts in sampled),
        seconds=sum(record.get("seconds", 0.0) for record in stages.values()),
    )


def best_of(name: str, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """A derived arm: per seed and student, the run among several in which dev shows that student best.

    This is the strongest simple baseline ("best single style per student"): its cost is that of the
    runs it chose from, all of them, since without them there is no choice.
    """
    by_seed: dict[int, list[Outcome]] = {}
    for row in outcomes:
        by_seed.setdefault(row.seed, []).append(row)
    chosen: list[Outcome] = []
    for seed, rows in sorted(by_seed.items()):
        best = {student: max(rows, key=lambda row: row.dev.get(student, 0.0)) for student in rows[0].styled}
        chosen.append(
            Outcome(
                name,
                seed,
                styled={student: row.styled[student] for student, row in best.items()},
                free={student: row.free[student] for student, row in best.items() if student in row.free},
                dev={student: row.dev[student] for student, row in best.items()},
                vote=None,
                consistency=None,
                tokens={student: row.tokens.get(student, 0) for student, row in best.items()},
                equivalents=sum(row.equivalents for row in rows),
                seconds=sum(row.seconds for row in rows),
            )
        )
    return chosen


@dataclass(frozen=True)
class Comparison:
    """first - second: mean over seeds of the paired difference, with Student's t interval."""

    first: str
    second: str
    mode: Mode
    n: int
    positive: int  # seeds in which the first is ahead
    difference: float
    low: float
    high: float

    @property
    def claims(self) -> bool:
        """Whether the interval excludes zero; nothing less is called a difference.

        Seeds that all give the same difference, as few coarse ones may, say nothing of their spread.
        """
        return self.high - self.low > 1e-9 and (self.low > 0 or self.high < 0)

    def answers(self, question: str) -> dict[str, Any]:
        """As a study's JSON holds it: the question and every figure."""
        return {"question": question, **asdict(self), "claims": self.claims}


def compare(
    first: Sequence[Outcome], second: Sequence[Outcome], mode: Mode = "styled", against: Mode | None = None
) -> Comparison | None:
    """Pairs two arms by seed; None where they share no seed with a figure.

    `against` is the second arm's mode where it is another than the first's. Where one arm has students
    that the other lacks, the means are over those that both have.
    """
    there = {row.seed: row for row in second}
    pairs = [
        (row.mean(mode, other.styled), other.mean(against or mode, row.styled))
        for row in first
        if (other := there.get(row.seed)) is not None
    ]
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    if not differences:
        return None
    spread = over_seeds(differences)
    positive = sum(value > 0 for value in differences)
    return Comparison(
        first[0].arm,
        second[0].arm,
        mode,
        len(differences),
        positive,
        spread.estimate,
        spread.low,
        spread.high,
    )


def accuracy(rows: Sequence[Outcome], mode: Mode = "styled") -> Interval | None:
    """Mean accuracy of an arm over its seeds, with Student's t interval."""
    values = [value for row in rows if (value := row.mean(mode)) is not None]
    return over_seeds(values) if values else None
