"""What a grid's runs came to: one Outcome per run, paired differences between arms over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from qrdistill.base.store import content_hash
from qrdistill.base.untrusted.guarded_json import read_json
from qrdistill.report.study_results import Comparison, Estimate, Mode, Outcome, estimated
from qrdistill.runs.run import Run
from qrdistill.scores.compare import outcomes_by_question
from qrdistill.scores.paired import difference_over_seeds
from qrdistill.scores.statistics import over_seeds

# One token read in training costs a forward and a backward pass, about three forwards.
TRAINED_TOKEN = 3.0


def outcome(arm: str, seed: int, folder: Path) -> Outcome:
    """Reads one finished run."""
    scores: dict[str, Any] = read_json(folder / "scores.json", nan=True)
    stages = Run(folder).stages
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
    questions, right = _right(folder)
    return Outcome(
        arm=arm,
        seed=seed,
        styled={row["student"]: row["styled"]["accuracy"] for row in heads if row["styled"]},
        free={row["student"]: row["free"]["accuracy"] for row in heads if row["free"]},
        dev=dev_accuracies(folder),
        vote=weighted["accuracy"] if weighted else None,
        consistency=weighted["accuracy"] - equal["difference"] if weighted and equal else None,
        tokens=tokens,
        equivalents=TRAINED_TOKEN * sum(tokens.values()) + sum(counts["tokens"] for counts in sampled),
        seconds=sum(record.get("seconds", 0.0) for record in stages.values()),
        questions=questions,
        right=right,
    )


def dev_accuracies(folder: Path) -> dict[str, float]:
    """Student -> its accuracy on dev in the style that is best there."""
    scores: dict[str, Any] = read_json(folder / "scores.json", nan=True)
    dev = {
        (row["student"], row["style"]): row["accuracy"]
        for row in scores["scores"]
        if row["split"] == "dev" and row["family"] == "all"
    }
    heads = [row for row in scores["headlines"] if not row["base"]]
    return {row["student"]: dev.get((row["student"], row["style"]), 0.0) for row in heads}


def _right(folder: Path) -> tuple[str, dict[Literal["styled", "free"], dict[str, str]]]:
    table = outcomes_by_question(folder)
    ids = sorted({question for own in table.values() for question in own})
    right: dict[Literal["styled", "free"], dict[str, str]] = {}
    for (student, mode), own in table.items():
        right.setdefault(mode, {})[student] = "".join("1" if own.get(question) else "0" for question in ids)
    return content_hash(ids), right


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
        right: dict[Literal["styled", "free"], dict[str, str]] = {
            mode: {student: row.right[mode][student] for student, row in best.items()}
            for mode in rows[0].right
            if all(student in row.right.get(mode, {}) for student, row in best.items())
        }
        chosen.append(
            Outcome(
                arm=name,
                seed=seed,
                styled={student: row.styled[student] for student, row in best.items()},
                free={student: row.free[student] for student, row in best.items() if student in row.free},
                dev={student: row.dev[student] for student, row in best.items()},
                tokens={student: row.tokens.get(student, 0) for student, row in best.items()},
                equivalents=sum(row.equivalents for row in rows),
                seconds=sum(row.seconds for row in rows),
                questions=rows[0].questions,
                right=right if len({row.questions for row in rows}) == 1 else {},
            )
        )
    return chosen


def compare(
    first: Sequence[Outcome],
    second: Sequence[Outcome],
    mode: Mode = "styled",
    against: Mode | None = None,
    *,
    question: str = "",
) -> Comparison | None:
    """Pairs two arms by seed; None where they share no seed with a figure.

    `against` is the second arm's mode where it is another than the first's. Where one arm has students
    that the other lacks, the means are over those that both have. `question`: what the difference answers.
    """
    there = {row.seed: row for row in second}
    pairs: list[tuple[float, float]] = []
    questions: list[tuple[dict[str, float], dict[str, float]]] = []
    for row in first:
        other = there.get(row.seed)
        if other is None:
            continue
        a, b = row.mean(mode, other.styled), other.mean(against or mode, row.styled)
        if a is not None and b is not None:
            pairs.append((a, b))
            questions.append((row.by_question(mode, other.styled), other.by_question(against or mode, row.styled)))
    found = difference_over_seeds(pairs, questions)
    if found is None:
        return None
    names = {"question": question, "first": first[0].arm, "second": second[0].arm, "mode": mode, "against": against}
    return Comparison.model_validate({**dict(found), **names})


def accuracy(rows: Sequence[Outcome], mode: Mode = "styled") -> Estimate | None:
    """Mean accuracy of an arm over its seeds, with Student's t interval where there are seeds enough."""
    return share([value for row in rows if (value := row.mean(mode)) is not None])


def share(values: Sequence[float]) -> Estimate | None:
    """The mean of one share per seed; its interval stays within 0 and 1."""
    return estimated(over_seeds(values, bounds=(0.0, 1.0)), values) if values else None


def change(values: Sequence[float]) -> Estimate | None:
    """The mean of one difference of shares per seed; its interval stays within -1 and 1."""
    return estimated(over_seeds(values, bounds=(-1.0, 1.0)), values) if values else None


def figure(values: Sequence[float]) -> Estimate | None:
    """The mean of one unbounded figure per seed."""
    return estimated(over_seeds(values), values) if values else None
