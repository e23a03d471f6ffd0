"""Tables that other tools write, read as they are: open-r1, distilabel and curator have these columns."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from qrdistill.base.errors import DataError
from qrdistill.base.records import Question
from qrdistill.paths.config import ReplayTeacher
from qrdistill.paths.replay import ReplayTeacherImplementation
from qrdistill.paths.styles import STYLES

QUESTIONS = [
    Question(id=f"q{n}", split="train", task="t", family="f", kind="number", question=text, gold="4")
    for n, text in enumerate(["How many legs has a dog?", "How many legs\nhas a cat?"])
]


def read(folder, file, rows, **settings):
    if file.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), folder / file)
    else:
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = ReplayTeacher.model_validate({"kind": "replay", "name": "ready", "file": file, **settings})
    return ReplayTeacherImplementation(teacher, base_dir=folder, seed=0, questions=QUESTIONS)


def texts(teacher, question, style="chain_of_thought"):
    count = teacher.samples(QUESTIONS[question], STYLES[style])
    return [teacher.path(QUESTIONS[question], STYLES[style], at).text for at in range(count)]


def test_open_r1_has_generations_beside_the_problem(tmp_path):
    rows = [
        {
            "problem": "How many legs has a dog?",
            "uuid": "u1",
            "generations": ["Four: 4", "It is 4"],
            "source": "olympiads",
        },
        {"problem": " How many legs has  a cat? ", "uuid": "u2", "generations": ["4"], "source": "olympiads"},
        {"problem": "Never asked", "uuid": "u3", "generations": ["5", "6"], "source": "olympiads"},
    ]
    columns = {"question": "problem", "text": "generations"}
    teacher = read(tmp_path, "r1.parquet", rows, columns=columns, style="chain_of_thought")
    assert texts(teacher, 0) == ["Four: 4", "It is 4"]
    assert texts(teacher, 1) == ["4"]
    assert teacher._unknown == {"Never asked": 2}


def test_distilabel_names_the_model_row_by_row(tmp_path):
    rows = [
        {"instruction": "How many legs has a dog?", "generation": "4", "model_name": "llama-70b"},
        {"instruction": "How many legs has a dog?", "generation": "four, 4", "model_name": "qwen-72b"},
    ]
    columns = {"question": "instruction", "text": "generation", "teacher": "model_name"}
    teacher = read(tmp_path, "d.jsonl", rows, columns=columns, style="vanilla")
    assert texts(teacher, 0, "vanilla") == ["4", "four, 4"]
    assert [teacher.path(QUESTIONS[0], STYLES["vanilla"], at).teacher for at in (0, 1)] == ["llama-70b", "qwen-72b"]


def test_curator_has_the_thought_apart(tmp_path):
    rows = [{"question": "How many legs has a dog?", "deepseek_reasoning": "a quadruped", "deepseek_solution": "4"}]
    columns = {"text": "deepseek_solution", "thought": "deepseek_reasoning"}
    teacher = read(tmp_path, "c.jsonl", rows, columns=columns, style="facts")
    draft = teacher.path(QUESTIONS[0], STYLES["facts"], 0)
    assert (draft.text, draft.thought) == ("4", "a quadruped")


@pytest.mark.parametrize(
    ("role", "content", "user", "assistant"),
    [("role", "content", "user", "assistant"), ("from", "value", "human", "gpt")],
)
def test_conversations_of_either_spelling(tmp_path, role, content, user, assistant):
    turns = [{role: user, content: "How many legs has a dog?"}, {role: assistant, content: "4 it is"}]
    rows = [{"conversations": turns, "form": "facts"}]
    columns = {"question": "conversations", "text": "conversations", "style": "form"}
    teacher = read(tmp_path, "c.jsonl", rows, columns=columns)
    assert texts(teacher, 0, "facts") == ["4 it is"]


def test_a_column_that_is_not_there_is_named_with_its_place(tmp_path):
    rows = [{"problem": "How many legs has a dog?", "answer": "4"}]
    with pytest.raises(DataError, match=r"r.jsonl:1.*no column 'generations', which the teacher's columns.text names"):
        read(tmp_path, "r.jsonl", rows, columns={"question": "problem", "text": "generations"}, style="vanilla")
    with pytest.raises(ValidationError, match="txet"):
        read(tmp_path, "r.jsonl", rows, columns={"txet": "generations"})
