import fsspec
import pytest

from qrdistill.base.errors import DataError, InputError
from qrdistill.base.untrusted.remote_file import fetched, is_url, version_of


@pytest.fixture
def store():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def test_a_copy_holds_what_lies_there(store, tmp_path):
    store.pipe("/bucket/q.jsonl", b"one\n")
    assert fetched("memory://bucket/q.jsonl").read_bytes() == b"one\n"
    (tmp_path / "q.csv").write_text("x")
    assert fetched(f"file://{tmp_path}/q.csv").read_text() == "x"
    assert not is_url("C:/q.csv")


def test_another_content_is_another_version(store):
    store.pipe("/bucket/q.jsonl", b"one\n")
    before = version_of("memory://bucket/q.jsonl")
    assert version_of("memory://bucket/q.jsonl") == before
    store.pipe("/bucket/q.jsonl", b"three\n")
    assert version_of("memory://bucket/q.jsonl") != before


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("memory://nothing/q.jsonl", DataError, "memory://nothing/q.jsonl: no such file"),
        ("s3://bucket/q.jsonl", InputError, r"s3:// needs another package .*s3fs.*pip install 'qrdistill\[remote\]'"),
        ("nowhere://bucket/q.jsonl", InputError, "nowhere.*use s3, gs"),
        ("s3://AKIAKEY:secret@bucket/q.jsonl", InputError, "keys belong in the environment"),
        ("zip://q.jsonl::memory://bucket/q.zip", InputError, "several steps"),
    ],
)
def test_what_cannot_be_read_is_one_message(store, url, kind, said):
    for use in (fetched, version_of):
        with pytest.raises(kind, match=said) as caught:
            use(url)
        assert "secret" not in str(caught.value)
