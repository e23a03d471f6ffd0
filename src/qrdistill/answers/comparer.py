"""What a kind of answer has to know: how to read one, compare two, and write one down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from qrdistill.answers.statements import Closing, Statement
from qrdistill.base.records import Correctness, Question


class Reading(NamedTuple):
    """What a stated text says. `answer` None and `final` False: nothing of this kind stands here, an
    earlier statement may count; `final` True: it says something, and that cannot be decided."""

    answer: str | None
    reason: str = ""
    final: bool = False


class Extracted(NamedTuple):
    answer: str | None
    reason: str


class Checked(NamedTuple):
    outcome: Correctness
    answer: str | None
    reason: str


class Same(NamedTuple):
    """Whether an answer equals the gold answer; `reason` says why not, or why it is undecided."""

    outcome: Correctness
    reason: str = ""


@dataclass(eq=False)
class Ticket:
    """A comparison that a worker process was asked for; `result` appears when it has replied."""

    gold: str
    answer: str
    result: Same | None = None


@dataclass(frozen=True)
class Comparer:
    """One kind of answer.

    `read` reads a stated answer, `read_closing` the end of a completion that marks none, `same`
    compares an extracted answer with the gold answer, `canonical` gives equal answers equal
    strings, `closing_line` asks a teacher for a line that `read` reads, with `{}` for the answer.
    """

    read: Callable[[Question, Statement], Reading]
    read_closing: Callable[[Question, Closing], Reading]
    same: Callable[[Question, str, str], Same]
    canonical: Callable[[Question, str], str]
    closing_line: str
    example: str = "N"
    needs_gold: bool = True
    begin: Callable[[Question, str, str], Same | Ticket] | None = None  # `same` without waiting
    judge: Callable[[Question, str, str | None], Checked] | None = None  # decides on the whole completion


NOTHING = Reading(None)
