"""Counts as the paths go by, and the alarms that the counts give reason for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from qrdistill.base.records import Outcome
from qrdistill.verdicts.counts import FilterCounts, Tally
from qrdistill.verdicts.open_case import Case

if TYPE_CHECKING:
    from qrdistill.verdicts.judges.panel import Panel

FEW_KEPT = 0.25  # a style or teacher that keeps a smaller share of its paths than this ...
MANY = 20  # ... of at least so many is worth a warning
EMPTIED = 0.1  # share of questions without any path left
UNDECIDED = 0.1  # share of paths
DISAGREES = 0.7  # a judge whose first two votes agree on less than this is guessing
REPAIRED = 0.2  # a judge of which more replies than this needed the second reading
_SHOWN = 3


class Account:
    """Books every finding and every closed case."""

    def __init__(self, checks: Iterable[str]) -> None:
        self._total: Counter[Outcome] = Counter()
        self.usd = 0.0  # of all paths, kept or not
        self._checks: dict[str, Counter[Outcome]] = {check: Counter() for check in checks}
        self._groups: dict[str, dict[str, Counter[Outcome]]] = {"style": {}, "teacher": {}, "task": {}}
        self._lost_to: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._undecided: Counter[str] = Counter()
        self._question, self._kept = "", 0  # the question whose paths go by, and how many of them were kept
        self._questions, self._emptied, self._shown = 0, 0, list[str]()

    @property
    def total(self) -> Tally:
        return Tally.of(self._total)

    def checked(self, check: str, outcome: Outcome) -> None:
        self._checks[check][outcome] += 1

    def closed(self, case: Case, outcome: Outcome) -> None:
        self._total[outcome] += 1
        self.usd += case.path.cost
        names = {"style": case.path.style, "teacher": case.path.teacher, "task": case.question.task}
        for group, name in names.items():
            self._groups[group].setdefault(name, Counter())[outcome] += 1
            if case.closed_by:
                self._lost_to[group, name][case.closed_by] += 1
        if outcome == "undecided":
            self._undecided[f"{case.closed_by}: {case.closing.reason}"] += 1
        if case.question.id != self._question:
            self._leave_question()
            self._question, self._questions = case.question.id, self._questions + 1
        self._kept += outcome == "keep"

    def _leave_question(self) -> None:
        """A question's paths stand together: when the next one's come, it is known whether any was kept."""
        if self._questions and not self._kept:
            self._emptied += 1
            self._shown += [self._question] if len(self._shown) < _SHOWN else []
        self._kept = 0

    def counts(self, panel: Panel | None) -> FilterCounts:
        """The account of all paths; `panel` knows of its judges' errors, costs and agreement."""
        self._leave_question()
        self._question = ""
        groups = {group: _tallies(rows) for group, rows in self._groups.items()}
        total = self.total
        return FilterCounts(
            generated=total.generated,
            kept=total.kept,
            dropped=total.dropped,
            undecided=total.undecided,
            by_style=groups["style"],
            by_teacher=groups["teacher"],
            by_task=groups["task"],
            by_check=_tallies(self._checks),
            questions=self._questions,
            emptied=self._emptied,
            errors=panel.errors if panel else 0,
            judge_usd=panel.usd if panel else 0.0,
            agreement=panel.agreement() if panel else {},
            repaired=panel.repaired() if panel else {},
            warnings=(*self._alarms(groups, total), *(judge_alarms(panel) if panel else ())),
        )

    def _alarms(self, groups: Mapping[str, Mapping[str, Tally]], total: Tally) -> Iterable[str]:
        if self._emptied > EMPTIED * self._questions:
            shown = ", ".join(self._shown) + (", ..." if self._emptied > _SHOWN else "")
            yield (
                f"over-pruning: {self._emptied} of {self._questions} questions lost all their paths ({shown}); "
                "look at the dropped ones with `qrdistill show RUN verdicts`"
            )
        for group in ("style", "teacher"):
            for name, tally in groups[group].items():
                if tally.generated < MANY or tally.kept >= FEW_KEPT * tally.generated:
                    continue
                check, lost = self._lost_to[group, name].most_common(1)[0]
                yield (
                    f"over-pruning: {group} {name!r} keeps {tally.kept} of {tally.generated} paths; "
                    f"most are lost to the check {check!r} ({lost})"
                )
        undecided = total.undecided
        if undecided > UNDECIDED * total.generated:
            reason, count = self._undecided.most_common(1)[0]
            yield (
                f"{undecided} of {total.generated} paths are undecided, and do not train; most often "
                f"({count}): {reason[:120]}"
            )


def _tallies(rows: Mapping[str, Counter[Outcome]]) -> dict[str, Tally]:
    return {name: Tally.of(row) for name, row in rows.items()}


def judge_alarms(panel: Panel) -> Iterable[str]:
    """What is odd about how judges answered."""
    for judge, share in panel.agreement().items():
        if share < DISAGREES:
            yield f"judge {judge!r} agrees with itself on only {share:.0%} of the paths it was asked about twice"
    for judge, share in panel.repaired().items():
        if share > REPAIRED:
            yield (
                f"{share:.0%} of the readable replies of judge {judge!r} needed the second reading (prose around the "
                "object, another spelling); a server that takes a JSON schema would make it write what is asked for"
            )
    if panel.errors:
        yield f"{panel.errors} judge votes could not be asked; run again to ask them"
