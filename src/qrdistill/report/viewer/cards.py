"""What is shown of a question: its paths with verdicts and readings, and every answer to it.

Lists without names, in the order of the constants below: a page holds thousands of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from qrdistill.report.viewer.tables import Tables

PATH = (
    "id",
    "round",
    "teacher",
    "style",
    "text",
    "thought",
    "thinking",
    "answer",
    "finish",
    "promptTokens",
    "tokens",
    "cost",
    "outcome",
    "closedBy",
    "planted",
    "verdicts",
    "readings",
)
VERDICT = ("check", "outcome", "reason", "judge", "vote", "confidence", "quote")
READING = ("round", "step", "student", "probability", "read", "loss", "next", "readings")
ANSWER = ("student", "trained", "style", "sample", "text", "answer", "correct", "reason", "tokens")

_MOST_READINGS = 60  # of one path by one student; of more, so many are shown, the first and the last among them

_PATHS = """
select paths.*, facts.outcome, facts.closed_by, truth.label as planted, truth.detail
from paths left join facts on facts.id = paths.id left join truth on truth.path_id = paths.id
where paths.question_id in (select unnest(?)) order by paths.round, paths.file_row_number, paths.id
"""

_VERDICTS = """
select path_id, "check", outcome, reason, judge, vote, confidence, quote from verdicts
where path_id in (select unnest(?)) and "check" <> 'filter' order by path_id, file_row_number
"""

# a loss is the student's own at that step only where it was measured then: else it is what the ledger still had
_READINGS = f"""
with own as (
  select *, if(nll_step is null or nll_step = step, nll, null) as loss from assignments
  where path_id in (select unnest(?))),
placed as (
  select *, row_number() over each - 1 as nth, count(*) over (partition by path_id, student) as many,
    lead(loss ignore nulls) over each as following
  from own window each as (partition by path_id, student order by round, step))
select path_id, round, step, student, probability, chosen, loss, following, many from placed
where many <= {_MOST_READINGS} or nth = 0 or nth = many - 1
  or nth * {_MOST_READINGS} // many <> (nth - 1) * {_MOST_READINGS} // many
order by path_id, round, step, student
"""

_ANSWERS = """
select * from answers where question_id in (select unnest(?)) order by question_id, untrained, file_row_number
"""


def cards(tables: Tables, ids: Sequence[str], most_characters: int | None = None) -> dict[str, dict[str, Any]]:
    """question id -> its card. most_characters: a longer text is cut there, and ends in how much is missing."""

    def shown(text: str | None) -> str | None:
        if text is None or most_characters is None or len(text) <= most_characters:
            return text
        return f"{text[:most_characters]}\n[{len(text) - most_characters:,} more characters: qrdistill view shows them]"

    found: dict[str, dict[str, Any]] = {
        row["id"]: {"question": row | {"question": shown(row["question"])}, "paths": [], "answers": []}
        for row in tables.records(
            "select id, split, task, family, kind, question, gold from questions where id in (select unnest(?)) "
            "order by file_row_number",
            list(ids),
        )
    }
    rows = [row for row in tables.records(_PATHS, list(ids)) if row["question_id"] in found]
    names = [row["id"] for row in rows]
    verdicts: dict[str, list[Any]] = defaultdict(list)
    for path, *verdict in tables.run(_VERDICTS, names):
        verdicts[path].append(_short(verdict))
    readings: dict[str, list[Any]] = defaultdict(list)
    for path, *reading in tables.run(_READINGS, names):
        readings[path].append([round_figures(value) for value in reading])
    for row in rows:
        planted = ", ".join(filter(None, (row["planted"], row["detail"])))
        found[row["question_id"]]["paths"].append(
            [
                *(row[key] for key in ("id", "round", "teacher", "style")),
                shown(row["text"]),
                *(shown(row.get("thought")), row.get("thinking")),
                *(row[key] for key in ("answer", "finish_reason", "prompt_tokens", "completion_tokens")),
                *(round_figures(row["cost"]), row["outcome"] or "", row["closed_by"] or "", planted),
                *(verdicts[row["id"]], readings[row["id"]]),
            ]
        )
    for row in tables.records(_ANSWERS, list(ids)):
        found[row["question_id"]]["answers"].append(
            [
                *(row["student"], not row["untrained"], row["style"], row["sample"], shown(row["text"])),
                *(row["answer"], row["correct"], row["reason"], row["tokens"]),
            ]
        )
    return found


def _short(verdict: list[Any]) -> Any:
    """A check that passed without a word is its name alone; what is empty at the end is left out."""
    check, outcome, reason, judge, vote, confidence, quote = verdict
    if outcome == "keep" and not reason and not judge:
        return check
    values = [check, outcome, reason, judge, vote, confidence, quote]
    while values[-1] is None:
        values.pop()
    return values


def round_figures(value: Any) -> Any:
    """A float to four significant digits; a truth value as 0 or 1.

    >>> round_figures(0.123456), round_figures(True), round_figures(3.0)
    (0.1235, 1, 3)
    """
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, float):
        return value
    value = float(f"{value:.4g}")
    return int(value) if value.is_integer() else value
