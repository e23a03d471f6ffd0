"""`study filter --judge-only` on a run with labels, through the command line's own function."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from qrdistill.base.errors import ConfigError, InputError
from qrdistill.base.progress import Silent
from qrdistill.cli import app
from qrdistill.studies import load_study
from qrdistill.studies.filter import FilterResults
from qrdistill.studies.judge_only import judge_only

PATHS = [  # text, label, first wrong step
    ("1 + 1 = 2\nThe answer is 2.", "sound", None),
    ("2 + 2 = 5\n5 - 1 = 4\nThe answer is 4.", "spurious", 1),
    ("It is six.\n2 + 2 = 4\nThe answer is 6.", "wrong", 1),
    ("Surely 8.", "sound", None),
    ("4 + 4 = 9", "unsure", None),
]


def settings(folder: Path, *judges: object) -> Path:
    config = {
        "name": "mine",
        "questions": {"task": "jsonl", "train_file": str(folder / "q.jsonl"), "kind": "number", "dev": 0, "test": 0},
        "teachers": [{"kind": "replay", "name": "ready", "file": str(folder / "p.jsonl")}],
        "paths": {"styles": ["vanilla"]},
        "filter": {"judges": list(judges)},
        "students": [{"name": "s", "model": "no/such-model"}],
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and a run, labelled from the file of its ready paths."""
    folder = tmp_path_factory.mktemp("judges")
    questions = [
        {"id": f"q{n}", "question": f"{n} + {n}?", "answer": 2 * n, "family": f"f{n % 2}"} for n in range(1, 6)
    ]
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    rows = [
        {"question_id": f"q{n}", "style": "vanilla", "text": text, "label": label, "first_wrong_step": step}
        for n, (text, label, step) in enumerate(PATHS, start=1)
    ]
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = ["--run-dir", str(folder / "runs/mine")]
    command(["generate", str(settings(folder, "arithmetic")), *run, "--quiet"])
    said = command(["label", str(folder / "runs/mine"), "--from", str(folder / "p.jsonl")])
    assert "5 paths labelled, 2 with the place" in said
    return folder


def command(arguments: list[str]) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_judge_is_measured_without_training_or_touching_the_run(labelled: Path) -> None:
    run, out = labelled / "runs/mine", labelled / "runs/judges"
    before = {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}
    where = ["--labels", str(run), "--run-dir", str(out), "--quiet"]
    said = command(["study", "filter", str(labelled / "config.yaml"), "--judge-only", *where])
    assert "names the first wrong step in 50.0 %" in said
    assert {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()} == before
    found = load_study(out / "study.json")
    assert isinstance(found, FilterResults)
    one = found.reliability["all"]["judge/arithmetic"]
    assert (one.n, one.good, one.kept, one.undecided) == (4, 2, 2, 1)
    assert one.precision is not None
    assert one.caught is not None
    assert one.precision.estimate == one.caught.estimate == 0.5
    assert found.first_wrong_steps["all"]["arithmetic"].n == 2
    assert set(found.reliability) == {"all", "f0", "f1"}
    page = (out / "report.html").read_text()
    assert "first wrong step found" in page
    assert "Learning rate" not in page, "nothing was trained"


def test_what_is_missing_is_said(labelled: Path) -> None:
    run = labelled / "runs/mine"
    with pytest.raises(ConfigError, match="name one here"):
        judge_only(settings(labelled), labelled / "runs/x", run, progress=Silent())
    config = settings(labelled, "arithmetic")
    with pytest.raises(InputError, match=r"no labelled paths.*--from FILE"):
        judge_only(config, labelled / "runs/x", labelled / "runs/other", progress=Silent())
    done = CliRunner().invoke(app, ["study", "samples", str(config), "--judge-only"])
    assert isinstance(done.exception, InputError)
    assert not (labelled / "runs/x").exists()
