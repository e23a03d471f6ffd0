"""Whatever stands in a file of questions or of ready paths: the rows, or one short error with file and line."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrdistill.base.errors import ConfigError, DataError, InputError
from qrdistill.base.records import Question
from qrdistill.paths.config import ReplayTeacher
from qrdistill.paths.replay import ReplayTeacherImplementation
from qrdistill.paths.styles import STYLES
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.load import load_questions

FORMATS = ("jsonl", "json", "csv", "parquet")
QUESTIONS = [
    {
        "id": f"q{n}",
        "split": split,
        "question": f"What is {n} + {n}?",
        "gold": str(2 * n),
        "tolerance": "0.5",
        "aliases": "two",
    }
    for n, split in enumerate(["train"] * 5 + ["dev", "test"])
]
PATHS = [
    {
        "question_id": f"q{n}",
        "style": style,
        "text": f"{n} and {n} is {2 * n}. The answer is {2 * n}.",
        "cost": 0.5,
        "prompt_tokens": n,
    }
    for n in range(4)
    for style in ("vanilla", "facts")
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    3.5,
    10**30,
    "",
    " ",
    "\0",
    "\ufeff",
    "\ud800",
    "\x1b[2J",
    "²",
    "x" * 200_000,
    "9" * 5000,
    [],
    {},
    [[]],
    {"a": None},
    "2026-02-30",
    "os:system",
    "text",
    "nli",
    "test",
    "1e999",
    "1/0",
    "NaN",
    "inf",
    "\\frac{",
    'a,b\n"c',
    "q1",
]
PIECES = [
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b'"',
    b"{",
    b"[" * 3000,
    b"9" * 5000,
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"\\ud800",
    b"\\",
    b"\n",
    b"\r",
    b",",
    b",,,,",
    b"null",
    b"true",
    b"}",
    b"]",
    b"\t",
    b"\xed\xa0\x80",
    b'{"a": 1, "a": 2}',
    b"\x1f\x8b",
]


def written(rows: list[dict[str, Any]], kind: str) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == "json":
        return json.dumps(rows).encode()
    if kind == "csv":
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(text, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode("utf-8", "surrogatepass")
    out = io.BytesIO()
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    try:
        pq.write_table(pa.table(columns), out)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):  # columns of mixed types, half characters
        texts = {
            name: [str(value).encode("utf-8", "replace").decode() for value in column]
            for name, column in columns.items()
        }
        pq.write_table(pa.table(texts), out)
    return out.getvalue()


def mutated(rows: list[dict[str, Any]], kind: str, lots: random.Random) -> bytes:
    rows = [dict(row) for row in rows]
    for _ in range(lots.choice([0, 1, 1, 2])):
        row = lots.choice(rows)
        name = lots.choice([*row, "kind", "options", "context", "family", "teacher", "finish_reason"])
        if lots.random() < 0.2:
            row.pop(name, None)
        else:
            row[name] = lots.choice(VALUES)
    raw = written(rows, kind)
    for _ in range(lots.choice([0, 0, 1, 1, 3])):
        place = lots.randrange(len(raw))
        match lots.randrange(4):
            case 0:
                raw = raw[:place] + bytes([lots.randrange(256)]) + raw[place + 1 :]
            case 1:
                raw = raw[:place] + lots.choice(PIECES) + raw[place:]
            case 2:
                raw = raw[:place] + lots.choice(PIECES) + raw[place + 1 :]
            case _:
                raw = (raw[:place] + raw[place + lots.randint(1, 30) :]) or b" "
    return raw


def read_questions(file: Path) -> int:
    settings = QuestionsConfig(task="jsonl", kind="number", file=str(file), require_gold=False)
    rows = load_questions(settings, seed=0, base_dir=file.parent)
    for row in rows:  # what a table holds is text in UTF-8 and JSON
        json.dumps(row.model_dump(), ensure_ascii=False, allow_nan=False).encode()
    return len(rows)


def read_paths(file: Path) -> int:
    questions = [
        Question(id=f"q{n}", split="train", task="t", family="f", kind="number", question="?", gold="1")
        for n in range(9)
    ]
    teacher = ReplayTeacherImplementation(
        ReplayTeacher(kind="replay", name="t", file=str(file)), base_dir=file.parent, seed=0, questions=questions
    )
    teacher.check_styles(list(STYLES))
    return sum(teacher.samples(question, style) for question in questions for style in STYLES.values())


def settles(read: Callable[[Path], int], file: Path) -> str:
    try:
        return f"{min(1, read(file))} or more rows"
    except (DataError, ConfigError) as error:
        said = str(error)
        place, ids = str(file), ("question 'q", "question 'train-", "questions.", "occur more than once")
        if len(said) >= 500 or not (place in said or any(one in said for one in ids)):
            raise
        if not all(letter.isprintable() or letter == "\n" for letter in said):
            raise
        return type(error).__name__


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("read", "rows"), [(read_questions, QUESTIONS), (read_paths, PATHS)])
def test_any_file(tmp_path: Path, read: Callable[[Path], int], rows: list[dict[str, Any]], kind: str) -> None:
    lots = random.Random(kind)
    file = tmp_path / f"data.{kind}"
    outcomes: Counter[str] = Counter()
    for _ in range(200):
        file.write_bytes(mutated(rows, kind, lots))
        outcomes[settles(read, file)] += 1
    assert outcomes["1 or more rows"]
    assert outcomes["DataError"]


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        (
            "a.jsonl",
            written(QUESTIONS, "jsonl").decode().encode("utf-16"),
            ":1: this is UTF-16 text; save the file as UTF-8",
        ),
        ("a.jsonl.gz", b"\x1f\x8b\x08\x00", ":1: this is a gzip file; unpack it"),
        ("a.csv", b"PK\x03\x04", ":1: this is a zip archive or a spreadsheet"),
        ("a.csv", b"question,gold\n1+1?,2\n1+\xff?,2\n", ":3: not UTF-8 text"),
        ("a.csv", b"question,gold,gold\n1+1?,2,2\n", ":1: two columns are named 'gold'"),
        ("a.csv", b"question,gold\n1+1?,2\n1+1?\n", ":3: 2 fields are expected"),
        ("a.json", b'[\n{"question": "1",\n "gold": \xff}]', ":3: not UTF-8 text"),
        ("a.json", b"[" * 100_000, ": not JSON that can be read: nested more than 100 deep"),
        ("a.jsonl", b'{"question": "1", "gold": "1", "kind": "os:system"}', ":1: the kind 'os:system' runs code"),
        (
            "a.jsonl",
            b'{"question": "1", "gold": "1", "kind": "numbr"}',
            ":1: unknown kind 'numbr'; did you mean 'number'",
        ),
        ("a.jsonl", b'{"question": "1", "gold": "1", "tolerance": "x"}', ":1: tolerance has to be a number"),
        ("a.jsonl", b'{"question": "1", "gold": "1", "aliases": [{}]}', ":1: aliases have to be a list of texts"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, raw: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(InputError) as caught:
        read_questions(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}{words}")


def test_a_long_field_and_a_mark_of_the_byte_order_are_read(tmp_path: Path) -> None:
    for name, text in (
        ("a.csv", "question,gold\n" + "x" * 300_000 + ",2\n"),
        ("a.jsonl", '{"question": "x", "gold": "2"}'),
    ):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert read_questions(tmp_path / name) == 1
