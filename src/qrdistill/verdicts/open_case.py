"""A path on its way through the checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from qrdistill.base.records import Outcome, Question, ReasoningPath, Verdict, unchecked


@dataclass(frozen=True)
class Finding:
    """What a check says of one path. `details` are the single votes, where the check has any."""

    outcome: Outcome
    reason: str = ""
    details: tuple[Verdict, ...] = ()


# a verdict's values in the order of its fields: most are only written down, and a record costs ten times as much
Note = tuple[str, int, str, Outcome, str, str | None, int, float | None, str | None]
_FIELDS = tuple(Verdict.model_fields)


@dataclass
class Case:
    """One path, the verdicts so far (`notes`), and the finding that closed it (None: still open)."""

    question: Question
    path: ReasoningPath
    notes: list[Note] = field(default_factory=list[Note])
    closed_by: str | None = None
    closing: Finding = Finding("keep")

    @property
    def open(self) -> bool:
        return self.closed_by is None

    @property
    def verdicts(self) -> list[Verdict]:
        """The notes as records."""
        return [unchecked(Verdict, dict(zip(_FIELDS, note, strict=True))) for note in self.notes]

    def verdict(self, check: str, outcome: Outcome, reason: str = "", **details: Any) -> Verdict:
        said = {"path_id": self.path.id, "round": self.path.round, "check": check, "outcome": outcome, "reason": reason}
        return unchecked(Verdict, {**said, "judge": None, "vote": 0, "confidence": None, "quote": None, **details})

    def record(self, check: str, finding: Finding) -> None:
        """Notes a finding; the first that is not `keep` closes the case."""
        if finding.details:
            self.notes.extend(_note(verdict) for verdict in finding.details)
        else:
            self._say(check, finding.outcome, finding.reason)
        if finding.outcome != "keep":
            self.closed_by, self.closing = check, finding

    def close(self) -> Outcome:
        """Adds the closing verdict, whose reason starts with the name of the check that decided."""
        reason = f"{self.closed_by}: {self.closing.reason}" if self.closed_by else ""
        self._say("filter", self.closing.outcome, reason)
        return self.closing.outcome

    def _say(self, check: str, outcome: Outcome, reason: str) -> None:
        self.notes.append((self.path.id, self.path.round, check, outcome, reason, None, 0, None, None))


def _note(verdict: Verdict) -> Note:
    values = vars(verdict)
    return tuple(values[name] for name in _FIELDS)  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class Check:
    """A named step of the filter.

    `run` gets the cases of whole questions that are still open, in canonical order, and returns one
    finding for each; None means that the check has nothing to say about that path.
    """

    name: str
    run: Callable[[Sequence[Case]], Sequence[Finding | None]]
