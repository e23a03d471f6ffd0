"""Questions and ready paths that lie elsewhere, or in shards."""

import json

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrdistill.base.errors import DataError
from qrdistill.questions.read_rows import read_source

ROWS = [{"id": str(n), "question": f"{n}?"} for n in range(5)]


@pytest.fixture
def store():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def write_shards(folder):
    folder.mkdir()
    for number, rows in enumerate((ROWS[:2], ROWS[2:])):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"part-{number:05d}.parquet")


def test_an_address_reads_like_a_file_and_is_named_in_complaints(store, tmp_path):
    store.pipe("/b/q.jsonl", "\n".join(map(json.dumps, ROWS)).encode())
    rows = list(read_source(tmp_path, "memory://b/q.jsonl"))
    assert [row.value for row in rows] == ROWS
    assert (rows[2].file, rows[2].line) == ("memory://b/q.jsonl", 3)
    store.pipe("/b/bad.jsonl", b'{"id": 1}\n{')
    with pytest.raises(DataError, match=r"memory://b/bad\.jsonl:2: "):
        list(read_source(tmp_path, "memory://b/bad.jsonl"))


def test_a_folder_of_shards_is_one_file_here_and_elsewhere(store, tmp_path):
    write_shards(tmp_path / "q.parquet")
    assert [row.value for row in read_source(tmp_path, "q.parquet")] == ROWS
    store.put(str(tmp_path / "q.parquet"), "/b/q.parquet", recursive=True)
    assert [row.value for row in read_source(tmp_path, "memory://b/q.parquet")] == ROWS
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="a folder without .parquet files"):
        list(read_source(tmp_path, "none"))
