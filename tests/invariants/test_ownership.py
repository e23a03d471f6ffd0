"""Whatever names and run directories are given: nothing that qrdistill did not make is changed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrdistill.base.errors import ConfigError, DataError, InputError, QRDistillError
from qrdistill.base.ownership import FILES, MARK, check_ours, claim, list_files, remove_files
from qrdistill.base.progress import Silent
from qrdistill.base.store import atomic, sweep, write_text
from qrdistill.commands.cache import export as export_cache
from qrdistill.commands.starter import write_starter
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.runs.load_config import load_config
from qrdistill.runs.pipeline import run
from qrdistill.studies import run_study
from qrdistill.studies.demo import demo
from qrdistill.training.saved import checkpoint

TINY = {"name": "tiny", "questions": {"train": 2, "dev": 1, "test": 1}, "filter": {"judges": []}}
TINY |= {"paths": {"styles": ["vanilla"]}, "train": {"steps": 0}}


def tree(folder: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: a file's bytes, a link's target, None for a folder."""
    found: dict[str, bytes | str | None] = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            content = str(path.readlink()) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
            found[str(path.relative_to(folder))] = content
    return found


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


MINE = {
    "config.yaml": b"name: mine\n",
    "manifest.json": b'{"stages": {}}',
    "checkpoints/weights.pt": b"weeks of work",
    "checkpoints/step-00000001/state.json": b"{}",
    "checkpoints/best/notes.txt": b"mine",
    "students/mistral/model.safetensors": b"mine",
    "students/notes.txt": b"",
    "assignments/part-00000000.parquet": b"mine",
    "rounds/1/paths.parquet": b"mine",
    "metrics.jsonl": b"{}\n",
    "questions.parquet": b"mine",
    "scores.json": b"{}",
    "report.html": b"<p>",
    "study.json": b"{}",
    "styles/styles.yaml": b"mine",
    "labels.jsonl": b"mine",
    ".lock": b"42",
    ".notes.tmp": b"mine",
    ".notes.1.tmp": b"mine",
    "a.tmp": b"mine",
    ".locks/generate": b"mine",
    ".qrdistill/precious": b"mine",
    "learned/config.yaml": b"mine",
}

names = st.one_of(
    st.sampled_from(
        [".", "..", "...", "", "a/b", "../home", "/", "~", "a\\b", "con", "NUL.txt", "com1", "free", "lab\n"]
    ),
    st.sampled_from(
        ["-f", ".hidden", "end.", "a" * 65, "é", "e\u0301", "replies.sqlite", ".locks", "a\0b", "lab", "tiny"]
    ),
    st.text(max_size=70),
    st.text(alphabet="./aZ-_", max_size=5),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory that relative run folders fall into."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("home")
    os.chdir(folder)
    yield folder
    os.chdir(before)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(["name", "students.0.name", "teachers.0.name", "paths.styles.0.name", "filter.judges.0.name"]),
    name=names,
    override=st.booleans(),
    files=st.dictionaries(st.sampled_from(sorted(MINE)), st.binary(max_size=20)),
    place=st.sampled_from([None, ".", "work", "work/deep", "work/../work", "link", "work/students"]),
)
def test_no_name_and_no_run_directory_changes_what_is_not_ours(home, key, name, override, files, place):
    for path in home.iterdir():
        path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
    fill(home, files)
    fill(home / "work", files)
    fill(home / "runs" / "tiny", files)
    (home / "link").symlink_to(home / "work")
    before = tree(home)
    config = {
        **TINY,
        "students": [{"name": "s", "model": "lab:mistral-tiny"}],
        "teachers": [{"kind": "lab"}],
        "filter": {"judges": [{"kind": "lab"}]},
        "paths": {"styles": [{"name": "own", "instruction": "Solve it.", "hint": "Go."}]},
    }
    overrides = [f"{key}={json.dumps(name)}"]
    if not override:
        config, overrides = load_or_raw(config, key, name), []
    done, code = None, 2
    try:
        done = run(config, place, overrides, until="load")
    except QRDistillError as error:
        code = error.exit_code
    after = tree(home)
    assert code == 2
    if done is not None:
        assert done.folder.resolve().is_relative_to(home.resolve())
    assert {path: content for path, content in after.items() if path in before} == before


def load_or_raw(config: dict, key: str, name: str) -> dict:
    """The config with one key changed, as a user would write it into the file."""
    changed = json.loads(json.dumps(config))
    *above, last = key.split(".")
    here = changed
    for part in above:
        here = here[int(part)] if part.isdigit() else here[part]
    here[last] = name
    return changed


