import pytest

from qrdistill.base import rows
from qrdistill.base.records import Question
from qrdistill.base.rows import RowsById
from qrdistill.base.store import write_table


def questions(count):
    return [
        Question(
            id=f"q{n}",
            split="train",
            task="t",
            family="f",
            kind="number",
            question=f"{n}?",
            gold="2",
            metadata={"n": n},
        )
        for n in range(count)
    ]


ROWS = questions(20_000)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "questions.parquet"
    write_table(path, Question, ROWS, shard_rows=9_000)
    return path


def test_a_row_by_its_id_wherever_it_stands(table):
    found = RowsById(table, Question)
    assert len(found) == 20_000
    for n in (0, 19_999, 4095, 4096, 8_999, 9_000, 9_001, 17_999, 18_000, 7):
        assert found[f"q{n}"] == ROWS[n]
    assert list(found)[:3] == ["q0", "q1", "q2"]
    assert len(found._held) <= rows._HELD
    assert "q20000" not in found
    assert found.get("") is None


def test_ids_with_one_hash_are_told_apart(table, monkeypatch):
    monkeypatch.setattr(rows, "_hash", lambda name: int(str(name).lstrip("q") or 0) // 10)
    found = RowsById(table, Question)
    assert [found[f"q{n}"].question for n in (41, 49, 40)] == ["41?", "49?", "40?"]
    assert "q300001" not in found
