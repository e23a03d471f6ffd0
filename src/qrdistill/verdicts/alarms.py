"""Counts as the paths go by, and the alarms that the counts give reason for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
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
        self.total = Tally()
        self.usd = 0.0  # of all paths, kept or not
        self._checks = {check: Tally() for check in checks}
        self._groups: dict[str, dict[str, Tally]] = {"style": {}, "teacher": {}, "task": {}}
        self._lost_to: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._undecided: Counter[str] = Counter()
        self._kept: dict[str, int] = {}

    def checked(self, check: str, outcome: Outcome) -> None:
        self._checks[check] = self._checks[check].plus(outcome)

    def closed(self, case: Case, outcome: Outcome) -> None:
        self.total = self.total.plus(outcome)
        self.usd += case.path.cost
        names = {"style": case.path.style, "teacher": case.path.teacher, "task": case.question.task}
        for group, name in names.items():
            self._groups[group][name] = self._groups[group].get(name, Tally()).plus(outcome)
            if case.closed_by:
                self._lost_to[group, name][case.closed_by] += 1
        if outcome == "undecided":
            self._undecided[f"{case.closed_by}: {case.closing.reason}"] += 1
        self._kept[case.question.id] = self._kept.get(case.question.id, 0) + (outcome == "keep")

    def counts(self, panel: Panel | None) -> FilterCounts:
        """The account so far; `panel` knows of its judges' errors, costs and agreement."""
        emptied = [id for id, kept in self._kept.items() if kept == 0]
        return FilterCounts(
            generated=self.total.generated,
            kept=self.total.kept,
            dropped=self.total.dropped,
            undecided=self.total.undecided,
            by_style=self._groups["style"],
            by_teacher=self._groups["teacher"],
            by_task=self._groups["task"],
            by_check=self._checks,
            questions=len(self._kept),
            emptied=len(emptied),
            errors=panel.errors if panel else 0,
            judge_usd=panel.usd if panel else 0.0,
            agreement=panel.agreement() if panel else {},
            repaired=panel.repaired() if panel else {},
            warnings=(*self._alarms(emptied), *(judge_alarms(panel) if panel else ())),
        )

    def _alarms(self, emptied: Sequence[str]) -> Iterable[str]:
        if len(emptied) > EMPTIED * len(self._kept):
            shown = ", ".join(emptied[:_SHOWN]) + (", ..." if len(emptied) > _SHOWN else "")
            yield (
                f"over-pruning: {len(emptied)} of {len(self._kept)} questions lost all their paths ({shown}); "
                "look at the dropped ones with `qrdistill show RUN verdicts`"
            )
        for group in ("style", "teacher"):
            tallies = self._groups[group]
            for name, tally in tallies.items():
                if tally.generated < MANY or tally.kept >= FEW_KEPT * tally.generated:
                    continue
                check, lost = self._lost_to[group, name].most_common(1)[0]
                yield (
                    f"over-pruning: {group} {name!r} keeps {tally.kept} of {tally.generated} paths; "
                    f"most are lost to the check {check!r} ({lost})"
                )
        undecided = self.total.undecided
        if undecided > UNDECIDED * self.total.generated:
            reason, count = self._undecided.most_common(1)[0]
            yield (
                f"{undecided} of {self.total.generated} paths are undecided, and do not train; most often "
                f"({count}): {reason[:120]}"
            )


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
