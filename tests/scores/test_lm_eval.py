import importlib.util
import json
import shutil

import pytest
import yaml

from qrdistill.base.errors import InputError
from qrdistill.base.records import FREE, Answer, Question
from qrdistill.base.store import TableWriter, read_table, write_json, write_table
from qrdistill.paths.styles import resolve_styles
from qrdistill.scores import lm_eval as harness
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.evaluate import evaluate
from qrdistill.scores.score import score


class Loader(yaml.SafeLoader):
    """Reads a task as lm_eval does: `!function` names a function of a module beside it."""


Loader.add_constructor("!function", lambda loader, node: ("function", node.value))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, student_folders):
    """A real small run: one student, evaluated."""
    folder = tmp_path_factory.mktemp("run")
    questions = [
        Question(
            id=f"{split}-{n}",
            split=split,
            task="t",
            family="f",
            kind="number",
            question=f"{n} + {n} = ?",
            gold=str(2 * n),
        )
        for split in ("dev", "test")
        for n in range(4)
    ]
    config = EvaluateConfig(max_tokens=6)
    styles = resolve_styles(["vanilla", "facts"])
    write_table(folder / "questions.parquet", Question, questions)
    shutil.copytree(student_folders["anna"], folder / "students" / "anna")
    with TableWriter(folder / "answers.parquet", Answer) as out:
        students = {"anna": folder / "students" / "anna"}
        evaluate(students, questions, config, styles=styles, out=out, base_dir=folder, seed=0)
    by_id = {question.id: question for question in questions}
    write_json(folder / "scores.json", score(read_table(folder / "answers.parquet", Answer), by_id, config))
    settings = {"evaluate": config.model_dump(mode="json"), "paths": {"styles": ["vanilla", "facts"]}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def read(folder, name):
    return yaml.load((folder / f"{name}.yaml").read_text(), Loader)


def test_the_task_asks_exactly_what_was_asked(run_dir, tmp_path):
    task = harness.write_task(run_dir, "anna", tmp_path / "task", style="facts")
    assert task.names == ("qrdistill_anna_facts", "qrdistill_anna_facts_regex")
    rows = [json.loads(line) for line in (task.folder / "questions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"test-{n}" for n in range(4)]
    assert rows[1]["prompt"] == "1 + 1 = ?\nRecall the facts first.\n"
    assert rows[1]["gold"] == "2"
    for name in task.names:
        settings = read(task.folder, name)
        assert settings["task"] == name
        assert settings["generation_kwargs"] == {"until": ["</s>"], "max_gen_toks": 6, "do_sample": False}
        assert settings["dataset_kwargs"]["data_files"]["test"] == str(task.folder / "questions.jsonl")
        assert settings["num_fewshot"] == 0
    assert read(task.folder, task.names[0])["process_results"] == ("function", "utils.process_results")
    assert "process_results" not in read(task.folder, task.names[1])
    assert task.command[:2] == ("lm_eval", "run")
    assert f"pretrained={run_dir.resolve() / 'students' / 'anna'},dtype=float32" in task.command


def test_the_task_s_checker_is_ours(run_dir, tmp_path):
    task = harness.write_task(run_dir, "anna", tmp_path / "task", style=FREE)
    spec = importlib.util.spec_from_file_location("utils", task.folder / "utils.py")
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    doc = json.loads((task.folder / "questions.jsonl").read_text().splitlines()[3])
    assert doc["prompt"] == "3 + 3 = ?\n"
    assert utils.process_results(doc, ["The answer is 6."]) == {"acc": 1.0}
    assert utils.process_results(doc, ["The answer is 7."]) == {"acc": 0.0}
    assert utils.process_results(doc, ["who knows"]) == {"acc": 0.0}
    assert utils.process_results(doc, ["= = = The answer is 6"]) == {"acc": 0.0}, "six tokens: cut by the limit"
    assert utils.process_results(doc, ["The answer is 6. = ="]) == {"acc": 1.0}, "cut after a whole answer"


def test_the_closing_line_and_the_stop_texts_are_the_run_s(run_dir, tmp_path):
    run = shutil.copytree(run_dir, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["train"], config["evaluate"]["stop"] = {"closing_line": True}, ["\nQuestion:"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    task = harness.write_task(run, "anna", tmp_path / "task", style="facts")
    row = json.loads((task.folder / "questions.jsonl").read_text().splitlines()[1])
    assert row["prompt"] == "1 + 1 = ?\nEnd with: The answer is N.\nRecall the facts first.\n"
    assert read(task.folder, task.names[0])["generation_kwargs"]["until"] == ["</s>", "\nQuestion:"]


def write_samples(run_dir, results, style, change=()):
    """What lm_eval's --log_samples writes, with our own texts; outcomes of `change` are turned."""
    results.mkdir(parents=True)
    lines = []
    for row in read_table(run_dir / "answers.parquet", Answer):
        if row.split == "test" and row.style == style:
            right = (row.correct is True) != (row.question_id in change)
            text = row.text + ("!" if row.question_id in change else "")
            lines.append({"doc": {"id": row.question_id}, "resps": [[text]], "acc": float(right)})
    (results / "samples_x_2026.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (results / "samples_x_regex_2026.jsonl").write_text("{}\n")  # the other task's log is not read


def test_agreement_question_by_question(run_dir, tmp_path):
    best = json.loads((run_dir / "scores.json").read_text())["best_style"]["anna"]
    write_samples(run_dir, tmp_path / "same" / "results", best)
    found = harness.agreement(run_dir, "anna", tmp_path / "same", style=best)
    assert (found.n, found.same_text, found.different) == (4, 4, ())
    assert found.ours == found.theirs
    write_samples(run_dir, tmp_path / "other" / "results", best, change=("test-1", "test-2"))
    found = harness.agreement(run_dir, "anna", tmp_path / "other", style=best)
    assert (found.same_text, found.different) == (2, ("test-1", "test-2"))
    with pytest.raises(InputError, match="--log_samples"):
        harness.agreement(run_dir, "anna", tmp_path / "nothing")


def test_from_the_command_line(run_dir, tmp_path, capsys):
    assert harness.main([str(run_dir), "anna", str(tmp_path / "task")]) == 0
    assert capsys.readouterr().out.startswith("lm_eval run --model hf")
    best = json.loads((run_dir / "scores.json").read_text())["best_style"]["anna"]
    write_samples(run_dir, tmp_path / "task" / "results", best)
    assert harness.main([str(run_dir), "anna", str(tmp_path / "task"), "--agree"]) == 0
    assert "0 outcomes differ; 4 texts are the same" in capsys.readouterr().out
    assert harness.main([str(run_dir), "zoe", str(tmp_path / "zoe")]) == 2
    assert "no exported student 'zoe'" in capsys.readouterr().err
    assert not (tmp_path / "zoe").exists()


def test_an_unknown_style_is_refused(run_dir, tmp_path):
    with pytest.raises(InputError, match="'rhyme' is not among the run's: vanilla, facts, free"):
        harness.write_task(run_dir, "anna", tmp_path / "task", style="rhyme")


def test_a_chat_template_is_in_the_text_not_added_again(run_dir, tmp_path):
    run = shutil.copytree(run_dir, tmp_path / "run")
    template = "{% for m in messages %}<s> {{ m.content }} {% endfor %}{% if add_generation_prompt %}= {% endif %}"
    settings = run / "students" / "anna" / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "chat_template": template}))
    task = harness.write_task(run, "anna", tmp_path / "task", style="vanilla")
    row = json.loads((task.folder / "questions.jsonl").read_text().splitlines()[0])
    assert row["prompt"] == "<s> 0 + 0 = ?\nSolve it. = "
    assert any(word.endswith("dtype=float32,add_bos_token=False") for word in task.command)
