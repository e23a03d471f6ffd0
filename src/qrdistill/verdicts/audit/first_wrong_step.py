"""Where a path goes wrong first: places in its text, and how often a judge points there.

A place is [start, end), counted in characters of the path's text. A judge has found the first wrong step where the
step that it quotes begins inside that place; of a quote that stands several times in the path, its first standing
counts, so that quoting everything, or a word that is everywhere, finds nothing but what stands first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from qrdistill.base.records import Verdict
from qrdistill.verdicts.audit.calibration import Share, share

Place = tuple[int, int]


def place_of_line(text: str, number: int) -> Place | None:
    """The `number`-th line that is not blank, from 1; None where there are fewer.

    >>> place_of_line("one\\n\\n two", 2)
    (6, 9)
    """
    lines = [found.span() for found in re.finditer(r"\S(?:[^\n]*\S)?", text)]
    return lines[number - 1] if 0 < number <= len(lines) else None


def place_of_quote(text: str, quote: str) -> Place | None:
    """Where a quote first stands in a text, blanks and line ends counting alike; None where it does not.

    >>> place_of_quote("So 3\\n+ 4 = 8.", "3 + 4 = 8")
    (3, 12)
    """
    words = quote.split()
    found = re.search(r"\s+".join(map(re.escape, words)), text) if words else None
    return found.span() if found else None


def found_first_wrong_step(
    verdicts: Iterable[Verdict], texts: Mapping[str, str], places: Mapping[str, Place]
) -> dict[str, Share]:
    """Judge -> how often its first vote names the first wrong step, of the paths it was asked about that have one."""
    asked: dict[str, list[bool]] = {}
    seen: set[tuple[str, str]] = set()
    for row in verdicts:
        if row.judge is None or row.path_id not in places or (row.judge, row.path_id) in seen:
            continue
        seen.add((row.judge, row.path_id))
        start, end = places[row.path_id]
        quoted = place_of_quote(texts[row.path_id], row.quote or "") if row.outcome == "drop" else None
        asked.setdefault(row.judge, []).append(quoted is not None and start <= quoted[0] < end)
    return {judge: share(sum(found), len(found)) for judge, found in asked.items()}
