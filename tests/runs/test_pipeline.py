import json
import os
import shutil

import pytest

from qrdistill.base.errors import DataError, InputError, ModelError, QRDistillError
from qrdistill.base.progress import Silent
from qrdistill.base.store import content_hash
from qrdistill.commands.show import show
from qrdistill.runs import manifest
from qrdistill.runs.manifest import Manifest, locked
from qrdistill.runs.pipeline import run
from qrdistill.runs.run import Run

SMALL = {"name": "small", "questions": {"train": 8, "dev": 4, "test": 4}}


class Heard(Silent):
    def __init__(self):
        super().__init__()
        self.started: list[str] = []

    def start(self, stage, total=None):
        self.started.append(stage)


def stages_run(folder, overrides=(), **options):
    heard = Heard()
    run(SMALL, folder, overrides, progress=heard, until=options.pop("until", "filter"), **options)
    return heard.started


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "run"
    assert stages_run(folder) == ["load", "generate", "filter"]
    return folder


@pytest.fixture
def filtered(made, tmp_path):
    """A run until its filter, for one test to change."""
    shutil.copytree(made, tmp_path / "filtered")
    return tmp_path / "filtered"


def test_a_second_call_runs_nothing_and_changes_no_table(filtered):
    before = {path.name: content_hash(path) for path in filtered.glob("*.parquet")}
    assert stages_run(filtered) == []
    assert {path.name: content_hash(path) for path in filtered.glob("*.parquet")} == before


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("questions.dev=5", ["load", "generate", "filter"]),
        ("paths.per_style=2", ["generate", "filter"]),
        ("filter.judges=[]", ["filter"]),
        ("train.steps=3", []),
    ],
)
def test_a_changed_config_runs_exactly_the_stages_after_it(filtered, override, expected):
    assert stages_run(filtered, [override]) == expected


def test_a_deleted_or_damaged_table_is_made_again(filtered):
    before = (filtered / "paths.parquet").read_bytes()
    (filtered / "paths.parquet").write_bytes(before[:-1])
    assert stages_run(filtered) == ["generate"]
    assert (filtered / "paths.parquet").read_bytes() == before


def flip(file, place=0.5):
    """One bit, as a bad disk would: size and time stay."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 4
    file.unlink()
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


TRAINED = ["router.kind=learned", "train.steps=1", "train.paths_per_step=2", "evaluate.max_tokens=4"]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(manifest, "_WHOLE_FILE", 1000)  # students are large files
        run(SMALL, folder, TRAINED, until="evaluate")
    return folder


def test_damage_between_two_calls_is_told_and_the_stage_runs_again(evaluated, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_WHOLE_FILE", 1000)
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    model = tmp_path / "students/mistral/model.safetensors"
    whole = model.read_bytes()
    flip(model)
    with pytest.raises(DataError, match=r"students is damaged or was changed"):
        Run(tmp_path).student("mistral")
    flip(tmp_path / "embeddings.npy")
    heard = Heard()
    run(SMALL, tmp_path, TRAINED, progress=heard, until="train")
    assert heard.started == ["embed", "train"]
    assert [warning.split(" (")[0] for warning in heard.warnings if "damaged" in warning] == [
        f"{tmp_path / name} is damaged or was changed" for name in ("embeddings.npy", "students")
    ]
    assert model.read_bytes() == whole
    assert Run(tmp_path).student("mistral") == model.parent


def test_damaged_figures_are_not_shown(evaluated, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_WHOLE_FILE", 1000)
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "scores.json"
    file.write_text(file.read_text().replace('"n": 4', '"n": 5'))
    with pytest.raises(DataError, match=r"scores\.json is damaged or was changed"):
        _ = Run(tmp_path).scores
    with pytest.raises(DataError, match=r"scores\.json is damaged or was changed"):
        show(tmp_path, "scores", ())


def test_a_spoilt_manifest_costs_time_and_not_the_run(filtered):
    (filtered / "manifest.json").write_text("{")
    assert stages_run(filtered) == ["load", "generate", "filter"]


def test_runs_side_by_side_compute_what_they_share_once(filtered, tmp_path):
    assert stages_run(tmp_path / "b", ["filter.judges=[]"], share=tmp_path) == ["filter"]
    assert (filtered / "paths.parquet").samefile(tmp_path / "b/paths.parquet")
    record = Manifest(tmp_path / "b").stages["generate"]
    assert (record["state"], record["taken_from"]) == ("done", "../filtered")


def test_a_run_can_be_moved(filtered, tmp_path):
    filtered.rename(tmp_path / "there")
    assert stages_run(tmp_path / "there") == []


def test_a_failed_stage_is_recorded_and_tried_again(tmp_path):
    with pytest.raises(InputError, match="no path survived the filter"):
        stages_run(tmp_path, ["filter.max_characters=1"])
    record = json.loads((tmp_path / "manifest.json").read_text())["stages"]["filter"]
    assert record["state"] == "failed"
    assert "no path survived" in record["reason"]
    assert not (tmp_path / "verdicts.parquet").exists() or stages_run(tmp_path) == ["filter"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer of folder .* does not load"),
        (lambda folder: _edit(folder / "tokenizer_config.json", "eos_token"), "no end-of-sequence token"),
    ],
)
def test_a_student_that_cannot_train_is_told_before_a_path_is_bought(tmp_path, tiny_student_folder, spoil, words):
    folder = tmp_path / "model"
    shutil.copytree(tiny_student_folder("llama"), folder)
    spoil(folder)
    with pytest.raises(ModelError, match=words):
        stages_run(tmp_path / "run", [f"students=[{{name: a, model: {folder}}}]"])
    assert not (tmp_path / "run/paths.parquet").exists()
    assert not (tmp_path / "replies.sqlite").exists()


def _edit(file, key):
    content = json.loads(file.read_text())
    del content[key]
    file.write_text(json.dumps(content))


def test_no_paths_at_all_says_what_is_missing(tmp_path):
    heard = Heard()
    with pytest.raises(InputError, match="there are no train questions"):
        run(SMALL, tmp_path, ["questions.train=0", "own_paths.samples=3"], progress=heard, until="generate")
    (warning,) = heard.warnings  # before a path is bought
    assert warning == "options without effect: own_paths.samples (own_paths.rounds is 0)"


def test_one_process_at_a_time(tmp_path):
    with (
        locked(tmp_path),
        pytest.raises(QRDistillError, match="in use by another process"),
        locked(tmp_path, patience=0),
    ):
        pass


def test_a_run_is_read_through_records(made):
    done = Run(made)
    paths, questions = list(done.paths()), list(done.questions())
    assert len(paths) == 6 * sum(question.split == "train" for question in questions) == 48
    kept = {row.path_id for row in done.verdicts() if row.check == "filter" and row.outcome == "keep"}
    assert 0 < len(kept) < len(paths)
    with pytest.raises(InputError, match="no student 'x'"):
        done.student("x")


def test_an_unknown_stage_is_named(tmp_path):
    with pytest.raises(InputError, match="no stage 'trian'"):
        stages_run(tmp_path, until="trian")


def test_a_student_that_the_lab_does_not_have_is_named_with_its_config_key(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("name: x\nstudents:\n  - {name: a, model: 'lab:mistral-large'}\nquestions: {train: 2}\n")
    with pytest.raises(InputError, match=r"config\.yaml:3: students\.0\.model: .*make_students mistral-large"):
        run(config, tmp_path / "run", until="train")
