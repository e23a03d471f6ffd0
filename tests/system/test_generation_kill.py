"""A reply that was paid for is never lost and never bought twice: killed processes, and two at once."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import generation_runner
import pytest
from command import call
from fault_server import FaultServer
from generation_runner import DRIPPING, KEY, KEY_NAME, run, teacher

from qrdistill.base.records import ReasoningPath
from qrdistill.base.store import read_table
from qrdistill.llm.reply_cache import ChatRequest, ReplyCache

NUMBER = 50  # questions; four requests each: 200
KILLS = 8
FAULTS = {"rate": 0.3, "latency": 0.05}  # of every kind


class CommittedWatch:
    """Looks into the cache at the moment a request arrives: its reply must not be there."""

    def __init__(self, cache: Path) -> None:
        self.cache, self.host, self.keys = cache, "", set[str]()

    def __call__(self, body: dict[str, Any]) -> None:
        request = ChatRequest(
            host=self.host,
            model=body["model"],
            messages=tuple((message["role"], message["content"]) for message in body["messages"]),
            temperature=body["temperature"],
            top_p=body["top_p"],
            max_tokens=body["max_tokens"],
            seed=body["seed"],
            sample=body["seed"],
        )
        with sqlite3.connect(f"file:{self.cache}?mode=ro", uri=True, timeout=60) as connection:
            rows = connection.execute("SELECT 1 FROM replies WHERE key = ?", (request.key,)).fetchall()
        connection.close()
        assert not rows, "asked although its reply was committed"
        self.keys.add(request.key)


def generated(folder: Path, server: FaultServer, processes: int, kills: int) -> Any:
    folder.mkdir()
    return call(*(folder, server.url, NUMBER, processes, kills, 7), main=generation_runner.main, **{KEY_NAME: KEY})


def table(folder: Path) -> list[ReasoningPath]:
    return sorted(read_table(folder / "paths.parquet", ReasoningPath), key=lambda path: path.id)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[ReasoningPath]:
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch, FaultServer(**FAULTS) as server:
        patch.setenv(KEY_NAME, KEY)
        run(folder, [teacher(server.url, timeout=DRIPPING)], NUMBER)
    return table(folder)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_kills_lose_nothing_and_buy_nothing_twice(tmp_path: Path, undisturbed: list[ReasoningPath], processes: int):
    folder = tmp_path / "killed"
    watch = CommittedWatch(folder / "replies.sqlite")
    with FaultServer(**FAULTS, watch=watch) as server:
        watch.host = f"127.0.0.1:{server.port}"
        done = generated(folder, server, processes, kills=KILLS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"killed {KILLS}"
    assert len(watch.keys) == 4 * NUMBER
    with ReplyCache(watch.cache) as cache:  # the keys that were watched for are the cache's own
        assert watch.keys == set(cache.get_many(sorted(watch.keys))) | set(cache.failures(sorted(watch.keys)))
    for name in range(processes):
        assert table(folder / str(name)) == undisturbed
    # what was on the wire or on its way to the disk when a process died is all that was bought again
    assert sum(server.replied.values()) <= len(server.replied) + KILLS * 2 * teacher("http://x").concurrency


@pytest.mark.slow
def test_two_processes_share_one_cache(tmp_path: Path, undisturbed: list[ReasoningPath]):
    folder = tmp_path / "pair"
    # a dripping reply is bought and given up: here every reply that is sent has to arrive
    with FaultServer(**FAULTS, without=frozenset({"drip", "reset"})) as server:
        done = generated(folder, server, processes=2, kills=0)
    assert done.returncode == 0, done.stderr
    assert table(folder / "0") == undisturbed
    assert table(folder / "1") == undisturbed
    assert len(server.replied) == len(undisturbed)
    assert max(server.replied.values()) == 1, "a reply was bought twice"
