"""Ready paths of other tools: their columns under our names, lists of samples row by row, questions found by their text.

curator, distilabel and open-r1 tables have a question's text where ours have its id, several generations in one cell,
or a conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from qrdistill.base.records import Question
from qrdistill.questions.read_rows import Row

_COUNTS = ("finish_reason", "prompt_tokens", "completion_tokens", "cost")
_NAMES = ("question_id", "question", "style", "text", "thought", "teacher", *_COUNTS)
_ASSISTANT, _USER = ("assistant", "gpt", "model"), ("user", "human")


def mapped(
    rows: Iterable[Row], columns: Mapping[str, str], style: str | None, questions: Sequence[Question]
) -> Iterator[Row]:
    """Rows under our names: as they are where `columns` is empty and no `style` is given for all.

    A cell of `text` may be a list of texts (samples, and so may be the cells beside it), a text, or a conversation, whose
    last turn of an assistant is taken; a cell of `question` a text or a conversation, whose first user's turn is taken.
    Raises DataError with the row's place where a column that `columns` names is not there.
    """
    ids = {_plain(question.question): question.id for question in questions}
    for row in rows:
        if not columns and style is None:
            yield row
            continue
        value: dict[str, Any] = {name: row.value[name] for name in _NAMES if name in row.value}
        for ours, theirs in columns.items():
            if theirs not in row.value:
                there = ", ".join(map(str, row.value)) or "none"
                raise row.error(f"no column {theirs!r}, which the teacher's columns.{ours} names; there are: {there}")
            value[ours] = row.value[theirs]
        if style is not None:
            value["style"] = style
        if "question" in value and "question_id" not in columns:
            asked = _turn(value.pop("question"), _USER, first=True)
            value["question_id"] = ids.get(_plain(asked), asked[:60]) if isinstance(asked, str) else asked
        for sample in _samples(value):
            yield Row(sample, row.file, row.line)


def _samples(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One row per text of a list; lists as long beside it are shared out too."""
    texts = value.get("text")
    if not isinstance(texts, list) or _is_conversation(texts):
        yield {**value, "text": _turn(texts, _ASSISTANT)}
        return
    cells = cast("list[Any]", texts)
    for at, text in enumerate(cells):
        beside = {
            name: cast("list[Any]", cell)[at]
            if isinstance(cell, list) and len(cast("list[Any]", cell)) == len(cells)
            else cell
            for name, cell in value.items()
        }
        yield {**beside, "text": _turn(text, _ASSISTANT)}


def _is_conversation(cell: list[Any]) -> bool:
    return bool(cell) and all(isinstance(turn, dict) for turn in cell)


def _turn(cell: Any, roles: Sequence[str], *, first: bool = False) -> Any:
    """The last (or first) turn of one of the roles, of a conversation; anything else as it is."""
    if not isinstance(cell, list) or not _is_conversation(cast("list[Any]", cell)):
        return cell
    turns = [
        turn.get("content", turn.get("value"))
        for turn in cast("list[dict[str, Any]]", cell)
        if turn.get("role", turn.get("from")) in roles
    ]
    return turns[0 if first else -1] if turns else None


def _plain(text: Any) -> str:
    """Blanks at the ends and between words say nothing."""
    return " ".join(str(text).split())
