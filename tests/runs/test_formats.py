"""What another version of qrdistill wrote is read, or refused with one message that says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from qrdistill.base.errors import DataError, InputError
from qrdistill.base.records import ReasoningPath
from qrdistill.base.store import read_table
from qrdistill.commands.show import show
from qrdistill.runs.manifest import FORMAT, Manifest
from qrdistill.runs.pipeline import run
from qrdistill.runs.run import Run

SMALL = {"name": "small", "questions": {"train": 4, "dev": 2, "test": 2}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    run(SMALL, folder, until="filter")
    return folder


@pytest.fixture
def other_format(finished: Path, tmp_path: Path):
    def make(number: object) -> Path:
        shutil.copytree(finished, tmp_path / "small")
        file = tmp_path / "small/manifest.json"
        content = json.loads(file.read_text())
        assert content["format"] == FORMAT
        del content["format"]
        file.write_text(json.dumps({**content, **({"format": number} if number else {})}))
        return tmp_path / "small"

    return make


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_older_run_is_read_and_not_gone_on_from(other_format, capsys):
    folder = other_format(None)
    before = everything(folder)
    show(folder, "paths", [], as_json=True)
    assert json.loads(capsys.readouterr().out)
    assert list(Run(folder).paths())
    with pytest.raises(InputError, match=r"an earlier qrdistill \(format 1.*choose another --run-dir") as refused:
        run(SMALL, folder, until="filter")
    assert refused.value.exit_code == 2
    assert everything(folder) == before


@pytest.mark.parametrize("number", [FORMAT + 1, "next"])
def test_a_newer_run_is_refused(other_format, number):
    folder = other_format(number)
    before = everything(folder)
    with pytest.raises(InputError, match=r"a newer qrdistill \(format .*use that one") as refused:
        run(SMALL, folder, until="filter")
    assert refused.value.exit_code == 2
    with pytest.raises(InputError, match="a newer qrdistill"):
        show(folder, "paths", [])
    assert everything(folder) == before


def test_a_newer_run_beside_is_not_taken_over(other_format):
    folder = other_format(FORMAT + 1)
    run(SMALL, folder.parent / "mine", until="filter", share=folder.parent)
    stages = Manifest(folder.parent / "mine").stages
    assert [record.get("taken_from") for record in stages.values()] == [None] * 3


def test_a_table_says_its_format_and_another_is_refused(finished, tmp_path):
    table = pq.read_table(finished / "paths.parquet")
    metadata = pq.ParquetFile(finished / "paths.parquet").metadata.metadata
    assert metadata[b"qrdistill.format"] == b"1"
    unmarked, newer = tmp_path / "unmarked.parquet", tmp_path / "newer.parquet"
    pq.write_table(table.replace_schema_metadata(None), unmarked)
    pq.write_table(table.replace_schema_metadata({"qrdistill.format": "2"}), newer)
    assert list(read_table(unmarked, ReasoningPath)) == list(read_table(finished / "paths.parquet", ReasoningPath))
    with pytest.raises(DataError, match=r"newer\.parquet: a table of format 2.*make the run anew") as refused:
        list(read_table(newer, ReasoningPath))
    assert refused.value.exit_code == 2
