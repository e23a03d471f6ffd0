"""The reply cache: keys, commits, claims, housekeeping."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from qrdistill.base.errors import BoundaryError, DataError
from qrdistill.llm.reply_cache import ChatRequest, Failed, Reply, ReplyCache

REQUEST = ChatRequest("host", "model", (("user", "What is 1 + 1?"),), seed=3, extra='{"a": 1}', label="facts")


@pytest.mark.parametrize(
    "change",
    [
        {"host": "host:8000"},
        {"model": "other"},
        {"messages": (("user", "What is 1 + 1? "),)},
        {"messages": (("system", "What is 1 + 1?"),)},
        {"temperature": 0.7},
        {"top_p": 0.9},
        {"max_tokens": 999},
        {"seed": None},
        {"sample": 1},
        {"extra": '{"a": 2}'},
    ],
)
def test_everything_that_shapes_a_reply_shapes_its_key(change: dict[str, object]):
    assert replace(REQUEST, **change).key != REQUEST.key


def test_what_shapes_no_reply_does_not_shape_the_key():
    assert replace(REQUEST, label="vanilla").key == REQUEST.key
    assert replace(REQUEST, temperature=1).key == replace(REQUEST, temperature=1.0).key
    assert len(REQUEST.key) == 32


def test_a_null_in_extra_removes_a_field():
    body = replace(REQUEST, extra='{"max_tokens": null, "temperature": null, "stop": ["x"]}').body()
    assert body == {
        "model": "model",
        "messages": [{"role": "user", "content": "What is 1 + 1?"}],
        "top_p": 1.0,
        "seed": 3,
        "stop": ["x"],
    }


def test_what_was_put_is_there_for_others_at_once(tmp_path: Path):
    reply = Reply("2", "length", 10, 5, 0.25, 1.5, '{"choices": []}')
    with ReplyCache(tmp_path / "c.sqlite") as one, ReplyCache(tmp_path / "c.sqlite") as two:
        one.put(REQUEST.key, reply, REQUEST)
        assert two.get(REQUEST.key) == replace(reply, response="")
        assert two.response(REQUEST.key) == reply.response
        assert two.get("nothing") is None
        assert two.response("nothing") is None


def test_many_keys_are_found_in_one_call(tmp_path: Path):
    requests = [replace(REQUEST, sample=number) for number in range(1200)]
    with ReplyCache(tmp_path / "c.sqlite") as cache:
        cache.settle([(request, Reply(str(request.sample))) for request in requests[::2]])
        cache.settle([(request, Failed("no", 400, 2)) for request in requests[1::2]])
        keys = [request.key for request in requests]
        assert {reply.text for reply in cache.get_many(keys).values()} == {str(n) for n in range(0, 1200, 2)}
        failures = cache.failures(keys)
        assert set(failures) == {request.key for request in requests[1::2]}
        assert failures[requests[1].key] == Failed("no", 400, 2)
        cache.settle([(requests[1], Reply("late"))])
        assert not cache.failures([requests[1].key]), "a reply makes the failure forgotten"


def test_a_claim_belongs_to_one(tmp_path: Path):
    keys = ["a", "b", "c"]
    with ReplyCache(tmp_path / "c.sqlite") as one, ReplyCache(tmp_path / "c.sqlite") as two:
        assert one.claim(keys[:2]) == {"a", "b"}
        assert two.claim(keys) == {"c"}
        one.release(["a"])
        assert two.claim(keys) == {"a"}
        one.put("b", Reply("x"))
        assert two.claim(["b"]) == set(), "it has a reply now"
    with ReplyCache(tmp_path / "c.sqlite") as three:
        assert three.claim(["a", "c"]) == {"a", "c"}, "closing gives claims back"


def test_of_many_threads_one_gets_each_claim(tmp_path: Path):
    keys = [str(number) for number in range(50)]
    won: list[str] = []

    def race() -> None:
        with ReplyCache(tmp_path / "c.sqlite") as cache:
            barrier.wait()
            for key in keys:
                won.extend(cache.claim([key]))
            barrier.wait()

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(keys)


def test_a_dead_process_holds_no_claim(tmp_path: Path):
    file = tmp_path / "c.sqlite"
    claim = (
        "import os, sys; from pathlib import Path; from qrdistill.llm.reply_cache import ReplyCache\n"
        "cache = ReplyCache(Path(sys.argv[1])).__enter__(); cache.claim(['a'])\n"
        "print(os.getpid(), flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", claim, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdin
    process.stdout.readline()
    with ReplyCache(file) as cache:
        assert cache.claim(["a"]) == set()
        process.kill()
        process.wait()
        assert cache.claim(["a"]) == {"a"}
    process.stdin.close()
    process.stdout.close()


def test_a_claim_from_another_machine_ends_with_its_lease(tmp_path: Path):
    file = tmp_path / "c.sqlite"

    def held_since(key: str, age: float) -> None:
        with sqlite3.connect(file) as other:
            values = (key, os.getpid(), time.time() - age)
            other.execute("INSERT OR REPLACE INTO claims VALUES (?, 'x', 'elsewhere', ?, '1', ?)", values)
        other.close()

    with ReplyCache(file, lease=60) as cache:
        held_since("old", 90)
        held_since("new", 0)
        assert cache.claim(["old", "new"]) == {"old"}
        held_since("new", 90)
        cache.keep_claims()  # its own: no sign of life for the other machine's
        assert cache.claim(["new"]) == {"new"}


def test_files_that_are_no_cache_are_refused(tmp_path: Path):
    (tmp_path / "text").write_text("this is not a database, and long enough to be seen as none " * 50)
    with pytest.raises(DataError, match="is not a reply cache"):
        ReplyCache(tmp_path / "text").__enter__()
    with sqlite3.connect(tmp_path / "later") as later:
        later.execute("PRAGMA user_version=99")
    later.close()
    with pytest.raises(DataError, match="another version"):
        ReplyCache(tmp_path / "later").__enter__()


def test_a_disk_that_refuses_is_said(tmp_path: Path):
    with ReplyCache(tmp_path / "c.sqlite") as cache:
        cache._writer.execute("PRAGMA max_page_count=20")  # what a full disk looks like to SQLite
        with pytest.raises(BoundaryError, match="free some space"):
            cache.put("a", Reply(os.urandom(200_000).hex()))
        assert cache.get("a") is None
        cache.put("b", Reply("small"))


def test_stats_export_and_prune(tmp_path: Path):
    with ReplyCache(tmp_path / "c.sqlite") as cache:
        other = replace(REQUEST, model="other")
        cache.settle(
            [
                (REQUEST, Reply("one", "stop", 10, 5, 0.5, 1.0, '{"id": "x"}')),
                (other, Reply("two", "length", 20, 7, 0.25, 3.0, "not json")),
                (replace(other, sample=1), Failed("no")),
            ]
        )
        stats = cache.stats()
        assert (stats["replies"], stats["usd"], stats["failures"]) == (2, 0.75, 1)
        assert [(m["model"], m["truncated"], m["prompt_tokens"]) for m in stats["models"]] == [
            ("model", 0, 10),
            ("other", 1, 20),
        ]
        assert cache.export(tmp_path / "all.jsonl") == 2
        lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
        assert [line["key"] for line in lines] == sorted([REQUEST.key, other.key])
        mine = next(line for line in lines if line["model"] == "model")
        assert mine["request"]["messages"][0]["content"] == "What is 1 + 1?"
        assert mine["response"] == {"id": "x"}
        assert cache.prune() == 0
        assert cache.prune(model="other", older_than_days=1) == 0
        assert cache.prune(model="other", truncated=True) == 1
        assert cache.get(other.key) is None
        assert cache.get(REQUEST.key) is not None
