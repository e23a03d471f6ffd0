"""How reliable each stage of the filter is, over several runs whose truth is known.

What one run says of a path is keyed by the path's id; over seeds the same id names another path, so
pooled rows carry `id@seed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qrdistill.base.records import Outcome, Question, ReasoningPath, Truth, Verdict
from qrdistill.base.statistics import kappa as point_kappa
from qrdistill.base.store import read_table
from qrdistill.report.study_results import Estimate, StudyRecord, estimated
from qrdistill.runs.run import Run
from qrdistill.scores.paired import difference
from qrdistill.scores.scores_file import Difference
from qrdistill.scores.statistics import Interval, kappa, wilson
from qrdistill.verdicts.audit import calibration
from qrdistill.verdicts.audit.calibration import Label, Reliability, ballots

RESAMPLES = 2000


@dataclass(frozen=True)
class Evidence:
    """One arm over all seeds: what its filter said of every path, and which label is known for it."""

    verdicts: list[Verdict]
    truth: Mapping[str, Label]


def evidence(folders: Mapping[int, Path], truth: Mapping[int, Mapping[str, Label]]) -> Evidence:
    """`folders` and `truth` by seed."""
    rows = [
        row.model_copy(update={"path_id": pooled_id(row.path_id, seed)})
        for seed, folder in folders.items()
        for row in read_table(folder / "verdicts.parquet", Verdict)
    ]
    labels: dict[str, Label] = {
        pooled_id(path, seed): label for seed, own in truth.items() for path, label in own.items()
    }
    return Evidence(rows, labels)


def pooled_id(path_id: str, seed: int) -> str:
    return f"{path_id}@{seed}"


def known_truth(folders: Iterable[Path]) -> dict[str, Label]:
    """The labels of one seed's paths: the planted ones, or those that a person gave in any of its runs."""
    from qrdistill.verdicts.audit.label import read_labels

    labels: dict[str, Label] = {}
    for folder in folders:
        planted = folder / "truth.parquet"
        if planted.exists():
            labels |= {row.path_id: row.label for row in read_table(planted, Truth)}
        labels |= read_labels(folder)
    return labels


class CheckFigures(StudyRecord):
    """One check against the truth: see `calibration.Reliability`. Wilson intervals, kappa by bootstrap over paths.

    A share is None where there is nothing to take it of.
    """

    n: int
    good: int
    kept: int
    undecided: int
    precision: Estimate | None
    recall: Estimate | None
    caught: Estimate | None
    kappa: Estimate


def reliabilities(found: Evidence) -> dict[str, CheckFigures]:
    """Checker -> how reliable it is."""
    return {
        checker: check_figures(one)
        for checker, one in calibration.calibrate(found.verdicts, found.truth).items()
        if one.n
    }


def check_figures(one: Reliability) -> CheckFigures:
    """The record with an interval for its kappa; `one.n` is not 0."""
    both = round(one.precision.value * one.kept) if one.kept else 0
    table = [(1, 1)] * both + [(1, 0)] * (one.kept - both) + [(0, 1)] * (one.good - both)
    table += [(0, 0)] * (one.n - len(table))
    rated = estimated(kappa([kept for kept, _ in table], [good for _, good in table], resamples=RESAMPLES))
    assert rated is not None
    return CheckFigures(
        n=one.n,
        good=one.good,
        kept=one.kept,
        undecided=one.undecided,
        precision=estimated(Interval(*one.precision)),
        recall=estimated(Interval(*one.recall)),
        caught=estimated(Interval(*one.caught)),
        kappa=rated,
    )


class RightDecisions(StudyRecord):
    """Two filters' decisions on the same paths: the share decided right by each, and the paired difference."""

    first: float
    second: float
    paired: Difference


def right_decisions(first: Evidence, second: Evidence, checker: str = "judge") -> RightDecisions | None:
    """Is one checker right more often? Keeping a sound path and not keeping another is right."""
    one, other = _right(first, checker), _right(second, checker)
    paired = difference("first", "second", one, other)
    if paired is None:
        return None
    shared = [path for path in one if path in other]
    return RightDecisions(
        first=sum(one[path] for path in shared) / len(shared),
        second=sum(other[path] for path in shared) / len(shared),
        paired=paired,
    )


