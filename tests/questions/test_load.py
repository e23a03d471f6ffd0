"""Loading: the registry, the user's own files, splits, and every complaint about bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.errors import ConfigError, DataError
from qrdistill.base.records import Question
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.load import load_questions


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def sums(count: int, **extra: Any) -> list[dict[str, Any]]:
    return [{"id": f"q{i}", "question": f"What is {i} + {i}?", "gold": 2 * i, **extra} for i in range(count)]


def load(folder: Path, seed: int = 0, **settings: Any) -> list[Question]:
    config = QuestionsConfig(**{"task": "jsonl", "kind": "number", **settings})
    return load_questions(config, seed=seed, base_dir=folder)


def test_one_file_is_carved_the_same_way_for_every_seed(tmp_path: Path) -> None:
    file = write(tmp_path, "q.jsonl", sums(50))
    splits = {q.id: q.split for q in load(tmp_path, file=file)}
    assert splits == {q.id: q.split for q in load(tmp_path, seed=7, file=file)}
    counts = [list(splits.values()).count(split) for split in ("train", "dev", "test")]
    assert sum(counts) == 50
    assert min(counts) > 0


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "empty.jsonl", [])
    with pytest.raises(ConfigError, match=r"questions\.file.*no question was found in empty\.jsonl"):
        load(tmp_path, file=file)


def test_smaller_training_sets_are_parts_of_larger_ones(tmp_path: Path) -> None:
    file = write(tmp_path, "q.jsonl", sums(60))
    chosen = [
        {q.id for q in load(tmp_path, file=file, train=n, dev=5, test=5) if q.split == "train"} for n in (10, 20, 40)
    ]
    assert [len(ids) for ids in chosen] == [10, 20, 40]
    assert chosen[0] < chosen[1] < chosen[2]


def test_a_split_field_is_honoured_and_order_is_train_dev_test(tmp_path: Path) -> None:
    rows = sums(9)
    for row, split in zip(rows, ["test", "validation", "train"] * 3, strict=True):
        row["split"] = split
    file = write(tmp_path, "q.jsonl", rows)
    assert [q.split for q in load(tmp_path, file=file)] == ["train"] * 3 + ["dev"] * 3 + ["test"] * 3


def test_fields_are_mapped_and_options_are_shown(tmp_path: Path) -> None:
    rows = [{"prompt": "Which is even?", "target": "2", "choices": {"1": "three", "2": "four"}, "topic": "parity"}]
    file = write(tmp_path, "q.jsonl", rows)
    fields = {"question": "prompt", "gold": "target", "options": "choices", "family": "topic"}
    [question] = load(tmp_path, file=file, kind="text", fields=fields, dev=0, test=0)
    assert question.question == "Which is even?\nOptions:\n(A) three\n(B) four"
    assert (question.gold, question.family) == ("2", "parity")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "1+1?", "gold": ', r"q\.jsonl:2: not JSON .*one JSON object per line"),
        ("[1, 2]", r"q\.jsonl:2: a JSON object is expected"),
        ('{"question": "1+1?"}', r"q\.jsonl:2: no field 'gold' \(there are: question\)"),
        (
            '{"question": "1+1?", "gold": null}',
            r"q\.jsonl:2: the question has no gold answer; .*require_gold",
        ),
        ('{"question": " ", "gold": "2"}', r"q\.jsonl:2: field 'question' has to be a text"),
        (
            '{"question": "1+1?", "gold": "two or three"}',
            r"q\.jsonl:2: the gold answer 'two or three' is not one of kind number",
        ),
        (
            '{"question": "1+1?", "gold": 2, "split": "tset"}',
            r"q\.jsonl:2: unknown split 'tset'; known: train, dev",
        ),
    ],
)
def test_a_bad_line_is_named_with_its_mend(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "q.jsonl").write_text('{"question": "1+2?", "gold": 3}\n' + line + "\n")
    with pytest.raises(DataError, match=message):
        load(tmp_path, file="q.jsonl")


def test_bytes_that_are_not_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(b'{"question": "1+2?", "gold": 3}\n{"question": "\xff\xfe"}\n')
    with pytest.raises(DataError, match=r"q\.jsonl:2: not UTF-8"):
        load(tmp_path, file="q.jsonl")


def test_missing_file_unknown_format_and_repeated_ids(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file"):
        load(tmp_path, file="nowhere.jsonl")
    (tmp_path / "q.txt").write_text("x")
    with pytest.raises(DataError, match=r"unknown format '\.txt'; known: \.jsonl"):
        load(tmp_path, file="q.txt")
    file = write(tmp_path, "q.jsonl", [*sums(3), *sums(1)])
    with pytest.raises(DataError, match=r"q\.jsonl:4: the id 'q0' stands in line 1 already"):
        load(tmp_path, file=file, dev=0, test=0)


def test_too_few_questions_says_how_many_there_are(tmp_path: Path) -> None:
    file = write(tmp_path, "q.jsonl", sums(10, split="train"))
    with pytest.raises(ConfigError, match="20 train questions are asked for, 10 are there") as caught:
        load(tmp_path, file=file, train=20, dev=0, test=0)
    assert caught.value.key == "questions.train"


def test_unknown_task_and_kind_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown task 'josnl'; did you mean 'jsonl'"):
        load(tmp_path, task="josnl")
    file = write(tmp_path, "q.jsonl", sums(3))
    with pytest.raises(ConfigError, match="unknown kind 'numbr'; did you mean 'number'"):
        load(tmp_path, file=file, kind="numbr")
    with pytest.raises(ConfigError, match="unknown field 'anwser'"):
        load(tmp_path, file=file, fields={"anwser": "gold"})


def test_questions_without_gold_load_where_that_is_allowed(tmp_path: Path) -> None:
    file = write(tmp_path, "q.jsonl", [{"question": "Why?"}, {"question": "How?", "gold": "so"}])
    questions = load(tmp_path, file=file, kind="text", require_gold=False, dev=0, test=0)
    assert [q.gold for q in questions] == [None, "so"]
