"""A reply that the disk spoilt is put aside and bought again; older files are upgraded without losing a row."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from qrdistill.base.errors import DataError
from qrdistill.base.progress import Silent
from qrdistill.llm.reply_cache import ChatRequest, Failed, Reply, ReplyCache

REQUEST = ChatRequest("host", "model", (("user", "What is 1 + 1?"),))
REQUESTS = [replace(REQUEST, sample=number) for number in range(20)]
KEYS = [request.key for request in REQUESTS]

# as this package's first format had it, word for word
FIRST_FORMAT = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, host TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL,
    finish_reason TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    cost REAL NOT NULL, latency REAL NOT NULL, at REAL NOT NULL, request BLOB NOT NULL, response BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS claims (
    key TEXT PRIMARY KEY, owner TEXT NOT NULL, machine TEXT NOT NULL, pid INTEGER NOT NULL,
    born TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS failures (
    key TEXT PRIMARY KEY, reason TEXT NOT NULL, status INTEGER, attempts INTEGER NOT NULL, at REAL NOT NULL);
"""


def fill(file: Path) -> None:
    with ReplyCache(file) as cache:
        cache.settle([(one, Reply(f"The answer is {one.sample}.", "stop", 10, 5, 0.25, 1.5, "{}")) for one in REQUESTS])


def change(file: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement, values)


@pytest.mark.parametrize(
    "damage",
    [
        "text = 'The answer is 4.'",
        "text = CAST(x'ff00fe' AS TEXT)",
        "text = x'0102'",
        "finish_reason = 'stoq'",
        "cost = 0.5",
        "cost = 'much'",
        "completion_tokens = 7",
        "at = at + 1",
        "checksum = 'x'",
        "checksum = NULL",
    ],
)
def test_a_damaged_reply_is_put_aside_said_and_asked_for_again(tmp_path: Path, damage: str):
    file, progress = tmp_path / "c.sqlite", Silent()
    fill(file)
    change(file, f"UPDATE replies SET {damage} WHERE key = ?", KEYS[3])
    with ReplyCache(file) as cache:
        found = cache.get_many(KEYS)
        assert set(found) == set(KEYS) - {KEYS[3]}
        assert cache.put_aside == cache.stats()["unreadable"] == 1
        cache.warn(progress)
        cache.warn(progress)
        assert len(progress.warnings) == 1
        assert "1 replies" in progress.warnings[0]
        assert "asked for again" in progress.warnings[0]
        assert cache.claim(KEYS) == {KEYS[3]}, "it can be bought again"
        cache.put(KEYS[3], Reply("The answer is 3."), REQUESTS[3])
    with ReplyCache(file) as cache:
        assert cache.get_many(KEYS)[KEYS[3]].text == "The answer is 3."
        assert cache.put_aside == 0


