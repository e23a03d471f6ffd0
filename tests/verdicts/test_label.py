from __future__ import annotations

import json

import pytest

from qrdistill.base.errors import DataError, InputError
from qrdistill.base.records import Question, ReasoningPath
from qrdistill.base.store import write_table
from qrdistill.base.untrusted.clean_text import clean_text
from qrdistill.verdicts.audit.label import FILE, label_paths, read_labels


@pytest.fixture
def run_dir(tmp_path, make_question, make_path):
    questions = [make_question(f"train-{n}") for n in range(6)]
    write_table(tmp_path / "questions.parquet", Question, questions)
    paths = [make_path(f"path {n}", f"train-{n}") for n in range(6)]
    write_table(tmp_path / "paths.parquet", ReasoningPath, paths)
    return tmp_path


class Person:
    """Presses the keys given, one after the other; then the input ends. Reads what was shown."""

    def __init__(self, keys: str) -> None:
        self.keys, self.seen = list(keys), []

    def ask(self, prompt: str) -> str:
        if not self.keys:
            raise EOFError
        return self.keys.pop(0)

    def label(self, run_dir, **options):
        return label_paths(run_dir, ask=self.ask, show=self.seen.append, **options)


def test_every_label_is_saved_as_it_is_given(run_dir) -> None:
    saved = []

    class Watching(Person):
        def ask(self, prompt: str) -> str:
            file = run_dir / FILE
            saved.append(len(file.read_text().splitlines()) if file.exists() else 0)
            return super().ask(prompt)

    done = Watching("spw").label(run_dir, num_paths=6)
    assert saved == [0, 1, 2, 3]
    assert (done.done, done.planned) == (3, 6)


def test_the_same_command_goes_on(run_dir) -> None:
    first, second = Person("ss"), Person("wwww")
    first.label(run_dir, num_paths=6)
    assert second.label(run_dir, num_paths=6).done == 6
    lines = [json.loads(line) for line in (run_dir / FILE).read_text().splitlines()]
    assert len({line["path_id"] for line in lines}) == 6
    assert [line["label"] for line in lines] == ["sound"] * 2 + ["wrong"] * 4
    assert Person("").label(run_dir, num_paths=6).done == 6


def test_a_larger_sample_holds_the_smaller_one(run_dir) -> None:
    Person("ss").label(run_dir, num_paths=2)
    person = Person("")
    assert person.label(run_dir, num_paths=4).done == 2


def test_the_decision_of_the_filter_is_not_shown(run_dir) -> None:
    (run_dir / "verdicts.parquet").write_bytes(b"not even opened")
    person = Person("q")
    person.label(run_dir)
    assert not any("verdict" in text or "drop" in text for text in person.seen)


def test_back_and_typing_errors(run_dir) -> None:
    Person(["s", "", "x", "b", "W", "quit"]).label(run_dir, num_paths=6)
    assert list(read_labels(run_dir).values()) == ["wrong"]


def test_unsure_is_left_out_of_what_is_measured(run_dir) -> None:
    Person("us").label(run_dir, num_paths=6)
    assert list(read_labels(run_dir).values()) == ["sound"]


def test_a_line_cut_by_a_kill_is_asked_again_and_a_broken_one_is_named(run_dir) -> None:
    Person("ss").label(run_dir, num_paths=6)
    file = run_dir / FILE
    whole = file.read_text()
    file.write_text(whole + whole.splitlines()[0][:20])
    assert len(read_labels(run_dir)) == 2
    assert Person("").label(run_dir, num_paths=6).done == 2
    assert file.read_text() == whole
    file.write_text("nonsense\n" + whole)
    with pytest.raises(DataError, match=r"labels\.jsonl:1: is no label"):
        Person("s").label(run_dir)


def test_a_path_does_not_steer_the_terminal() -> None:
    assert "\x1b" not in clean_text("\x1b[2J\x1b]0;title\x07")
    assert clean_text("\u202eevil\rhidden") == "\ufffdevil\ufffdhidden"


def test_a_run_without_paths_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"paths\.parquet is not there"):
        label_paths(tmp_path)
