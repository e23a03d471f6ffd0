import random

from qrdistill.base.records import ReasoningPath, Verdict
from qrdistill.base.store import write_table
from qrdistill.runs.kept import kept_paths


def test_the_kept_paths_in_the_tables_order_whatever_the_verdicts_order(tmp_path):
    names = [f"p{n}" for n in range(5000)]
    fields = {"question_id": "q", "teacher": "t", "style": "s", "prompt_hash": "", "text": "x", "answer": None}
    write_table(tmp_path / "paths.parquet", ReasoningPath, (ReasoningPath(id=name, **fields) for name in names))
    kept = {name for name in names if int(name[1:]) % 3}

    def verdicts(order):
        for name in order:
            yield Verdict(path_id=name, check="answer", outcome="keep")
            yield Verdict(path_id=name, check="filter", outcome="keep" if name in kept else "drop")

    shuffled = [*names[:4500], *random.Random(0).sample(names[4500:], 500)]
    for order in (names, shuffled, ["other", *names], names[:4800]):
        write_table(tmp_path / "verdicts.parquet", Verdict, verdicts(order))
        found = [path.id for path in kept_paths(tmp_path / "paths.parquet", tmp_path / "verdicts.parquet")]
        assert found == [name for name in names if name in kept and name in order]