def test_any_flipped_bit_of_a_stored_text_is_seen(tmp_path: Path):
    """In the file itself, below SQLite."""
    file = tmp_path / "c.sqlite"
    fill(file)
    change(file, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = file.read_bytes()
    assert content.count(b"The answer is 7.") == 1
    begin = content.index(b"The answer is 7.")
    for bit in range(0, 16 * 8, 5):
        spoilt = bytearray(content)
        spoilt[begin + bit // 8] ^= 1 << bit % 8
        damaged = tmp_path / f"{bit}.sqlite"
        damaged.write_bytes(spoilt)
        with ReplyCache(damaged) as cache:
            assert set(cache.get_many(KEYS)) == set(KEYS) - {KEYS[7]}, bit


@pytest.mark.parametrize("place", [0, 1])
def test_a_flipped_bit_in_a_key_leaves_no_request_that_nobody_may_ask(tmp_path: Path, place: int):
    file = tmp_path / "c.sqlite"
    fill(file)
    change(file, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(file.read_bytes())
    places = [at for at in range(len(content)) if content.startswith(KEYS[7].encode(), at)]
    assert len(places) == 2, "in the table and in its index"
    content[places[place]] ^= 1
    file.write_bytes(content)
    with ReplyCache(file) as cache:
        found = set(cache.get_many(KEYS))
        assert len(found) > 10, "an index out of order misleads the search for a few others"
        assert found | cache.claim(KEYS) == set(KEYS)


def test_a_damaged_body_loses_no_reply(tmp_path: Path):
    file = tmp_path / "c.sqlite"
    fill(file)
    change(file, "UPDATE replies SET response = x'789c00' WHERE key = ?", KEYS[2])
    change(file, "UPDATE replies SET text = 'x' WHERE key = ?", KEYS[4])
    with ReplyCache(file) as cache:
        assert cache.export(tmp_path / "all.jsonl") == 19
        lines = {line["key"]: line for line in map(json.loads, (tmp_path / "all.jsonl").read_text().splitlines())}
        assert lines[KEYS[2]]["response"] is None
        assert lines[KEYS[3]]["response"] == {}
        assert KEYS[4] not in lines
        assert cache.response(KEYS[2]) is None
        assert cache.get(KEYS[2]) is not None
        assert cache.put_aside == 1


def test_a_file_of_the_first_format_is_upgraded_with_every_row(tmp_path: Path):
    file = tmp_path / "c.sqlite"
    with closing(sqlite3.connect(file)) as old, old:
        old.executescript(FIRST_FORMAT)
        for one in REQUESTS:
            row = (one.key, "host", "model", f"It is {one.sample} ½.", "stop", 10, 5, 0.1 + 0.2, 0, 1.7e9)
            old.execute(
                "INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, zlib.compress(b'{"model": "m"}'), b""),
            )
        old.execute("INSERT INTO failures VALUES ('f', 'no', 400, 2, 1.7e9)")
        old.execute("PRAGMA user_version=1")
    for _ in range(2):  # opened again, it is upgraded no more
        with ReplyCache(file) as cache:
            found = cache.get_many(KEYS)
            assert [found[key].text for key in KEYS] == [f"It is {number} ½." for number in range(20)]
            assert cache.put_aside == 0
            assert cache.failures(["f"]) == {"f": Failed("no", 400, 2)}
            cache.settle([], [(KEYS[0], Reply("", prompt_tokens=3, cost=0.5))])
            assert cache.export(tmp_path / "all.jsonl") == 20
    with ReplyCache(file) as cache:
        assert cache.wasted(KEYS) == [Reply("", prompt_tokens=6, cost=1.0)]
        assert cache.stats()["wasted_usd"] == 1.0
    change(file, "UPDATE replies SET text = 'It is 5.' WHERE key = ?", KEYS[3])
    with ReplyCache(file) as cache:
        assert KEYS[3] not in cache.get_many(KEYS), "rows of the old format are guarded from now on"


def test_other_formats_and_other_databases_are_told_apart(tmp_path: Path):
    change(tmp_path / "later", "PRAGMA user_version=99")
    with pytest.raises(DataError, match=r"another version of qrdistill \(format 99; this one reads 1 to 3\)"):
        ReplyCache(tmp_path / "later").__enter__()
    change(tmp_path / "other", "CREATE TABLE mine (x)")
    with pytest.raises(DataError, match="no reply cache"):
        ReplyCache(tmp_path / "other").__enter__()
    with closing(sqlite3.connect(tmp_path / "other")) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)], "left as it was"


def test_a_file_damaged_beyond_single_rows_is_said_in_one_message(tmp_path: Path):
    file = tmp_path / "c.sqlite"
    with ReplyCache(file) as cache:
        cache.settle([(one, Reply("x" * 3000)) for one in REQUESTS])
    change(file, "PRAGMA wal_checkpoint(TRUNCATE)")
    size = file.stat().st_size
    content = bytearray(file.read_bytes())
    content[4096 * 3 :] = b"\x55" * (size - 4096 * 3)
    file.write_bytes(content)
    with pytest.raises(DataError) as caught, ReplyCache(file) as cache:
        for key in KEYS:
            cache.get(key)
    assert len(str(caught.value)) < 500
    assert "move it away" in str(caught.value)
