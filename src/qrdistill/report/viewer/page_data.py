"""What lies in the page itself: everything said of the run, its questions, and their cards, compressed.

The cards are JSON, packed, in base64: no text of a model is markup anywhere, and the page stays small. Where they
would be too many, the page holds a sample of the questions and says so.
"""

from __future__ import annotations

import base64
import gzip
import json

from qrdistill.base.draws import seed_of
from qrdistill.base.untrusted.redact import redact
from qrdistill.report.run_facts import RunData
from qrdistill.report.viewer.cards import cards, round_figures
from qrdistill.report.viewer.listing import ROW
from qrdistill.report.viewer.overview import chosen_styles, overview
from qrdistill.report.viewer.page import embedded
from qrdistill.report.viewer.tables import Tables

_MOST_PATHS = 40_000  # and answers, of the questions that lie in the page
_MOST_BYTES = 4_000_000  # of the packed cards
_MOST_CHARACTERS = 20_000  # of one text


def page_data(run: RunData) -> dict[str, str] | None:
    """{"run-data": JSON, "run-cards": base64}; None where the run has no questions yet. Raises DataError."""
    tables = Tables(run.folder)
    if not tables.files["questions"]:
        return None
    tables.check()
    tables.build(chosen_styles(run))
    try:
        found = overview(run, tables)
        rows = tables.run(f"select {', '.join(ROW)} from listed order by place")
        sampled = _sample(tables, [row[1] for row in rows])
        packed = _pack(tables, sampled)
        while len(packed) > _MOST_BYTES and len(sampled) > 1:
            sampled = sampled[: max(1, int(len(sampled) * 0.9 * _MOST_BYTES / len(packed)))]
            packed = _pack(tables, sampled)
        inside = set(sampled)
        found["rows"] = [[round_figures(value) for value in row] for row in rows if row[1] in inside]
        found["sample"] = {"shown": len(sampled), "all": len(rows)}
    finally:
        tables.close()
    return {"run-data": embedded(found), "run-cards": packed}


def _sample(tables: Tables, ids: list[str]) -> list[str]:
    """All questions, or as many as the page has room for, drawn by their ids."""
    sizes = dict(
        tables.run(
            "select id, count(*) from (select question_id as id from facts union all select question_id from answers) group by 1"
        )
    )
    if sum(sizes.values()) <= _MOST_PATHS:
        return ids
    chosen, room = list[str](), _MOST_PATHS
    for name in sorted(ids, key=lambda name: seed_of("page", name)):
        room -= sizes.get(name, 0)
        if room < 0:
            break
        chosen.append(name)
    return chosen or ids[:1]


def _pack(tables: Tables, ids: list[str]) -> str:
    text = redact(json.dumps(cards(tables, ids, _MOST_CHARACTERS), ensure_ascii=False, separators=(",", ":")))
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), compresslevel=9, mtime=0)).decode()
