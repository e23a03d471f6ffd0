import pytest

from qrdistill.base.errors import InputError
from qrdistill.base.records import FREE, Answer
from qrdistill.base.store import write_json, write_table
from qrdistill.scores.compare import compare
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.score import score


@pytest.fixture
def write_run(tmp_path, make_question, make_answer):
    """write_run(name, {student: "right or wrong per test question"}): a run with answers and scores."""

    def write(name, students, places=range(4)):
        questions = {f"d{n}": make_question(f"d{n}", split="dev") for n in range(2)}
        questions |= {f"q{n}": make_question(f"q{n}") for n in places}
        rows = []
        for student, line in students.items():
            rows += [make_answer(student, f"d{n}", "facts", split="dev") for n in range(2)]
            for style in ("facts", FREE):
                rows += [
                    make_answer(student, f"q{n}", style, "1" if mark == "+" else "9")
                    for n, mark in zip(places, line, strict=True)
                ]
        write_table(tmp_path / name / "answers.parquet", Answer, rows)
        write_json(tmp_path / name / "scores.json", score(rows, questions, EvaluateConfig()))
        return tmp_path / name

    return write


def test_compare_by_hand(write_run):
    first = write_run("new", {"anna": "++++", "ben": "++--"})
    second = write_run("old", {"anna": "+---", "ben": "+-+-"})
    rows = {row.first: row for row in compare([first, second])}
    anna = rows["new: anna, styled"]
    assert (anna.second, anna.n, anna.difference) == ("old: anna, styled", 4, 0.75)
    assert (anna.only_first, anna.only_second, anna.p) == (3, 0, 0.25)
    assert rows["new: ben, free"].difference == 0.0
    mean = rows["new: mean of students, styled"]
    assert mean.difference == pytest.approx(0.375)  # (0, 1, 0, 0.5): 1, 1, 0.5, 0.5 minus 1, 0, 0.5, 0
    assert (mean.only_first, mean.only_second, mean.p) == (2, 0, 0.5)
    turned = {row.second: row for row in compare([second, first])}
    assert turned["new: anna, styled"].difference == -0.75


def test_three_runs_are_each_compared_with_the_first(write_run):
    runs = [write_run(name, {"anna": "++--"}) for name in ("a", "b", "c")]
    assert [(row.first[0], row.second[0]) for row in compare(runs)] == [("a", "b")] * 2 + [("a", "c")] * 2


def test_only_shared_questions_and_students_count(write_run):
    first = write_run("a", {"anna": "++++", "cleo": "++++"})
    second = write_run("b", {"anna": "--", "ben": "++"}, places=range(2, 4))
    rows = compare([first, second])
    assert {row.n for row in rows} == {2}
    assert all("anna" in row.first for row in rows)
    with pytest.raises(InputError, match="share no student"):
        compare([first, write_run("c", {"dora": "++++"})])


def test_what_cannot_be_compared_says_so(write_run, tmp_path):
    run = write_run("a", {"anna": "++++"})
    with pytest.raises(InputError, match="two or more"):
        compare([run])
    with pytest.raises(InputError, match=r"missing: no readable scores\.json"):
        compare([run, tmp_path / "missing"])
