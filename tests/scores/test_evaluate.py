from pathlib import Path

import pytest

from qrdistill.answers.check import check
from qrdistill.base.errors import ConfigError
from qrdistill.base.progress import Silent
from qrdistill.base.records import FREE, Answer
from qrdistill.base.store import TableWriter, read_table
from qrdistill.paths.styles import resolve_styles
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.evaluate import Asker, evaluate
from qrdistill.scores.student_style import style_choices
from qrdistill.students.config import StudentConfig

STYLES = resolve_styles(["vanilla", "chain_of_thought", "facts"])


@pytest.fixture
def questions(make_question):
    return [
        *(make_question(f"dev-{n}", split="dev") for n in range(4)),
        *(make_question(f"test-{n}", split="test") for n in range(3)),
        make_question("train-0", split="train"),
    ]


def run(target, students, questions, progress=None, **settings):
    config = EvaluateConfig(max_tokens=8, batch_size=4, **settings)
    with TableWriter(target, Answer) as out:
        evaluate(
            students,
            questions,
            config,
            styles=STYLES,
            out=out,
            base_dir=target.parent,
            seed=0,
            progress=progress,
        )
    return list(read_table(target, Answer))


def chosen(rows, questions):
    choices = style_choices(rows, {question.id: question for question in questions})
    return {student: choice.style for student, choice in choices.items()}


def test_who_is_asked_what(tmp_path, student_folders, questions):
    voice = Silent()
    rows = run(tmp_path / "answers.parquet", student_folders, questions, voice)
    best = chosen(rows, questions)
    assert [warning.partition(":")[0] for warning in voice.warnings] == list(student_folders)  # ties, and they are said
    assert all("no style gives a right answer on 4 dev questions" in warning for warning in voice.warnings)
    asked = [(row.student, row.question_id, row.style) for row in rows]
    dev = [(f"dev-{n}", style) for n in range(4) for style in (*STYLES, FREE)]
    for student in student_folders:
        mine = [entry[1:] for entry in asked if entry[0] == student]
        assert mine[: len(dev)] == dev  # question order, then style order, free last
        # no style is above one half on dev (random weights): the best alone, and free
        assert mine[len(dev) :] == [(f"test-{n}", s) for n in range(3) for s in (best[student], FREE)]
    assert asked == sorted(asked, key=lambda entry: entry[0])
    assert {path.parent.name.partition("-")[0] for path in tmp_path.glob(".answers.parts/*/*")} == set(student_folders)


def test_same_seed_same_bytes_and_order_of_students_only_reorders(tmp_path, student_folders, questions):
    settings = {"samples": 3, "styles": "all"}
    first = run(tmp_path / "a.parquet", student_folders, questions, **settings)
    run(tmp_path / "b.parquet", student_folders, questions, **settings)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    turned = run(tmp_path / "c.parquet", dict(reversed(student_folders.items())), questions, **settings)
    key = lambda row: (row.student, row.question_id, row.style, row.sample)  # noqa: E731
    assert sorted(first, key=key) == sorted(turned, key=key)
    sampled = [row for row in first if row.sample > 0]
    assert {row.sample for row in sampled} == {1, 2, 3}
    best = chosen(first, questions)
    assert {(row.student, row.split, row.style) for row in sampled} == {(name, "test", best[name]) for name in best}
    assert len({row.text for row in sampled}) > len({row.question_id for row in sampled})


def test_a_killed_evaluation_goes_on_with_the_next_student(tmp_path, student_folders, questions):
    class Dying(Silent):
        def advance(self, steps=1, **facts):
            raise KeyboardInterrupt

    class Listening(Silent):
        def __init__(self):
            super().__init__()
            self.said = []

        def log(self, message):
            self.said.append(message)

    undisturbed = run(tmp_path / "whole.parquet", student_folders, questions)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "answers.parquet", student_folders, questions, Dying())
    assert not (tmp_path / "answers.parquet").exists()
    voice = Listening()
    assert run(tmp_path / "answers.parquet", student_folders, questions, voice) == undisturbed
    assert voice.said
    assert all(line.startswith("ben") for line in voice.said)  # anna's answers were kept


