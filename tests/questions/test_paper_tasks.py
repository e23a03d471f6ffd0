"""The eight tasks' own rules: the hub's schema through `datasets`, options, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.errors import ConfigError, DataError
from qrdistill.base.records import Question
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.load import load_questions

SAMPLES = Path(__file__).parents[2] / "examples" / "tasks"


def load(task: str, folder: Path = SAMPLES, **settings: Any) -> list[Question]:
    return load_questions(QuestionsConfig(**{"task": task, **settings}), seed=0, base_dir=folder)


def files(task: str) -> dict[str, str]:
    return {"train_file": f"{task}/train.jsonl", "test_file": f"{task}/test.jsonl"}


def test_the_hub_and_local_files_are_read_by_the_same_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that `datasets` opens stands in for the hub: the same questions come out."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    hub = tmp_path / "hub"
    hub.mkdir()
    for name in ("train", "test"):
        shutil.copy(SAMPLES / "strategy_qa" / f"{name}.jsonl", hub / f"{name}.jsonl")
    local = load("strategy_qa", dev=2, **files("strategy_qa"))
    assert load("strategy_qa", dev=2, hub=str(hub)) == local
    assert [question.split for question in local] == ["train"] * 6 + ["dev"] * 2 + ["test"] * 4


def test_a_hub_task_maps_fields_and_names_what_it_cannot_open(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    hub.mkdir()
    shutil.copy(SAMPLES / "strategy_qa" / "train.jsonl", hub / "train.jsonl")
    fields = {"id": "qid", "gold": "term"}
    questions = load(
        "hub",
        hub=str(hub),
        subset="default",
        kind="text",
        fields=fields,
        train=3,
        dev=1,
        options={"splits": {"train": "train"}},
    )
    assert {question.id for question in questions} <= {f"sample{n:02}" for n in range(1, 9)}
    assert "giraffe" in {
        question.gold
        for question in load(
            "hub",
            hub=str(hub),
            kind="text",
            fields=fields,
            dev=0,
            test=0,
            options={"splits": {"train": "train"}},
        )
    }
    with pytest.raises(ConfigError, match="cannot open .*nowhere.*check the id"):
        load("hub", hub=str(tmp_path / "nowhere"), kind="number")


def test_tabmwp_without_files_says_where_they_are() -> None:
    with pytest.raises(ConfigError, match=r"problems_train\.json"):
        load("tabmwp")


def test_options_change_what_is_asked() -> None:
    asked = load("date_understanding", **files("date_understanding"), options={"choices": True})
    assert {question.kind for question in asked} == {"choice"}
    assert "(D) " in asked[0].question
    levels = load("math", **files("math"), options={"levels": [1]}, dev=0)
    assert {question.metadata["level"] for question in levels} == {"1"}
    with pytest.raises(ConfigError, match="unknown option 'level' for math; known: levels, subjects"):
        load("math", **files("math"), options={"level": 1})
    with pytest.raises(ConfigError, match="subjects have to be a list out of algebra"):
        load("math", **files("math"), options={"subjects": ["sums"]})
    with pytest.raises(ConfigError, match="round has to be 1, 2, 3 or all, not 4"):
        load("anli", options={"round": 4})
    with pytest.raises(ConfigError, match="knows its own fields and kind"):
        load("gsm8k", **files("gsm8k"), kind="text")


@pytest.mark.parametrize(
    ("task", "spoil", "message"),
    [
        ("gsm8k", lambda row: row | {"answer": "It is 5."}, "no '#### <number>'"),
        (
            "gsm8k",
            lambda row: row | {"answer": "x #### five or six"},
            "gold answer 'five or six' is not one of kind number",
        ),
        ("math", lambda row: row | {"solution": "It is 5."}, "no .*boxed"),
        (
            "arc_challenge",
            lambda row: row | {"answerKey": "F"},
            r"gold label 'F' is none of the options' \(A, B, C, D\)",
        ),
        ("commonsense_qa", lambda row: row | {"answerKey": ""}, "field 'answerKey' has to be a text"),
        (
            "date_understanding",
            lambda row: row | {"targets": ["02/30/2021"]},
            "gold answer '02/30/2021' is not one of kind date",
        ),
        ("anli", lambda row: row | {"label": -1}, r"label has to be 0 \(entailment\)"),
        ("strategy_qa", lambda row: row | {"answer": "maybe"}, "answer has to be true or false, not 'maybe'"),
        ("strategy_qa", lambda row: {"qid": "x"}, "no field 'answer'|no field 'question'"),
    ],
)
def test_a_row_off_the_schema_is_named_by_line(
    task: str, spoil: Callable[[dict[str, Any]], dict[str, Any]], message: str, tmp_path: Path
) -> None:
    shutil.copytree(SAMPLES / task, tmp_path / task)
    path = tmp_path / task / "train.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    rows[4] = spoil(rows[4])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        load(task, tmp_path, **files(task))
    assert caught.value.line == 5
    assert str(caught.value.file).endswith("train.jsonl")


def test_numbered_labels_become_letters(tmp_path: Path) -> None:
    row = {
        "id": "n1",
        "question": "Which is a gas?",
        "choices": {"text": ["iron", "helium"], "label": ["1", "2"]},
        "answerKey": "2",
    }
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    [question] = load("arc_challenge", tmp_path, train_file="train.jsonl", dev=0, test=0)
    assert question.gold == "B"
    assert question.question == "Which is a gas?\nOptions:\n(A) iron\n(B) helium"


def test_formats_beyond_jsonl_are_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"id": f"q{n}", "question": f"What is {n} + 1?", "gold": str(n + 1)} for n in range(5)]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    (tmp_path / "q.csv").write_text(
        "id,question,gold\n" + "".join(f"{r['id']},{r['question']},{r['gold']}\n" for r in rows)
    )
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "q.parquet")
    loaded = [
        load("jsonl", tmp_path, file=f"q.{kind}", kind="number", dev=1, test=1) for kind in ("json", "csv", "parquet")
    ]
    assert loaded[0] == loaded[1] == loaded[2]
    (tmp_path / "bad.csv").write_text("id,question,gold\na,b\n")
    with pytest.raises(DataError, match=r"bad\.csv:2: 3 fields are expected"):
        load("jsonl", tmp_path, file="bad.csv", kind="number")
    (tmp_path / "bad.json").write_text('[{"a": 1},\n{"a": }]')
    with pytest.raises(DataError, match=r"bad\.json:2: not JSON"):
        load("jsonl", tmp_path, file="bad.json", kind="number")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        load("jsonl", tmp_path, file="bad.parquet", kind="number")