def _right(found: Evidence, checker: str) -> dict[str, bool]:
    return {
        ballot.path_id: (ballot.checkers[checker] == "keep") == (found.truth[ballot.path_id] == "sound")
        for ballot in ballots(found.verdicts)
        if checker in ballot.checkers and ballot.path_id in found.truth
    }


class RuleChoice(StudyRecord):
    """A way to combine votes, chosen on one half of the questions; figures of all ways on both halves."""

    chosen: str
    calibration: dict[str, CheckFigures]
    held_out: dict[str, CheckFigures]


def choose_rule(candidates: Mapping[str, Evidence], checker: str = "judge") -> RuleChoice:
    """Among arms that differ in how votes are combined, the one with the best kappa on one half of the
    questions, measured on the other half."""
    halves: dict[str, tuple[Reliability, Reliability]] = {}
    for name, found in candidates.items():
        split: tuple[list[tuple[Outcome, Label]], list[tuple[Outcome, Label]]] = ([], [])
        for ballot in ballots(found.verdicts):
            label = found.truth.get(ballot.path_id)
            if label is not None and checker in ballot.checkers:
                half = calibration.calibration_half(ballot.path_id)
                split[not half].append((ballot.checkers[checker], label))
        halves[name] = calibration.reliability(checker, split[0]), calibration.reliability(checker, split[1])
    # a half without any labelled path has no kappa, and is never chosen
    best = max(halves, key=lambda name: halves[name][0].kappa if halves[name][0].n else -2.0)
    return RuleChoice(
        chosen=best,
        calibration={name: check_figures(pair[0]) for name, pair in halves.items() if pair[0].n},
        held_out={name: check_figures(pair[1]) for name, pair in halves.items() if pair[1].n},
    )


class ThresholdChoice(StudyRecord):
    """A value for `filter.threshold`, chosen on one half of the questions; `reached`: 95 % precision there."""

    judge: str
    threshold: float
    reached: bool
    calibration: CheckFigures
    held_out: CheckFigures


def thresholds(found: Evidence) -> list[ThresholdChoice]:
    """For every judge that states a confidence: `filter.threshold`, chosen on one half, measured on the other."""
    judges = dict.fromkeys(
        vote.judge for ballot in ballots(found.verdicts) for vote in ballot.votes if vote.confidence is not None
    )
    chosen = [calibration.choose_threshold(found.verdicts, found.truth, judge=judge) for judge in judges]
    return [
        ThresholdChoice(
            judge=judge,
            threshold=one.value,
            reached=one.reached,
            calibration=check_figures(one.chosen_on),
            held_out=check_figures(one.held_out),
        )
        for judge, one in zip(judges, chosen, strict=True)
        if one.chosen_on.n and one.held_out.n
    ]


class AuditFigures(StudyRecord):
    """Two checkers of the same paths. `table`: (first outcome, second outcome, paths)."""

    title: str
    first: str
    second: str
    n: int
    agree: Estimate | None
    kappa: float | None
    disagreements: list[str]
    table: list[tuple[str, str, int]]


def audit_figures(title: str, one: calibration.Audit) -> AuditFigures:
    return AuditFigures(
        title=title,
        first=one.first,
        second=one.second,
        n=one.n,
        agree=estimated(Interval(*one.agree)),
        kappa=one.kappa if one.n else None,
        disagreements=list(one.disagreements),
        table=[(a, b, count) for (a, b), count in one.table.items()],
    )


def judge_audits(found: Evidence) -> list[AuditFigures]:
    """Every two judges of one panel, where there are several."""
    judges = list(dict.fromkeys(vote.judge for ballot in ballots(found.verdicts) for vote in ballot.votes))
    return [
        audit_figures(
            f"judges {first} and {second}",
            calibration.audit(found.verdicts, f"judge/{first}", f"judge/{second}"),
        )
        for place, first in enumerate(judges)
        for second in judges[place + 1 :]
    ]


