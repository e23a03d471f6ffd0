"""The command as a user types it: exit codes, one message, nothing half-written."""

import json
import subprocess
import sys

import pytest
from command import call


def test_help_names_every_command_and_has_examples(tmp_path):
    top = call("--help", cwd=tmp_path)
    assert top.returncode == 0
    for command in (
        "demo",
        "init",
        "run",
        "generate",
        "filter",
        "train",
        "evaluate",
        "report",
        "study",
        "show",
    ):
        assert command in top.stdout
    for command in ("demo", "run", "show", "export", "compare", "study"):
        assert "Example:" in call(command, "--help", cwd=tmp_path).stdout


def test_help_imports_nothing_heavy(tmp_path):
    heavy = ("torch", "transformers", "pyarrow", "sklearn", "numpy", "pydantic", "openai")
    code = f"import sys, qrdistill.cli; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_who_only_reads_a_run_waits_for_no_torch():
    modules = "commands.show, commands.label, commands.view, commands.cache, commands.export_paths, report.report, scores.compare"
    imports = ", ".join(f"qrdistill.{name}" for name in modules.split(", "))
    code = f"import sys, {imports}; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def write(folder, questions=None, paths=None, **config):
    rows = [
        {"id": f"q{n}", "split": split, "question": f"{n} + 1 = ?", "gold": str(n + 1)}
        for n, split in enumerate(["train"] * 4 + ["dev"] * 2 + ["test"] * 2)
    ]
    (folder / "q.jsonl").write_text(questions or "".join(json.dumps(row) + "\n" for row in rows))
    lines = [{"question_id": f"q{n}", "style": "vanilla", "text": f"The answer is {n + 1}."} for n in range(4)]
    (folder / "p.jsonl").write_text(paths or "".join(json.dumps(row) + "\n" for row in lines))
    base = {
        "name": "t",
        "questions": {
            "task": "jsonl",
            "file": "q.jsonl",
            "kind": "number",
            "train": None,
            "dev": None,
            "test": None,
        },
        "teachers": [{"name": "ready", "kind": "replay", "file": "p.jsonl"}],
        "paths": {"styles": ["vanilla"]},
        "students": [{"name": "a", "model": "lab:mistral-tiny"}],
        "train": {"steps": 1},
    }
    (folder / "c.yaml").write_text(json.dumps(base | config))


ROW = '{"id": "q0", "split": "train", "question": "1 + 1 = ?", "gold": "2"}\n'


@pytest.mark.parametrize(
    ("files", "place", "words"),
    [
        ({"questions": ROW + "{oops\n"}, "q.jsonl:2", "JSON"),
        ({"questions": ROW + ROW}, "q.jsonl:2", "q0"),
        ({"questions": ROW.replace(', "gold": "2"', "")}, "q.jsonl:1", "gold"),
        ({"paths": '{"question_id": "q0", "style": "vanilla"}\n'}, "p.jsonl:1", "text"),
        ({"paths": '{"question_id": "q0", "style": "poem", "text": "x"}\n'}, "p.jsonl:1", "poem"),
        (
            {"questions": ROW, "paths": '{"question_id": "q0", "style": "vanilla", "text": "The answer is 3."}\n'},
            "no path survived",
            "1 dropped",
        ),
        ({"paths": {"styles": ["poem"]}}, "paths.styles.0", "poem"),
        ({"teachers": [{"name": "r", "kind": "replay", "file": "none.jsonl"}]}, "none.jsonl", "no such file"),
        ({"questions": {"task": "gsm9k"}}, "questions.task", "gsm8k"),
        ({"students": [{"name": "a", "model": "./nothing-here"}]}, "nothing-here", ""),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(tmp_path, files, place, words):
    texts = {key: value for key, value in files.items() if isinstance(value, str)}
    write(tmp_path, **texts)
    sections = {key: value for key, value in files.items() if not isinstance(value, str)}
    if sections:
        config = json.loads((tmp_path / "c.yaml").read_text())
        (tmp_path / "c.yaml").write_text(json.dumps(config | sections))
    result = call("run", "c.yaml", "--quiet", cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    messages = [line for line in result.stderr.splitlines() if line]
    assert len(messages) == 1
    assert place in messages[0]
    assert words in messages[0]
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_disk_that_refuses_is_one_message_and_the_same_command_goes_on(tmp_path):
    write(tmp_path)
    small = 100_000  # bytes a file may have: enough for the tables, not for a checkpoint
    refused = call("train", "c.yaml", "--quiet", cwd=tmp_path, limit=small)
    assert refused.returncode == 1, refused.stderr
    (message,) = refused.stderr.splitlines()
    assert "cannot write runs/t/checkpoints" in message
    assert "run the same command again" in message
    assert not list(tmp_path.rglob("*.tmp"))
    assert call("train", "c.yaml", "--quiet", cwd=tmp_path).returncode == 0
    assert (tmp_path / "runs/t/students/a/model.safetensors").exists()


def test_a_key_never_reaches_a_message(tmp_path):
    result = call("run", "c-SECRETSECRET.yaml", cwd=tmp_path, SOME_API_KEY="SECRETSECRET")
    assert result.returncode == 2
    assert "SECRETSECRET" not in result.stderr + result.stdout
    assert "<SOME_API_KEY>" in result.stderr


def test_init_gives_a_config_that_runs_until_the_filter(tmp_path):
    assert call("init", "mine", cwd=tmp_path).returncode == 0
    result = call("filter", "mine/config.yaml", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["run"] == "runs/mine"
    again = call("init", "mine", cwd=tmp_path)
    assert (again.returncode, "not empty" in again.stderr) == (2, True)
    shown = call("show", "runs/mine", "paths", "--where", "style=program", "--json", cwd=tmp_path)
    rows = json.loads(shown.stdout)
    assert rows
    assert {(row["style"], row["decision"]) for row in rows} == {("program", "keep")}
    account = json.loads(call("show", "runs/mine", "filter", "--json", cwd=tmp_path).stdout)
    for group in ("by_teacher", "by_style", "by_task", "by_check"):
        for row in account[group].values():
            assert row["generated"] == row["kept"] + row["dropped"] + row["undecided"] > 0
    wrong = call("show", "runs/mine", "paths", "--where", "stile=program", cwd=tmp_path)
    assert (wrong.returncode, "columns:" in wrong.stderr) == (2, True)


def test_doctor_tells_what_is_there(tmp_path):
    facts = {
        fact["name"]: fact
        for fact in json.loads(call("doctor", "--json", cwd=tmp_path, MY_API_KEY="verysecret").stdout)
    }
    assert facts["torch"]["usable"]
    assert facts["api keys"]["detail"].count("MY_API_KEY") == 1
    assert "verysecret" not in json.dumps(facts)


def test_a_dry_run_plans_and_writes_nothing(tmp_path):
    assert call("init", "mine", cwd=tmp_path).returncode == 0
    before = sorted(tmp_path.rglob("*"))
    plan = json.loads(call("run", "mine/config.yaml", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert sorted(tmp_path.rglob("*")) == before
    assert plan["questions"] == {"train": 193, "dev": 65, "test": 65}
    assert plan["paths"]["ready"] == {"ready": 386}
    assert [state for _, state in plan["stages"]] == ["to do"] * 9
    assert all(row["trained"] > 0 for row in plan["training"])
    assert plan["warnings"] == []
    many = call("run", "mine/config.yaml", "--dry-run", "--set", "train.steps=900", cwd=tmp_path).stdout
    assert "386 ready" in many
    assert "37.3 passes over the pool; about" in many
    assert "warning: 37 passes over the pool" in many
