import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.base import records
from qrdistill.base.errors import BoundaryError, DataError
from qrdistill.base.store import (
    TableWriter,
    atomic,
    content_hash,
    read_table,
    schema,
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