@pytest.mark.parametrize(
    "name",
    [
        ".",
        "..",
        "...",
        ".a",
        "a.",
        "a/b",
        "a\\b",
        "-a",
        "",
        "a b",
        "é",
        "e\u0301",
        "con",
        "Nul.txt",
        "LPT1",
        "a\n",
        "replies.sqlite",
        "a" * 65,
    ],
)
@pytest.mark.parametrize(
    ("key", "section"),
    [
        ("name", {}),
        ("students.0.name", {"students": [{"model": "lab:mistral-tiny"}]}),
        ("teachers.0.name", {"teachers": [{"kind": "lab"}]}),
        ("filter.judges.0.name", {"filter": {"judges": [{"kind": "lab"}]}}),
        ("paths.styles.0.name", {"paths": {"styles": [{"instruction": "i", "hint": "h"}]}}),
    ],
)
def test_a_name_is_one_part_of_a_path(key, section, name):
    for config, overrides in (
        (load_or_raw(section, key, name), []),
        (section, [f"{key}={json.dumps(name)}"]),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(config, overrides)
        assert (caught.value.key, caught.value.exit_code) == (key, 2)
        assert repr(name) in str(caught.value)
        assert "choose another" in str(caught.value) or "shorten it" in str(caught.value)


def test_names_that_a_file_system_may_take_for_one_are_refused():
    students = [{"name": name, "model": "lab:mistral-tiny"} for name in ("ann", "Ann")]
    with pytest.raises(ConfigError, match=r"students\.1\.name.*'Ann' is used twice"):
        load_config({"students": students})


def test_the_style_free_is_taken():
    with pytest.raises(ConfigError, match=r"paths\.styles\.0\.name: 'free'"):
        load_config({"paths": {"styles": [{"name": "free", "instruction": "i", "hint": "h"}]}})


def test_a_teacher_in_a_replayed_file_has_a_name_too(tmp_path):
    rows = {"question_id": "q", "style": "vanilla", "text": "The answer is 2.", "teacher": "../ann"}
    (tmp_path / "p.jsonl").write_text(json.dumps(rows) + "\n")
    teachers = [{"name": "ready", "kind": "replay", "file": str(tmp_path / "p.jsonl")}]
    with pytest.raises(DataError, match=r"p\.jsonl:1: teacher '\.\./ann': a name"):
        run({**TINY, "teachers": teachers}, tmp_path / "run", until="generate")


# --- folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(MINE) - {".lock"}))
@pytest.mark.parametrize("way", ["run", "demo", "study", "init", "styles"])
def test_a_folder_that_is_not_ours_is_refused_as_it_is(tmp_path, name, way):
    fill(tmp_path / "d", {name: MINE[name]})
    before = tree(tmp_path)
    folder = tmp_path / "d"
    with pytest.raises(InputError, match=r"did not make|is not empty"):
        if way == "run":
            run(TINY, folder, until="load")
        elif way == "demo":
            demo(folder, progress=Silent())
        elif way == "study":
            run_study("ablation", TINY, folder, seeds=1, workers=1, tune=False, progress=Silent())
        elif way == "init":
            write_starter(folder)
        else:
            claim(folder)
    assert tree(tmp_path) == before


def test_a_demo_and_a_study_refuse_before_the_first_run(tmp_path):
    claim(tmp_path / "d")
    fill(tmp_path / "d/base", {"config.yaml": b"mine"})
    before = tree(tmp_path / "d/base")
    with pytest.raises(InputError, match="did not make"):
        demo(tmp_path / "d", progress=Silent())
    assert tree(tmp_path / "d/base") == before


def test_a_folder_is_marked_when_it_is_made_and_taken_up_again(tmp_path):
    for _ in range(2):
        run(TINY, tmp_path / "run", until="load")
        assert (tmp_path / "run" / MARK).read_text() == "qrdistill 1\n"
    (tmp_path / "run" / MARK).write_text("qrdistill 2\n")
    with pytest.raises(InputError, match="newer qrdistill"):
        run(TINY, tmp_path / "run", until="load")


def test_a_run_of_a_version_without_marks_is_known_by_its_manifest(tmp_path):
    run(TINY, tmp_path / "study/run", until="load")
    (tmp_path / "study/run" / MARK).unlink()
    assert check_ours(tmp_path / "study/run") is False
    assert check_ours(tmp_path / "study") is False
    (tmp_path / "study/diary.txt").write_text("mine")
    with pytest.raises(InputError, match="diary"):
        claim(tmp_path / "study")
    claim(tmp_path / "study/run")
    assert check_ours(tmp_path / "study/run") is True


@pytest.mark.parametrize("name", ["students", "checkpoints", "rounds", "assignments", "styles", "config.yaml", ".lock"])
def test_no_link_is_followed(tmp_path, name):
    folder = tmp_path / "run"
    claim(folder)
    fill(
        tmp_path / "precious",
        {"mistral/model.safetensors": b"mine", "key": b"x", "part-00000000.parquet": b"mine"},
    )
    (folder / name).symlink_to(tmp_path / "precious")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="symbolic link"):
        run(TINY, folder, until="load")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "name",
    [
        "students/notes.txt",
        "students/mistral/notes.txt",
        "checkpoints/best/notes.txt",
        "checkpoints/a.pt",
        "assignments/a.parquet",
        "rounds/1/a.txt",
        "rounds/1/students/mistral/notes.txt",
    ],
)
def test_a_file_that_joined_a_folder_which_is_replaced_is_named(tmp_path, name):
    claim(tmp_path)
    for student in (tmp_path / "students/mistral", tmp_path / "rounds/1/students/mistral"):
        fill(student, {"model.safetensors": b"ours"})
        list_files(student)
        assert (student / FILES).read_text() == "model.safetensors\n"
    check_ours(tmp_path)
    fill(tmp_path, {name: b"mine"})
    with pytest.raises(InputError, match=f"{name} is no file of qrdistill's"):
        run(TINY, tmp_path, until="load")


