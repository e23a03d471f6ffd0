"""`init --from`: tables as people have them, mapped, and a config that the dry run accepts."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrdistill.base.errors import InputError
from qrdistill.commands.plans.dryrun import dry_run
from qrdistill.commands.starter import write_starter
from qrdistill.runs.load_config import load_config

GSM = [{"question": f"What is {n} + {n}?", "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"} for n in range(20)]
CHOICE = [
    {"id": n, "Question": f"Which, {n}?", "choices": ["red", "blue"], "label": "A", "subject": "art"} for n in range(20)
]
R1 = [
    {
        "problem": f"What is {n} squared?",
        "solution": f"{n}*{n}",
        "answer": str(n * n),
        "generations": [f"It is {n * n}."],
    }
    for n in range(20)
]
BOOLEAN = [{"query": f"Is {n} even?", "target": "yes" if n % 2 == 0 else "no", "split": "train"} for n in range(20)]
LATEX = [{"problem": f"Half of {n}?", "answer": rf"\frac{{{n}}}{{2}}"} for n in range(1, 21)]


def write(folder, name, rows):
    file = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif name.endswith(".csv"):
        lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
        file.write_text("\n".join(lines) + "\n")
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize(
    ("name", "rows", "kind", "fields"),
    [
        ("gsm.jsonl", GSM, "number", {"gold": "answer"}),
        ("gsm.csv", GSM, "number", {"gold": "answer"}),
        (
            "art.parquet",
            CHOICE,
            "choice",
            {"question": "Question", "gold": "label", "family": "subject", "options": "choices"},
        ),
        ("r1.parquet", R1, "number", {"question": "problem", "gold": "answer"}),
        ("even.jsonl", BOOLEAN, "yes_no", {"question": "query", "gold": "target"}),
        ("half.jsonl", LATEX, "math", {"question": "problem", "gold": "answer"}),
    ],
)
def test_a_table_s_columns_are_mapped_and_the_config_plans(tmp_path, name, rows, kind, fields):
    write_starter(tmp_path / "mine", write(tmp_path, name, rows))
    config = load_config(tmp_path / "mine/config.yaml")
    assert (config.questions.kind, config.questions.fields) == (kind, fields)
    plan = dry_run(tmp_path / "mine/config.yaml", tmp_path / "runs/mine", ())
    assert sum(plan.questions.values()) == 20
    if name == "r1.parquet":  # its reasoning is replayed as it is
        assert plan.paths.ready == {"ready": plan.questions["train"]}
    else:
        assert plan.paths.teachers[0].calls == 2 * plan.questions["train"]


def test_what_cannot_be_mapped_is_one_message(tmp_path):
    with pytest.raises(InputError, match="no column looks like the right answer; there are: question, colour"):
        write_starter(tmp_path / "a", write(tmp_path, "a.jsonl", [{"question": "Why?", "colour": "red"}]))
    with pytest.raises(InputError, match="no rows"):
        write_starter(tmp_path / "b", write(tmp_path, "b.jsonl", []))
    assert not (tmp_path / "a").exists()


def test_the_sample_s_styles_all_have_paths(tmp_path):
    write_starter(tmp_path / "mine")
    config = load_config(tmp_path / "mine/config.yaml")
    paths = [json.loads(line) for line in (tmp_path / "mine/paths.jsonl").read_text().splitlines()]
    assert {path["style"] for path in paths} == set(config.paths.styles)
    assert "--from" in (tmp_path / "mine/config.yaml").read_text()
