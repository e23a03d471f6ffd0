import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrdistill.base import records
from qrdistill.base.errors import BoundaryError, DataError
from qrdistill.base.store import (
    TableWriter,
    atomic,
    content_hash,
    count_rows,
    read_batches,
    read_table,
    schema,
    shards,
    sweep,
    write_table,
    write_text,
)
from qrdistill.base.untrusted.redact import redact

RECORDS = [kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, records.Record)]


def question(**changes: object) -> records.Question:
    fields = {
        "id": "q1",
        "split": "train",
        "task": "t",
        "family": "f",
        "kind": "number",
        "question": "1+1?",
        "gold": "2",
    }
    return records.Question.model_validate(fields | changes)


@pytest.mark.parametrize("record", RECORDS[1:], ids=lambda kind: kind.__name__)
def test_every_record_has_an_explicit_schema(record):
    assert schema(record).names == list(record.model_fields)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.text(), st.one_of(st.none(), st.text()), st.dictionaries(st.text(), st.integers(0, 9)))))
def test_what_is_written_is_read_back(tmp_path_factory, values):
    rows = [question(question=text, gold=gold, metadata=extra) for text, gold, extra in values]
    path = tmp_path_factory.mktemp("t") / "questions.parquet"
    assert write_table(path, records.Question, rows) == len(rows)
    assert list(read_table(path, records.Question)) == rows


def test_the_same_rows_give_the_same_bytes_over_several_row_groups(tmp_path):
    rows = [question(id=f"q{n}") for n in range(10_000)]
    for name in ("a", "b"):
        write_table(tmp_path / name, records.Question, rows)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert pq.ParquetFile(tmp_path / "a").num_row_groups == 3


def numbered(count: int) -> list[records.Question]:
    return [question(id=f"q{n}", metadata={"n": n}) for n in range(count)]


@pytest.mark.parametrize(("rows", "files"), [(10, 1), (11, 2), (25, 3), (30, 3)])
def test_a_long_table_is_a_folder_of_shards(tmp_path, rows, files):
    target = tmp_path / "t.parquet"
    assert write_table(target, records.Question, numbered(rows), shard_rows=10) == rows
    assert [file.name for file in shards(target)] == (
        ["t.parquet"] if files == 1 else [f"part-0000{n}.parquet" for n in range(files)]
    )
    assert list(read_table(target, records.Question)) == numbered(rows)
    assert count_rows(target) == rows
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_a_table_changes_between_file_and_folder(tmp_path):
    target = tmp_path / "t.parquet"
    for count in (25, 3, 45, 25):
        write_table(target, records.Question, numbered(count), shard_rows=10)
        assert list(read_table(target, records.Question)) == numbered(count)
    (target / "notes.txt").write_text("mine")
    with pytest.raises(BoundaryError, match="not empty"):
        write_table(target, records.Question, numbered(3), shard_rows=10)
    assert (target / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_shard_that_is_lost_or_damaged_is_noticed(tmp_path, lost):
    target = tmp_path / "t.parquet"
    write_table(target, records.Question, numbered(25), shard_rows=10)
    shard = shards(target)[lost]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match=rf"part-0000{lost}.parquet is damaged"):
        list(read_table(target, records.Question))
    shard.unlink()
    with pytest.raises(DataError, match=r"t\.parquet.*missing"):
        list(read_table(target, records.Question))


def test_batches_are_columns_in_the_order_asked_for(tmp_path):
    target = tmp_path / "t.parquet"
    write_table(target, records.Question, numbered(25), shard_rows=10)
    batches = list(read_batches(target, records.Question, ["gold", "id"]))
    assert {tuple(batch.schema.names) for batch in batches} == {("gold", "id")}
    assert [name for batch in batches for name in batch.column("id").to_pylist()] == [f"q{n}" for n in range(25)]
    with TableWriter(tmp_path / "copy", records.Question, shard_rows=10) as copy:
        for batch in read_batches(target, records.Question):
            copy.write_batch(batch)
    assert [file.read_bytes() for file in shards(tmp_path / "copy")] == [file.read_bytes() for file in shards(target)]


def test_a_column_that_a_table_is_too_old_for_holds_the_default(tmp_path):
    table = tmp_path / "old.parquet"
    write_table(table, records.ReasoningPath, [])
    old = pq.read_table(table).drop_columns(["thinking", "cost"])
    row = dict.fromkeys(old.schema.names, "x") | {"round": 0, "sample": 0, "prompt_tokens": 0, "completion_tokens": 0}
    pq.write_table(pa.Table.from_pylist([row], schema=old.schema), table)
    (batch,) = read_batches(table, records.ReasoningPath, ["cost", "id", "thinking"])
    assert batch.to_pylist() == [{"cost": 0.0, "id": "x", "thinking": "drop"}]
    assert next(read_table(table, records.ReasoningPath)).thinking == "drop"