def test_files_of_the_users_own_beside_ours_stay(tmp_path):
    run(TINY, tmp_path, until="load")
    own = {"notes.txt": b"mine", "plots/a.png": b"mine", ".notes.tmp": b"mine", "x.1.tmp": b"mine"}
    fill(tmp_path, own)
    run(TINY, tmp_path, ["questions.dev=2"], until="load")
    assert {name: (tmp_path / name).read_bytes() for name in own} == own


# --- what replaces and removes --------------------------------------------------------------------


def test_a_write_replaces_a_link_and_not_what_it_points_to(tmp_path):
    fill(tmp_path / "precious", {"a": b"mine"})
    for name, target in (("file", "precious/a"), ("folder", "precious")):
        (tmp_path / name).symlink_to(tmp_path / target)
    write_text(tmp_path / "file", "ours")
    with atomic(tmp_path / "folder") as temporary:
        temporary.mkdir()
    assert not (tmp_path / "file").is_symlink()
    assert not (tmp_path / "folder").is_symlink()
    assert tree(tmp_path / "precious") == {"a": b"mine"}


def test_a_file_never_replaces_a_folder(tmp_path):
    fill(tmp_path, {"scores.json/a": b"mine"})
    with pytest.raises(QRDistillError, match="cannot write"):
        write_text(tmp_path / "scores.json", "ours")
    assert tree(tmp_path) == {"scores.json": None, "scores.json/a": b"mine"}


def test_a_sweep_removes_our_temporaries_alone(tmp_path):
    fill(tmp_path / "away", {".x.1.qrdistill.tmp": b"not below the folder"})
    own = {".notes.tmp": b"", ".a.1.tmp": b"", "b.tmp": b"", ".c.qrdistill.tmp": b""}
    fill(
        tmp_path / "run",
        {**own, ".d.1.qrdistill.tmp": b"", ".e.2.qrdistill.tmp/f": b"", "g/.h.3.qrdistill.tmp": b""},
    )
    (tmp_path / "run/link").symlink_to(tmp_path / "away")
    (tmp_path / "run/.i.4.qrdistill.tmp").symlink_to(tmp_path / "away")
    sweep(tmp_path / "run")
    assert set(tree(tmp_path / "run")) == {*own, "g", "link"}
    assert set(tree(tmp_path / "away")) == {".x.1.qrdistill.tmp"}


def test_removing_leaves_what_is_not_named(tmp_path):
    fill(tmp_path / "a", {"state.json": b"", "notes.txt": b"mine"})
    fill(tmp_path / "b", {"state.json": b""})
    (tmp_path / "c").symlink_to(tmp_path / "a")
    for name in "cba":
        remove_files(tmp_path / name, ("state.*",))
    assert tree(tmp_path) == {"a": None, "a/notes.txt": b"mine", "c": str(tmp_path / "a")}


def test_a_checkpoint_of_another_training_takes_nothing_along(tmp_path):
    facts = b'{"format": 1, "fingerprint": "other"}'
    fill(tmp_path, {"step-00000001/state.json": facts, "step-00000001/notes.txt": b"mine"})
    warnings: list[str] = []
    assert checkpoint.latest(tmp_path, "this", warnings.append) is None
    assert not warnings
    assert tree(tmp_path) == {"step-00000001": None, "step-00000001/notes.txt": b"mine"}


# --- beside the run -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1])
def test_a_database_of_something_else_is_no_reply_cache(tmp_path, version):
    file = tmp_path / "replies.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE mine (a)")
    connection.execute(f"PRAGMA user_version={version}")
    connection.commit()
    connection.close()
    before = tree(tmp_path)
    with pytest.raises(DataError, match="no reply cache; move it away"), ReplyCache(file):
        pass
    assert tree(tmp_path) == before


def test_a_lock_keeps_what_its_file_holds(tmp_path):
    fill(tmp_path / "run", {".lock": b"42"})
    run(TINY, tmp_path / "run", until="load")
    assert (tmp_path / "run/.lock").read_bytes() == b"42"


def test_an_export_of_the_cache_replaces_no_file(tmp_path):
    with ReplyCache(tmp_path / "replies.sqlite"):
        pass
    (tmp_path / "mine.jsonl").write_text("mine")
    with pytest.raises(InputError, match="exists; choose another name"):
        export_cache(tmp_path / "replies.sqlite", tmp_path / "mine.jsonl")
    assert (tmp_path / "mine.jsonl").read_text() == "mine"


def test_a_folder_whose_name_is_none_is_told_by_init(tmp_path):
    with pytest.raises(InputError, match="'my task' cannot be one"):
        write_starter(tmp_path / "my task")
    assert tree(tmp_path) == {}