def answer_audit(folder: Path, *, show: int = 10, seed: int = 0) -> AuditFigures:
    """The answer check of one run against a second, naive one: does the last line hold the gold answer?

    The naive reader knows nothing of equality (7 and 7.0), units or options, so the disagreements are
    where to look, not who is right.
    """
    run = Run(folder)
    questions = {row.id: row for row in run.questions()}
    texts = {row.id: row for row in run.paths()}
    pairs: list[tuple[str, str, bool]] = []
    for ballot in ballots(run.verdicts()):
        path, outcome = texts[ballot.path_id], ballot.checkers.get("answer")
        gold = questions[path.question_id].gold
        if outcome is not None and gold is not None:
            pairs.append((ballot.path_id, outcome, last_line_holds(path.text, gold)))
    differ = [path for path, outcome, holds in pairs if (outcome == "keep") != holds]
    return AuditFigures(
        title="answer check and a naive second reader",
        first="answer",
        second="last line holds the gold answer",
        n=len(pairs),
        agree=estimated(wilson(len(pairs) - len(differ), len(pairs))),
        kappa=point_kappa((outcome == "keep", holds) for _, outcome, holds in pairs) if pairs else None,
        disagreements=sorted(differ, key=calibration.rank(seed))[:show],
        table=[],
    )


def last_line_holds(text: str, gold: str) -> bool:
    """
    >>> last_line_holds("2 + 3 = 5\\nThe answer is 5.", "5"), last_line_holds("so 15", "5")
    (True, False)
    """
    lines = [line for line in text.splitlines() if line.strip()]
    return bool(lines) and bool(
        re.search(rf"(?<![\w.,-]){re.escape(gold.strip())}(?!\w|[.,]\d)", lines[-1], re.IGNORECASE)
    )


class Pruning(StudyRecord):
    """What one arm's filter leaves, pooled over seeds: shares of paths, and of questions without any."""

    kept: Estimate | None
    emptied: Estimate | None
    styles: dict[str, Estimate]
    alarms: list[str]


def pruning(folders: Mapping[int, Path]) -> Pruning:
    """What one arm's filter leaves, pooled over seeds: questions that lost all paths, kept shares, alarms."""
    emptied = questions = kept = generated = 0
    styles: dict[str, list[int]] = {}
    alarms: list[str] = []
    for seed, folder in folders.items():
        record = Run(folder).stages["filter"]
        counts = record["counts"]
        emptied, questions = emptied + counts["emptied"], questions + counts["questions"]
        kept, generated = kept + counts["kept"], generated + counts["generated"]
        for style, tally in counts["by_style"].items():
            here = styles.setdefault(style, [0, 0])
            here[0] += tally["kept"]
            here[1] += tally["generated"]
        alarms += [f"seed {seed}: {text}" for text in record["warnings"]]
    by_style = {style: estimated(wilson(*counts)) for style, counts in styles.items()}
    return Pruning(
        kept=estimated(wilson(kept, generated)),
        emptied=estimated(wilson(emptied, questions)),
        styles={style: one for style, one in by_style.items() if one is not None},
        alarms=alarms,
    )


@dataclass(frozen=True)
class Shown:
    """One path to read."""

    check: str
    reason: str
    label: str
    question: Question
    path: ReasoningPath


def rejected(folder: Path, truth: Mapping[str, Label], *, per_check: int = 4) -> list[Shown]:
    """A seeded sample of the paths that a run's filter rejected, by check."""
    run = Run(folder)
    sample = calibration.rejected_sample(run.verdicts(), per_check=per_check)
    return _with_text(
        run,
        [(check, row.reason.partition(": ")[2], row.path_id) for check, rows in sample.items() for row in rows],
        truth,
    )


def shown(folder: Path, path_ids: Sequence[str], title: str, truth: Mapping[str, Label]) -> list[Shown]:
    """Paths of one run by id, with the closing verdict's reason."""
    run = Run(folder)
    wanted = set(path_ids)
    closing = {
        row.path_id: row.reason or "kept" for row in run.verdicts() if row.check == "filter" and row.path_id in wanted
    }
    return _with_text(run, [(title, closing[path], path) for path in path_ids if path in closing], truth)


def _with_text(run: Run, rows: Sequence[tuple[str, str, str]], truth: Mapping[str, Label]) -> list[Shown]:
    wanted = {path for _, _, path in rows}
    paths = {path.id: path for path in run.paths() if path.id in wanted}
    questions = {question.id: question for question in run.questions()}
    return [
        Shown(check, reason, truth.get(path, "unknown"), questions[paths[path].question_id], paths[path])
        for check, reason, path in rows
    ]
