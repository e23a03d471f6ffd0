import random

import pytest

from qrdistill.base.records import Question, ReasoningPath, Verdict
from qrdistill.base.store import write_table
from qrdistill.paths.styles import with_closing_line
from qrdistill.runs.kept import COLUMNS, asked_texts, kept_batches, kept_paths, pool_batches
from qrdistill.training.pool import Pool


def test_the_kept_paths_in_the_tables_order_whatever_the_verdicts_order(tmp_path):
    names = [f"p{n}" for n in range(1200)]
    fields = {"question_id": "q", "teacher": "t", "style": "s", "prompt_hash": "", "text": "x", "answer": None}
    write_table(tmp_path / "paths.parquet", ReasoningPath, (ReasoningPath(id=name, **fields) for name in names))
    kept = {name for name in names if int(name[1:]) % 3}

    def verdicts(order):
        for name in order:
            yield Verdict(path_id=name, check="answer", outcome="keep")
            yield Verdict(path_id=name, check="filter", outcome="keep" if name in kept else "drop")

    shuffled = [*names[:1000], *random.Random(0).sample(names[1000:], 200)]
    for order in (names, shuffled, ["other", *names], names[:1100]):
        write_table(tmp_path / "verdicts.parquet", Verdict, verdicts(order))
        found = [path.id for path in kept_paths(tmp_path / "paths.parquet", tmp_path / "verdicts.parquet")]
        assert found == [name for name in names if name in kept and name in order]


@pytest.mark.parametrize("thinking", ["drop", "keep", "only"])
def test_training_reads_of_the_tables_what_it_would_read_of_the_records(tmp_path, thinking):
    rows = [
        Question(id=f"q{n}", split="train", task="t", family="f", kind=kind, question=f"How many {n}?", gold="7")
        for n, kind in enumerate(["number", "text"])
    ]
    paths = [
        ReasoningPath(
            id=f"p{n}",
            question_id=f"q{n % 2}",
            teacher="t",
            style="s",
            prompt_hash="",
            text=f"It is {n}.",
            answer=None,
            thought="Hm." if n % 3 else "",
            thinking=thinking if n % 4 else "drop",
        )
        for n in range(12)
    ]
    tables = {name: tmp_path / f"{name}.parquet" for name in ("questions", "paths", "verdicts")}
    write_table(tables["questions"], Question, rows)
    write_table(tables["paths"], ReasoningPath, paths)
    closing = (Verdict(path_id=f"p{n}", check="filter", outcome="drop" if n == 5 else "keep") for n in range(12))
    write_table(tables["verdicts"], Verdict, closing)
    for closing_line in (False, True):
        asked = {row.id: with_closing_line(row) if closing_line else row for row in rows}
        texts = asked_texts(tables["questions"], closing_line=closing_line)
        batches = pool_batches(kept_batches(tables["paths"], tables["verdicts"], COLUMNS), texts)
        kept = [path for path in paths if path.id != "p5"]
        assert list(Pool(batches)) == list(Pool.of(kept, asked))
