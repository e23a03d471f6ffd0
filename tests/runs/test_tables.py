import datasets
import pandas
import pytest

from qrdistill.base.errors import InputError
from qrdistill.base.records import Question
from qrdistill.base.store import write_table
from qrdistill.runs.run import Run, write_run_card
from qrdistill.runs.tables import as_html


@pytest.fixture
def run_with_questions(tmp_path):
    rows = [
        Question(
            id=f"q{n}", split="train", task="t", family="f", kind="number", question="<b>?", gold="4", metadata={"n": n}
        )
        for n in range(7)
    ]
    write_table(tmp_path / "questions.parquet", Question, rows)
    return Run(tmp_path), rows


def test_one_table_four_ways(run_with_questions):
    run, rows = run_with_questions
    table = run.questions()
    assert list(table) == list(table) == rows  # not used up by the first reading
    assert len(table) == 7
    frame = table.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.metadata) == [{"n": n} for n in range(7)]
    assert table.to_dataset()["id"][:] == [row.id for row in rows]
    relation = table.to_duckdb().filter("id > 'q4'").project("id")
    assert [row[0] for row in relation.fetchall()] == ["q5", "q6"]
    assert repr(table) == "<questions.parquet: 7 rows of Question>"


def test_a_table_of_shards_opens_like_one_file(run_with_questions):
    run, rows = run_with_questions
    write_table(run.folder / "questions.parquet", Question, rows, shard_rows=3)
    table = run.questions()
    assert list(table) == rows
    assert (len(table), len(table.to_pandas()), len(table.to_dataset())) == (7, 7, 7)
    assert [row[0] for row in table.to_duckdb().filter("id > 'q4'").project("id").fetchall()] == ["q5", "q6"]
    write_run_card(run.folder)
    assert datasets.load_dataset(str(run.folder), "questions", split="train")["id"][:] == [row.id for row in rows]


def test_a_notebook_shows_text_as_text(run_with_questions):
    run, _ = run_with_questions
    shown = run.questions()._repr_html_()
    assert "<b>" not in shown
    assert "&lt;b&gt;?" in shown
    assert shown.count("<tr>") == 6  # the head and five rows
    assert "…" in as_html([{"text": "x" * 1000}])
    assert "not scored yet" in run._repr_html_()


def test_a_table_that_is_not_there_yet(run_with_questions):
    run, _ = run_with_questions
    for use in (len, lambda table: table.to_pandas(), lambda table: table.to_duckdb()):
        with pytest.raises(InputError, match=r"has no paths.parquet yet; run the stage that makes it"):
            use(run.paths())
