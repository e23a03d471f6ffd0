"""Commands that read a run, given what is none: one message with the names that exist, exit code 2."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrdistill.cli import main

SCRIPT = str(Path(sys.executable).with_name("qrdistill"))
CONFIG = "students: [{name: ada, model: lab:mistral}, {name: bob, model: lab:gemma}]\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders and files that look like runs and caches, and are not (or not yet)."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("untrained", "half", "foreign", "junk"):
        (folder / name).mkdir()
    for name in ("untrained", "half"):
        (folder / name / "config.yaml").write_text(CONFIG)
        (folder / name / "manifest.json").write_text(json.dumps({"qrdistill": "0", "stages": {}}))
    (folder / "half/students/ada").mkdir(parents=True)
    (folder / "foreign/notes.txt").write_text("mine")
    for name in ("scores.json", "manifest.json"):
        (folder / "junk" / name).write_text("{")
    for name in ("paths", "questions", "answers"):
        pq.write_table(pa.table({"x": [1]}), folder / f"junk/{name}.parquet")
    (folder / "text.sqlite").write_text("no database " * 100)
    with sqlite3.connect(folder / "other.sqlite") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    return folder


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("export untrained ada --to D", "'ada' has not been trained yet in untrained; there are: none yet"),
        ("export half bob --to D", "'bob' has not been trained yet in half; there are: ada"),
        ("export half eve --to D", "no student 'eve' in half; there are: ada"),
        ("export foreign ada --to D", "foreign is no run directory"),
        ("export missing ada --to D", "missing is no run directory"),
        ("export text.sqlite ada --to D", "text.sqlite is no run directory"),
        ("show half nosuch", "nothing called 'nosuch' to show; there are: scores, filter, batches, questions, paths"),
        ("show untrained answers", "untrained has no answers.parquet yet"),
        ("show missing", "missing is no run directory"),
        ("show junk", "scores.json"),
        ("show junk filter", "manifest.json"),
        ("show junk paths", "paths.parquet: no table of ours: it has no column id"),
        ("compare half missing", "half has no scores.json yet"),
        ("compare missing half", "missing is no run directory"),
        ("compare half", "compare needs two or more"),
        ("compare junk junk", "junk"),
        ("label missing", "paths.parquet is not there"),
        ("label junk", "no table of ours"),
        ("cache stats missing.sqlite", "no reply cache at missing.sqlite"),
        ("cache stats foreign", "no reply cache at foreign"),
        ("cache stats text.sqlite", "text.sqlite"),
        ("cache stats other.sqlite", "other.sqlite"),
    ],
)
def test_one_message_and_exit_code_2(place, command, words, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["qrdistill", *command.split()])
    with pytest.raises(SystemExit) as end:
        main()
    is_one_message(end.value.code, capsys.readouterr().err, words)
    assert not (place / "D").exists()


def test_the_installed_script_says_the_same(place):
    done = subprocess.run([SCRIPT, "show", "missing"], cwd=place, capture_output=True, text=True, check=False)
    is_one_message(done.returncode, done.stderr, "missing is no run directory")


def is_one_message(code, said, words):
    assert code == 2, said
    assert words in said
    assert said.count("qrdistill: ") == len(said.splitlines()) == 1