WRITES = """
import sys
from pathlib import Path
from qrdistill.base.records import Question
from qrdistill.base.store import TableWriter
fields = dict(split="train", task="t", family="f", kind="number", question="?", gold="2")
with TableWriter(Path(sys.argv[1]), Question, shard_rows=5000) as table:
    for n in range(1_000_000):
        table.write(Question.model_construct(id=f"q{n}", metadata={}, **fields))
        if n == 20_000:
            print("several shards", flush=True)
"""


def test_a_kill_between_shards_leaves_nothing_half(tmp_path):
    target = tmp_path / "t.parquet"
    write_table(target, records.Question, numbered(25), shard_rows=10)
    with subprocess.Popen([sys.executable, "-c", WRITES, str(target)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"several shards\n"
        child.kill()
    assert list(read_table(target, records.Question)) == numbered(25)
    assert len(list(tmp_path.iterdir())) == 2
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    target = tmp_path / "t.parquet"
    with pytest.raises(RuntimeError), TableWriter(target, records.Question) as table:
        table.write(question())
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rewrite_keeps_the_old_file(tmp_path):
    write_text(tmp_path / "x", "old")
    with pytest.raises(RuntimeError), atomic(tmp_path / "x") as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_what_is_renamed_is_on_the_disk_first_and_so_is_the_name_after(tmp_path, monkeypatch):
    """A power cut between two of these steps leaves the old file or the new one."""
    events: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def sync(handle):
        events.append(("sync", os.path.realpath(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def rename(source, target):
        events.append(("rename", str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    with atomic(tmp_path / "file") as temporary:
        temporary.write_text("x")
    assert events == [("sync", str(temporary)), ("rename", str(tmp_path / "file")), ("sync", str(tmp_path))]
    events.clear()
    with atomic(tmp_path / "folder") as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner/file").write_text("x")
    *synced, renamed, last = events
    assert {place for _, place in synced} == {str(temporary), str(temporary / "inner"), str(temporary / "inner/file")}
    assert (renamed, last) == (("rename", str(tmp_path / "folder")), ("sync", str(tmp_path)))


def test_a_folder_replaces_a_folder(tmp_path):
    for content in ("1", "2"):
        with atomic(tmp_path / "d") as temporary:
            temporary.mkdir()
            (temporary / "f").write_text(content)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["d", "d/f"]
    assert (tmp_path / "d/f").read_text() == "2"


def test_a_full_disk_is_one_message_and_leaves_nothing():
    """/dev/full refuses every write with 'no space left', like a full disk does."""
    if not Path("/dev/full").exists():
        pytest.fail("this test needs /dev/full")
    with (
        pytest.raises(BoundaryError, match="No space left on device.*free some space"),
        atomic(Path("/tmp/x-full")) as temporary,
    ):
        handle = os.open("/dev/full", os.O_WRONLY)
        try:
            os.write(handle, b"x")
        finally:
            os.close(handle)
    assert not Path("/tmp/x-full").exists()
    assert not temporary.exists()


def test_a_refusal_that_a_library_wraps_is_told_the_same_way(tmp_path):
    from safetensors import SafetensorError

    with (
        pytest.raises(BoundaryError, match=r"cannot write .*weights: No space left on device; free some space"),
        atomic(tmp_path / "weights"),
    ):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError, match="header"), atomic(tmp_path / "weights"):
        raise SafetensorError("header too large")


def test_a_corrupt_table_names_its_file(tmp_path):
    (tmp_path / "paths.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"paths\.parquet.*delete it and run again"):
        list(read_table(tmp_path / "paths.parquet", records.ReasoningPath))


def test_hashes_see_content_and_not_order(tmp_path):
    assert content_hash({"a": 1, "b": [2]}) == content_hash(json.loads('{"b": [2], "a": 1}'))
    assert content_hash({"a": 1}) != content_hash({"a": "1"})
    (tmp_path / "f").write_text("x")
    before = content_hash(tmp_path / "f")
    (tmp_path / "f").write_text("y")
    assert content_hash(tmp_path / "f") != before


def test_keys_are_redacted_by_name():
    environment = {
        "GEMINI_API_KEY": "abcdefgh1234",
        "HF_TOKEN": "hf_12345678",
        "HOME": "/root/abcdef",
        "SHORT_KEY": "ab",
    }
    text = redact("abcdefgh1234 hf_12345678 /root/abcdef ab", environment)
    assert text == "<GEMINI_API_KEY> <HF_TOKEN> /root/abcdef ab"
