"""Labels from a file, with the place of the first wrong step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrdistill.base.errors import DataError, InputError, QRDistillError
from qrdistill.base.records import Question, ReasoningPath, Verdict
from qrdistill.base.store import write_table
from qrdistill.verdicts.audit.first_wrong_step import found_first_wrong_step
from qrdistill.verdicts.audit.import_labels import Imported, import_labels
from qrdistill.verdicts.audit.label import FILE, read_first_wrong_steps, read_labels

TEXTS = ["1 + 1 = 2\n\n  2 + 2 = 5\nThe answer is 5.", "3 + 4 = 7", "  5 + 5 = 10  "]


@pytest.fixture
def run_dir(tmp_path, make_question, make_path):
    write_table(tmp_path / "questions.parquet", Question, [make_question(f"q{n}") for n in range(3)])
    paths = [make_path(text, f"q{n}") for n, text in enumerate(TEXTS)]
    write_table(tmp_path / "paths.parquet", ReasoningPath, paths)
    return tmp_path


def write(folder: Path, *rows: object) -> Path:
    file = folder / "labels-to-import.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


ID = "0/q{}/scripted/vanilla/0"


def test_rows_by_id_and_rows_of_a_replay_file(run_dir) -> None:
    file = write(
        run_dir,
        {"path_id": ID.format(0), "label": "wrong", "first_wrong_step": 2},
        {"question_id": "q1", "style": "vanilla", "text": TEXTS[1], "label": "sound", "first_wrong_step": None},
        {"question_id": "q2", "text": "5 + 5 = 10", "label": None},
        {"question_id": "q9", "text": "what this run never asked", "label": "sound"},
    )
    assert import_labels(run_dir, file) == Imported(labelled=2, placed=1, without_label=1, unknown=1)
    assert read_labels(run_dir) == {ID.format(0): "wrong", ID.format(1): "sound"}
    [(start, end)] = read_first_wrong_steps(run_dir).values()
    assert TEXTS[0][start:end] == "2 + 2 = 5"
    assert import_labels(run_dir, write(run_dir, {"path_id": ID.format(0), "label": "unsure"})).labelled == 1
    assert read_labels(run_dir) == {ID.format(1): "sound"}, "the new label stands, the others stay"
    assert read_first_wrong_steps(run_dir) == {}


@pytest.mark.parametrize("step", [2, 2.0, "2", "2 +  2 = 5"])
def test_a_step_has_a_place_by_number_or_by_its_words(run_dir, step) -> None:
    row = {"path_id": ID.format(0), "label": "spurious", "first_wrong_step": step}
    import_labels(run_dir, write(run_dir, row))
    assert read_first_wrong_steps(run_dir) == {ID.format(0): (13, 22)}


def test_csv_labels(run_dir) -> None:
    file = run_dir / "labels.csv"
    file.write_text(f"path_id,label,first_wrong_step\n{ID.format(0)},wrong,3\n{ID.format(1)},sound,\n")
    assert import_labels(run_dir, file) == Imported(2, 1, 0, 0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"path_id": ID.format(0), "label": "good"}, "label 'good' is none; write sound"),
        ({"path_id": ID.format(0), "label": 1}, "label has to be a text"),
        ({"path_id": ID.format(0), "label": "wrong", "first_wrong_step": 9}, "is no line of the path"),
        ({"path_id": ID.format(0), "label": "wrong", "first_wrong_step": 0}, "is no line of the path"),
        ({"path_id": ID.format(0), "label": "wrong", "first_wrong_step": True}, "is no step"),
        ({"path_id": ID.format(0), "label": "wrong", "first_wrong_step": [1]}, "is no step"),
        ({"path_id": ID.format(0), "label": "wrong", "first_wrong_step": "9 + 9 = 1"}, "does not stand in the path"),
        ({"path_id": ID.format(0), "label": "wrong", "first_wrong_step": "9" * 5000}, "does not stand in the path"),
        ({"path_id": ID.format(0), "label": "sound", "first_wrong_step": 1}, "label is sound and"),
        ({"path_id": ID.format(0), "text": TEXTS[1], "label": "wrong"}, "the text is not the one of"),
        ({"text": TEXTS[1], "label": "wrong"}, "which path is labelled"),
        ({"path_id": "0/q7/x/y/0", "label": "wrong"}, "no row labels a path"),
    ],
)
def test_what_is_no_label_is_one_message_and_changes_nothing(run_dir, row, message) -> None:
    import_labels(run_dir, write(run_dir, {"path_id": ID.format(1), "label": "sound"}))
    before = (run_dir / FILE).read_bytes()
    with pytest.raises(DataError, match=message) as caught:
        import_labels(run_dir, write(run_dir, row))
    assert caught.value.exit_code == 2
    assert (run_dir / FILE).read_bytes() == before


def test_two_rows_that_differ_over_one_path(run_dir) -> None:
    rows = [{"path_id": ID.format(1), "label": label} for label in ("sound", "wrong")]
    with pytest.raises(DataError, match="than line 1; keep one"):
        import_labels(run_dir, write(run_dir, *rows))


def test_a_run_without_paths(tmp_path) -> None:
    with pytest.raises(InputError, match="label a run that has generated"):
        import_labels(tmp_path, tmp_path / "labels.jsonl")


def test_how_often_a_judge_points_at_the_step() -> None:
    text = "1 + 1 = 2\n2 + 2 = 5\n1 + 1 = 2"
    places = {"a": (10, 19), "b": (10, 19), "c": (10, 19), "d": (10, 19), "e": (20, 29)}

    def said(path: str, quote: str | None, outcome: str = "drop", vote: int = 0) -> Verdict:
        return Verdict(path_id=path, check="judge", outcome=outcome, judge="j", vote=vote, quote=quote)  # type: ignore[arg-type]

    rows = [
        said("a", "2 +  2 = 5"),
        said("a", "1 + 1 = 2", vote=1),  # another vote counts for nothing
        said("b", text),  # whoever quotes all has found nothing
        said("c", "2 + 2 = 5", "undecided"),
        said("d", None),
        said("e", "1 + 1 = 2"),  # stands earlier too
        said("z", "2 + 2 = 5"),  # no place known
    ]
    [found] = found_first_wrong_step(rows, dict.fromkeys("abcdez", text), places).values()
    assert (found.value, found.n) == (0.2, 5)


def test_errors_are_the_user_s(run_dir) -> None:
    with pytest.raises(QRDistillError, match="no such file"):
        import_labels(run_dir, run_dir / "nothing.jsonl")
