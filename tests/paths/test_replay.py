"""Ready paths from a file: what is read, what is refused, what is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrdistill.base.errors import ConfigError, DataError
from qrdistill.base.progress import Silent
from qrdistill.base.records import Failure, Question, ReasoningPath, Truth
from qrdistill.base.store import TableWriter, read_table
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.paths.config import PathsConfig, ReplayTeacher
from qrdistill.paths.generate import GenerateWriters, Spending, generate
from qrdistill.paths.replay import ReplayTeacherImplementation
from qrdistill.paths.styles import STYLES

ROWS = [
    {"question_id": "q1", "style": "facts", "text": "A dog has 4 legs. The answer is 4."},
    {"question_id": "q0", "style": "vanilla", "text": "The answer is 7.", "teacher": "ann"},
    {"question_id": "q1", "style": "facts", "text": "Dogs walk on 4 legs. The answer is 4."},
    {"question_id": "elsewhere", "style": "vanilla", "text": "The answer is 1."},
]


def question(name: str, split: str = "train") -> Question:
    return Question(
        id=name, split=split, task="jsonl", family="f", kind="number", question=f"What is {name}?", gold="4"
    )


def run(folder: Path, config: PathsConfig, *files: str, progress: Silent | None = None):
    teachers = [ReplayTeacher(kind="replay", name=f"file{n}", file=file) for n, file in enumerate(files)]
    with (
        TableWriter(folder / "paths.parquet", ReasoningPath) as paths,
        TableWriter(folder / "failures.parquet", Failure) as failures,
        TableWriter(folder / "truth.parquet", Truth) as truth,
        ReplyCache(folder / "replies.sqlite") as cache,
    ):
        spending = generate(
            [question("q0"), question("q1"), question("q2", "test")],
            teachers,
            config,
            out=GenerateWriters(paths, failures, truth),
            cache=cache,
            base_dir=folder,
            seed=0,
            progress=progress or Silent(),
        )
    return spending, list(read_table(folder / "paths.parquet", ReasoningPath))


def write(folder: Path, rows: list[dict[str, object]], name: str = "paths.jsonl") -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def test_rows_become_paths_in_canonical_order(tmp_path: Path):
    progress = Silent()
    spending, paths = run(tmp_path, PathsConfig(), write(tmp_path, ROWS), progress=progress)
    assert [path.id for path in paths] == ["0/q0/ann/vanilla/0", "0/q1/file0/facts/0", "0/q1/file0/facts/1"]
    assert [path.answer for path in paths] == ["7", "4", "4"]
    assert isinstance(spending, Spending)
    assert spending.paths == 3
    assert "1 of its paths" in progress.warnings[0]


def test_parquet_gives_the_same_paths(tmp_path: Path):
    _, from_lines = run(tmp_path, PathsConfig(), write(tmp_path, ROWS))
    rows = [{"teacher": None, **row} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    _, from_parquet = run(tmp_path, PathsConfig(), "rows.parquet")
    assert from_lines == from_parquet


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question_id": "q1", "style": "facts"', "not JSON"),
        ('{"question_id": "q1", "style": "facts"}', "no field 'text'"),
        ('{"question_id": 3.5, "style": "facts", "text": "x"}', "not 3.5"),
        ('{"question_id": true, "style": "facts", "text": "x"}', "not True"),
        ('{"question_id": "q1", "style": "facts", "text": "x", "cost": NaN}', "NaN is no number"),
        ('{"question_id": "q1", "style": "facts", "text": "x", "prompt_tokens": 1e999}', "1e999 is infinite"),
        ('{"question_id": "q1", "style": "facts", "text": "x", "prompt_tokens": -1}', "whole number from 0 on, not -1"),
        ('{"question_id": "q1", "style": "facts", "text": "\\ud800"}', "half a character"),
        ('{"question_id": "q1", "style": "facts", "text": "x", "y": ' + "9" * 5000 + "}", "a number of 5000 digits"),
        (
            '{"question_id": "q1", "style": "facts", "text": "x", "y": ' + "[" * 100_000 + "}",
            "nested more than 100 deep",
        ),
        ('["q1", "facts", "x"]', "JSON object is expected"),
        (
            '{"question_id": "q1", "style": "facts", "text": "x", "cost": "much"}',
            "cost has to be a number from 0 on, not 'much'",
        ),
        ('{"question_id": "q1", "style": "fact", "text": "x"}', "unknown style 'fact'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str):
    (tmp_path / "bad.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(DataError, match=message) as caught:
        run(tmp_path, PathsConfig(), "bad.jsonl")
    assert str(caught.value).startswith(f"{tmp_path / 'bad.jsonl'}:2:")
    assert not (tmp_path / "paths.parquet").exists()


def test_ids_may_be_whole_numbers(tmp_path: Path):
    (tmp_path / "p.jsonl").write_text('{"question_id": 3, "style": "vanilla", "text": "The answer is 4."}\n')
    teacher = ReplayTeacher(kind="replay", name="t", file="p.jsonl")
    read = ReplayTeacherImplementation(teacher, base_dir=tmp_path, seed=0, questions=[question("3")])
    assert read.samples(question("3"), STYLES["vanilla"]) == 1


def test_files_that_cannot_be_used(tmp_path: Path):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "not.parquet").write_text("no")
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "columns.parquet")
    for name, message in [
        ("none.jsonl", "no such file"),
        ("empty.jsonl", "holds no paths"),
        ("not.parquet", "not a readable Parquet"),
        ("columns.parquet", "no field 'question_id'"),
    ]:
        with pytest.raises(DataError, match=message):
            run(tmp_path, PathsConfig(), name)


def test_two_teachers_of_one_name_are_refused(tmp_path: Path):
    teacher = ReplayTeacher(kind="replay", name="x", file=write(tmp_path, ROWS))
    with pytest.raises(ConfigError, match="two teachers"):
        generate([], [teacher, teacher], PathsConfig(), out=None, cache=None, base_dir=tmp_path, seed=0)  # type: ignore[arg-type]


def test_thoughts_and_ends_of_a_file_are_read_as_a_servers_are(tmp_path: Path):
    rows = [
        {"text": "<think>3 + 1</think> The answer is 4.", "finish_reason": "MAX_TOKENS"},
        {"text": "The answer is 4.", "thought": "3 + 1", "finish_reason": None},
        {"text": "", "thought": "3 + 1", "finish_reason": "odd"},
        {"text": " The answer is 4.\n", "finish_reason": "end_turn"},
    ]
    file = write(tmp_path, [{"question_id": "q0", "style": "facts", **row} for row in rows])
    _, paths = run(tmp_path, PathsConfig(styles=["facts"]), file)
    assert [path.finish_reason for path in paths] == ["length", "stop", "odd", "stop"]
    assert [path.thought for path in paths] == ["3 + 1", "3 + 1", "3 + 1", ""]
    assert [path.text for path in paths] == ["The answer is 4.", "The answer is 4.", "", " The answer is 4.\n"]
    with pytest.raises(DataError, match="thought has to be text, not 7"):
        run(tmp_path, PathsConfig(styles=["facts"]), write(tmp_path, [{**ROWS[0], "thought": 7}], "wrong.jsonl"))


def test_an_answer_that_the_limit_cut_is_not_read(tmp_path: Path):
    cut = [{**row, "text": "The answer is 1", "finish_reason": "length"} for row in ROWS[:1]]
    _, paths = run(tmp_path, PathsConfig(), write(tmp_path, [*cut, ROWS[1]]))
    assert [path.answer for path in paths] == ["7", None]
