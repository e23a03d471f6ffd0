"""What other trainers read: TRL trains two steps on each format, LLaMA-Factory's and Axolotl's descriptions fit the rows."""

import json

import pytest
import yaml

from qrdistill.base.errors import InputError
from qrdistill.base.records import Question, ReasoningPath, Verdict
from qrdistill.base.store import write_table
from qrdistill.runs.export_paths import FORMATS, export_paths
from qrdistill.runs.run import write_run_card

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def add(folder, rows, config="paths: {styles: [vanilla, facts]}"):
    """rows: (question, style, outcome, check that closed it)."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"name: r\nquestions: {{task: lab}}\n{config}\n")
    (folder / "manifest.json").write_text('{"format": 2, "stages": {}}')
    names = dict.fromkeys(name for name, *_ in rows)
    questions = [
        Question(id=name, split="train", task="t", family="f", kind="number", question=f"What is {name}?", gold="4")
        for name in names
    ]
    write_table(folder / "questions.parquet", Question, questions)
    paths, verdicts = [], []
    for at, (name, style, outcome, check) in enumerate(rows):
        text = f"{style}: {outcome}. The answer is 4."
        facts = {"teacher": "ann", "style": style, "prompt_hash": "h", "text": text, "answer": "4"}
        paths.append(ReasoningPath(id=f"p{at}", question_id=name, **facts))
        verdicts.append(Verdict(path_id=f"p{at}", check=check, outcome=outcome))
        verdicts.append(Verdict(path_id=f"p{at}", check="filter", outcome=outcome))
    write_table(folder / "paths.parquet", ReasoningPath, paths)
    write_table(folder / "verdicts.parquet", Verdict, verdicts)
    return folder


@pytest.fixture
def run_folder(tmp_path):
    rows = [
        ("a", "vanilla", "keep", "answer"),
        ("a", "facts", "keep", "answer"),
        ("a", "facts", "drop", "answer"),
        ("a", "vanilla", "drop", "duplicate"),  # a copy is not wrong
        ("b", "vanilla", "keep", "answer"),
        ("c", "facts", "drop", "judge"),
        ("d", "vanilla", "undecided", "judge"),
    ]
    return add(tmp_path / "run", rows)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_kept_paths_under_the_prompt_that_training_shows(run_folder, tmp_path):
    done = export_paths(run_folder, tmp_path / "d", format="prompt-completion")
    rows = rows_of(tmp_path / "d")
    assert [row["path_id"] for row in rows] == ["p0", "p1", "p4"]
    assert rows[1]["prompt"] == "What is a?\nRecall the facts first.\n"
    assert rows[1]["completion"] == "facts: keep. The answer is 4."
    assert done.rows == 3
    assert "4 paths are left out" in done.note
    card = (tmp_path / "d" / "README.md").read_text()
    assert "answer 1, duplicate 1, judge 1, undecided 1" in card
    assert "licence" in card


def test_a_pair_is_a_kept_and_a_wrong_path_of_one_question(run_folder, tmp_path):
    done = export_paths(run_folder, tmp_path / "d", format="dpo")
    pairs = [(row["path_id"], row["rejected_path_id"], row["prompt"]) for row in rows_of(tmp_path / "d")]
    assert pairs == [("p0", "p2", "What is a?\n"), ("p1", "p2", "What is a?\nRecall the facts first.\n")]
    assert done.note == ("2 pairs of 1 questions; 1 questions have no wrong path and 1 no kept one: they give no pair")
    alone = add(tmp_path / "alone", [("a", "facts", "keep", "answer"), ("b", "facts", "drop", "answer")])
    with pytest.raises(InputError, match="nothing to pair; use --format messages"):
        export_paths(alone, tmp_path / "e", format="dpo")
    assert not (tmp_path / "e").exists()


def test_what_cannot_be_exported_is_one_message(run_folder, tmp_path):
    with pytest.raises(InputError, match="there are messages, prompt-completion, dpo, sharegpt"):
        export_paths(run_folder, tmp_path / "d", format="alpaca")
    with pytest.raises(InputError, match="not empty"):
        export_paths(run_folder, run_folder, format="messages")
    none = add(tmp_path / "none", [("a", "facts", "drop", "answer")])
    with pytest.raises(InputError, match="no kept paths"):
        export_paths(none, tmp_path / "d", format="messages")


@pytest.mark.parametrize("format", FORMATS)
def test_the_descriptions_for_others_name_columns_that_are_there(run_folder, tmp_path, format):
    export_paths(run_folder, tmp_path / "d", format=format)
    row = rows_of(tmp_path / "d")[0]
    described = json.loads((tmp_path / "d" / "dataset_info.json").read_text())["paths"]
    assert (tmp_path / "d" / described["file_name"]).is_file()
    assert set(described["columns"].values()) <= set(row)
    assert described["formatting"] == ("sharegpt" if format in ("messages", "sharegpt") else "alpaca")
    (axolotl,) = yaml.safe_load((tmp_path / "d" / "axolotl.yaml").read_text())["datasets"]
    kind = axolotl["type"]
    named = [axolotl["field_messages"]] if isinstance(kind, str) else [v for k, v in kind.items() if k[:6] == "field_"]
    assert set(named) <= set(row)
    if format in ("messages", "sharegpt"):
        turn = row[axolotl["field_messages"]][0]
        names = axolotl.get("message_property_mappings", {"role": "role", "content": "content"})
        assert set(names.values()) == set(turn)
        tags = described.get("tags", {"role_tag": "from", "content_tag": "value"})
        assert {tags["role_tag"], tags["content_tag"]} == set(turn)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL sets keys that transformers renames
@pytest.mark.parametrize("format", ["messages", "prompt-completion", "dpo"])
def test_trl_trains_on_it(run_folder, tmp_path, tiny_student_folder, format):
    import datasets
    import trl
    from transformers import AutoTokenizer

    export_paths(run_folder, tmp_path / "d", format=format)
    rows = datasets.load_dataset(str(tmp_path / "d"), split="train", cache_dir=str(tmp_path / "cache"))
    model = str(tiny_student_folder("llama", chat_template=TEMPLATE))
    settings = {"output_dir": str(tmp_path / "out"), "max_steps": 2, "per_device_train_batch_size": 2}
    settings |= {"report_to": [], "save_strategy": "no", "use_cpu": True, "logging_steps": 1, "disable_tqdm": True}
    kind, config = (trl.DPOTrainer, trl.DPOConfig) if format == "dpo" else (trl.SFTTrainer, trl.SFTConfig)
    trainer = kind(
        model=model,
        args=config(**settings),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2
    assert losses[1] != losses[0]


def test_a_run_folder_opens_as_a_data_set(run_folder, tmp_path):
    import datasets

    write_run_card(run_folder)
    rows = datasets.load_dataset(str(run_folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["id"] == [f"p{n}" for n in range(7)]
    verdicts = datasets.load_dataset(str(run_folder), "verdicts", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(verdicts) == 14
    (run_folder / "README.md").write_text("my own notes\n")
    write_run_card(run_folder)
    assert (run_folder / "README.md").read_text() == "my own notes\n"
