"""Answers that a user's function judges: a registered one, or kind `module:function`.

`function(question, completion)` returns True, False, None (undecided), or a `Checked`. The module has
to be importable: installed, or in a folder on PYTHONPATH.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qrdistill.answers.comparer import Checked, Comparer, Same
from qrdistill.answers.kinds import text as by_text
from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question

_OUTCOMES = {True: "correct", False: "wrong", None: "undecided"}


def comparer(kind: str, function: Callable[[Question, str], Any]) -> Comparer:
    """The comparer around a user's function; text reading gives the answer that is shown and counted."""
    if not callable(function):
        raise ConfigError(f"{kind!r} is not a function", key="questions.kind")

    def judge(question: Question, completion: str, answer: str | None) -> Checked:
        try:
            result = function(question, completion)
        except Exception as error:
            return Checked("undecided", answer, f"{kind} failed: {type(error).__name__}: {error}"[:200])
        if isinstance(result, Checked):
            return result
        if result is None or isinstance(result, bool):
            return Checked(_OUTCOMES[result], answer, "" if result else f"{kind} says so")  # type: ignore[arg-type]
        return Checked("undecided", answer, f"{kind} returned {result!r:.60}, not True, False, None or a Checked")

    def same(question: Question, gold: str, answer: str) -> Same:
        checked = judge(question, by_text.TEXT.closing_line.format(answer), answer)
        return Same(checked.outcome, checked.reason)

    return Comparer(
        by_text.read,
        by_text.read_closing,
        same,
        by_text.canonical,
        by_text.TEXT.closing_line,
        "X",
        judge=judge,
    )
