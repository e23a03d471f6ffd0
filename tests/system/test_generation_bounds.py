"""Replies beyond every bound, and a cache that the disk spoilt: each is data of the run, none ends it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from generation_runner import KEY, KEY_NAME, run, teacher

from qrdistill.base.progress import Silent
from qrdistill.base.records import Failure, ReasoningPath
from qrdistill.base.store import read_table
from qrdistill.llm.openai_client import ReplyReader


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("bomb", "the reply broke off: it is longer than 8 MiB"),
        ("long", "the reply broke off: it is longer than 8 MiB"),
        ("deep", "not a chat completion (not JSON that can be read: nested more than 100 deep)"),
        ("digits", "not a chat completion (not JSON that can be read: a number of 100000 digits"),
        ("codec", "not a chat completion (not JSON"),
        ("moved", "HTTP 307: it moved to http://127.0.0.1:9/v2; give that as base_url"),
    ],
)
def test_a_reply_beyond_the_bounds_is_a_failure_on_record(tmp_path: Path, kind: str, reason: str):
    with FaultServer(fault=lambda body, sight: kind if "2 + 1" in str(body) else None) as server:
        run(tmp_path, [teacher(server.url, max_attempts=1)], 5)
    failures = list(read_table(tmp_path / "failures.parquet", Failure))
    assert len(list(read_table(tmp_path / "paths.parquet", ReasoningPath))) == 16
    assert len(failures) == 4
    for row in failures:
        assert row.reason.startswith(reason)
        assert len(row.reason) < 500
        assert row.reason.isprintable()
        assert KEY not in row.reason


def test_large_replies_are_read_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    threads: dict[bool, set[bool]] = {True: set(), False: set()}
    read = ReplyReader.reply

    def watched(reader: ReplyReader, request: Any, content: bytes, latency: float) -> Any:
        threads[len(content) > 100_000].add(threading.current_thread() is threading.main_thread())
        return read(reader, request, content, latency)

    monkeypatch.setattr(ReplyReader, "reply", watched)
    with FaultServer(text=lambda body: "x" * (1_000_000 if "1 + 1" in str(body) else 10)) as server:
        run(tmp_path, [teacher(server.url)], 3)
    assert threads == {True: {False}, False: {True}}


def test_a_damaged_reply_is_bought_again_and_said(tmp_path: Path):
    with FaultServer() as server:
        run(tmp_path, [teacher(server.url)], 5)
        before, asked = (tmp_path / "paths.parquet").read_bytes(), sum(server.seen.values())
        with closing(sqlite3.connect(tmp_path / "replies.sqlite")) as cache, cache:
            cache.execute("UPDATE replies SET text = text || ' ' WHERE rowid IN (3, 7)")
        progress = Silent()
        run(tmp_path, [teacher(server.url)], 5, progress=progress)
        assert sum(server.seen.values()) == asked + 2
        assert [warning for warning in progress.warnings if "2 replies" in warning and "damaged" in warning]
        assert (tmp_path / "paths.parquet").read_bytes() == before
        run(tmp_path, [teacher(server.url)], 5)
        assert sum(server.seen.values()) == asked + 2