def test_changed_weights_are_asked_again(tmp_path, student_folders, questions):
    class Dying(Silent):
        def advance(self, steps=1, **facts):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "answers.parquet", {"x": student_folders["anna"]}, questions, Dying())
    resumed = run(tmp_path / "answers.parquet", {"x": student_folders["ben"]}, questions)
    fresh = run(tmp_path / "fresh.parquet", {"x": student_folders["ben"]}, questions)
    assert resumed == fresh


def test_only_the_completion_is_read_and_the_end_token_is_counted(tmp_path, student_folders, questions):
    rows = run(tmp_path / "answers.parquet", student_folders, questions)
    by_id = {question.id: question for question in questions}
    for row in rows:
        checked = check(by_id[row.question_id], row.text, cut=row.finish_reason == "length")  # the text alone decides
        assert (row.answer, row.reason) == (checked.answer, checked.reason)
        assert row.correct is {"correct": True, "wrong": False, "undecided": None}[checked.outcome]
        assert not row.text.startswith(row.question_id)
    assert all(1 <= row.tokens <= 8 for row in rows)
    assert all(row.logprob < 0 for row in rows)
    assert {row.finish_reason for row in rows} <= {"stop", "length"}
    assert all(row.tokens == 8 for row in rows if row.finish_reason == "length")
    undecided = [row for row in rows if row.correct is None]
    assert all(row.reason for row in undecided)


def test_scoring_dev_itself_samples_dev(tmp_path, student_folders, questions):
    rows = run(tmp_path / "answers.parquet", student_folders, questions, split="dev", samples=2)
    assert {row.split for row in rows} == {"dev"}
    assert {row.sample for row in rows} == {0, 1, 2}
    assert len({(r.student, r.question_id, r.style, r.sample) for r in rows}) == len(rows)


def test_without_dev_questions_every_style_is_scored_and_said(tmp_path, student_folders, questions):
    voice = Silent()
    tests = [question for question in questions if question.split == "test"]
    rows = run(tmp_path / "answers.parquet", {"anna": student_folders["anna"]}, tests, voice)
    assert {row.style for row in rows} == {*STYLES, FREE}
    assert "no dev questions" in voice.warnings[0]


def test_a_student_may_be_a_whole_config_and_a_base(tmp_path, student_folders, questions):
    config = StudentConfig(name="anna", model=str(student_folders["anna"]))
    rows = run(tmp_path / "a.parquet", {"anna@base": config, "anna": student_folders["anna"]}, questions)
    by_name = {name: [r.text for r in rows if r.student == name] for name in ("anna@base", "anna")}
    assert by_name["anna@base"] == by_name["anna"]


def test_an_unknown_style_is_refused_before_anything_loads(tmp_path, questions):
    with pytest.raises(ConfigError, match=r"evaluate\.styles\.1.*'rhyme'.*vanilla"):
        run(tmp_path / "a.parquet", {"x": "no-such-folder"}, questions, styles=["facts", "rhyme"])
    assert not (tmp_path / "a.parquet").exists()


@pytest.mark.parametrize(
    ("styles", "best", "votes", "expected"),
    [
        ("best_on_dev", "facts", ["vanilla"], ["vanilla", "facts", FREE]),
        ("best_on_dev", None, [], ["vanilla", "chain_of_thought", "facts", FREE]),
        ("all", "facts", [], ["vanilla", "chain_of_thought", "facts", FREE]),
        (["chain_of_thought"], "facts", ["vanilla"], ["chain_of_thought", FREE]),
    ],
)
def test_chosen_styles(styles, best, votes, expected):
    asker = Asker("x", None, EvaluateConfig(styles=styles), STYLES, 0, Silent(), Path())
    assert asker.chosen(best, votes) == expected
    silent = Asker("x", None, EvaluateConfig(styles=styles, free=False), STYLES, 0, Silent(), Path())
    assert silent.chosen(best, votes) == expected[:-1]
