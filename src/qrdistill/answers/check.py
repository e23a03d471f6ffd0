"""The only comparer: what a completion answers, and whether that is right.

Everything that decides on correctness (the filter, dev and test scores, votes, the students' own
paths) goes through `check`. It reads the completion only, never the prompt; the last stated answer
counts; and what cannot be decided is undecided, with the reason. See docs/answers.md.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from qrdistill.answers import latex
from qrdistill.answers.comparer import Checked, Comparer, Extracted, Ticket
from qrdistill.answers.kinds import function as by_function
from qrdistill.answers.statements import Statement, closing, cut_short, own_turn, statements
from qrdistill.base.plugins import registry
from qrdistill.base.records import Question
from qrdistill.base.thoughts import part

# characters that no reader sees
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u206f\ufeff\ufe00-\ufe0f]")
_LIST_NUMBER = re.compile(r"(?:^|\n)[ \t]*(?:1|(?<=\n)\d{1,2})[.)]\s*$")
_WINDOW = 256  # results that may wait for an earlier one


@lru_cache(maxsize=64)
def comparer(kind: str) -> Comparer:
    """The comparer of a registered kind; a user's function judges whole completions. Raises ConfigError."""
    found = registry.find("comparers", kind, key="questions.kind")
    return found if isinstance(found, Comparer) else by_function.comparer(kind, found)


def answer_format(kind: str) -> str:
    """The closing line that a teacher is asked for.

    >>> answer_format("number")
    'End with: The answer is N.'
    """
    asked = comparer(kind)
    return "End with: " + asked.closing_line.format(asked.example)


def render(kind: str, answer: str) -> str:
    """The closing line with an answer in it; `extract` gives the answer back."""
    return comparer(kind).closing_line.format(answer)


def extract(question: Question, completion: str, *, cut: bool = False) -> Extracted:
    """The answer that a completion states after its thought; None with a reason where it states none, or two.

    cut: its token limit cut it, so that only a marked answer with more text after it counts.

    >>> question = Question(id="1", split="test", task="t", family="f", kind="number", question="?", gold="18")
    >>> extract(question, "First I thought the answer is 5. No: the answer is $18.00 a day.").answer
    '18.00'
    """
    kind = comparer(question.kind)
    thought, completion, _ = part(completion)
    if not completion.strip():
        return Extracted(None, "a thought without an answer" if thought else "the completion is empty")
    own = own_turn(completion)
    if cut and own == completion and cut_short(own):
        return Extracted(None, "cut by the token limit before an answer was complete")
    completion = own if own.isascii() else _INVISIBLE.sub("", own)
    if _ends_in_a_list_number(completion):
        return Extracted(None, "the completion ends in a list's number")
    stated = statements(completion)
    for statement in reversed(stated):
        reading = kind.read(question, statement)
        if reading.answer or reading.final:
            return Extracted(reading.answer, reading.reason)
    reading = kind.read_closing(question, closing(completion))
    return Extracted(reading.answer or None, reading.reason or ("" if reading.answer else "no answer is stated"))


def _ends_in_a_list_number(text: str) -> bool:
    end = text.rstrip()
    return end.endswith((".", ")")) and _LIST_NUMBER.search(text, max(0, end.rfind("\n"))) is not None


def read_gold(question: Question) -> Extracted:
    """The gold answer in the form that `extract` gives answers: a letter, a bare numeral, a label."""
    assert question.gold is not None
    kind = comparer(question.kind)
    reading = kind.read(question, Statement(question.gold, "gold", 0, 0))
    return Extracted(reading.answer, reading.reason or f"no {question.kind} answer can be read from it")


def check(question: Question, completion: str, *, cut: bool = False) -> Checked:
    """Whether a completion answers its question: correct, wrong, or undecided with the reason.

    cut: whether its token limit cut it, see `extract`.
    """
    return _finish(_begin(question, completion, cut))


def check_many(pairs: Iterable[tuple[Question, str] | tuple[Question, str, bool]]) -> Iterator[Checked]:
    """`check` for a stream of (question, completion) or (question, completion, cut): results in order, in
    constant memory.

    Comparisons that need a worker process run beside the reading of later pairs; at most `_WINDOW`
    results wait for an earlier one.
    """
    waiting: deque[Checked | _Unfinished] = deque()
    for pair in pairs:
        waiting.append(_begin(pair[0], pair[1], any(pair[2:])))
        while waiting and (len(waiting) > _WINDOW or _is_done(waiting[0])):
            yield _finish(waiting.popleft())
    while waiting:
        yield _finish(waiting.popleft())


class _Unfinished(NamedTuple):
    answer: str
    ticket: Ticket


def _begin(question: Question, completion: str, cut: bool = False) -> Checked | _Unfinished:
    kind = comparer(question.kind)
    answer, reason = extract(question, completion, cut=cut)
    if kind.judge is not None:
        return kind.judge(question, part(completion).answer, answer)
    if answer is None:
        return Checked("undecided", None, reason)
    if question.gold is None and kind.needs_gold:
        return Checked("undecided", answer, "the question has no gold answer")
    gold = question.gold or ""
    same = kind.begin(question, gold, answer) if kind.begin else kind.same(question, gold, answer)
    return _Unfinished(answer, same) if isinstance(same, Ticket) else Checked(same.outcome, answer, same.reason)


def _is_done(result: Checked | _Unfinished) -> bool:
    return isinstance(result, Checked) or result.ticket.result is not None


def _finish(result: Checked | _Unfinished) -> Checked:
    if isinstance(result, Checked):
        return result
    same = latex.wait(result.ticket)
    return Checked(same.outcome, result.answer, same.reason)


def canonical(question: Question, answer: str | None) -> str | None:
    """Equal answers as equal strings, for counting votes; None stays None."""
    return None if answer is None else comparer(question.kind).canonical(question, answer)
