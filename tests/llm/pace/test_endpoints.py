"""Several addresses of one teacher: balanced, left alone while they are down, and none of it in the cache's keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from generation_runner import KEY, KEY_NAME, run, teacher

from qrdistill.base.errors import TeacherError
from qrdistill.base.progress import Silent
from qrdistill.base.records import Failure, ReasoningPath
from qrdistill.base.store import read_table
from qrdistill.llm.pace import endpoints

GONE = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)
    monkeypatch.setattr(endpoints, "_FIRST_REST", 0.05)


@pytest.fixture
def two() -> Iterator[list[FaultServer]]:
    with FaultServer(latency=0.02) as first, FaultServer(latency=0.02) as second:
        yield [first, second]


class Told(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.facts: dict[str, object] = {}

    def log(self, message: str) -> None:
        self.said.append(message)

    def done(self, **facts: object) -> None:
        self.facts |= facts


def asked(*urls: str, **changes: Any) -> Any:
    return teacher(urls[0], base_urls=list(urls[1:]), **changes)


def failures(folder: Path) -> list[Failure]:
    return list(read_table(folder / "failures.parquet", Failure))


def test_requests_are_balanced_and_each_address_has_its_own_gate(tmp_path: Path, two: list[FaultServer]):
    run(tmp_path, [asked(*(one.url for one in two), concurrency=4)], 50)
    shares = [sum(one.seen.values()) for one in two]
    assert sum(shares) == 200
    assert min(shares) > 60
    assert [one.most_in_flight for one in two] == [4, 4]


def test_the_cache_does_not_know_who_answered(tmp_path: Path, two: list[FaultServer]):
    first, second = (one.url for one in two)
    run(tmp_path, [asked(first, second)], 10)
    paths = list(read_table(tmp_path / "paths.parquet", ReasoningPath))
    for more in ([], [GONE], [second, GONE]):
        again = run(tmp_path / "again", [asked(first, *more)], 10, cache=tmp_path / "replies.sqlite")
        assert again.cached == 40
    assert list(read_table(tmp_path / "again/paths.parquet", ReasoningPath)) == paths
    alone = teacher(first, base_url=None, base_urls=[first, second])
    assert (alone.base_url, alone.addresses) == (first, [first, second])


@pytest.mark.parametrize("order", [0, 1])
def test_an_address_that_is_not_there_costs_no_attempt(tmp_path: Path, two: list[FaultServer], order: int):
    urls = [GONE, two[0].url][:: 1 if order else -1]
    progress = Told()
    run(tmp_path, [asked(*urls, max_attempts=1)], 20, progress=progress)
    assert not failures(tmp_path)
    assert any(f"{GONE} is left alone" in said for said in progress.said)


def test_one_that_dies_does_not_stop_the_run_and_is_asked_again_when_it_is_back(tmp_path: Path):
    """The second answers a third of the way, then only errors, then again."""
    count = [0]

    def fault(body: object, sight: int) -> str | None:
        count[0] += 1
        return "error" if 20 <= count[0] < 29 else None

    progress = Told()
    with FaultServer(latency=0.02) as first, FaultServer(latency=0.02, fault=fault) as second:
        run(tmp_path, [asked(first.url, second.url, concurrency=4)], 60, progress=progress)
        assert not failures(tmp_path)
        assert second.served["error"] == 9
        assert count[0] > 40, "it was asked again"
    assert any(f"{second.url} is left alone" in said for said in progress.said)
    assert any(f"{second.url} is back" in said for said in progress.said)


@pytest.mark.parametrize("status", [401, 404])
def test_an_address_that_is_set_up_wrongly_is_left_alone(tmp_path: Path, two: list[FaultServer], status: int):
    with FaultServer(status=status) as wrong:
        run(tmp_path, [asked(wrong.url, two[0].url)], 20)
        assert not failures(tmp_path)


def test_when_all_of_them_are_gone_it_is_said(tmp_path: Path):
    with pytest.raises(TeacherError, match="cannot be reached"):
        run(tmp_path, [asked(GONE, "http://127.0.0.1:19/v1", max_attempts=2)], 5)


def test_what_it_settled_at_is_shown(tmp_path: Path):
    progress = Told()
    count = [0]

    def busy_twice(body: object, sight: int) -> str | None:
        count[0] += 1
        return "busy" if count[0] in (30, 60) else None

    with FaultServer(latency=0.02, fault=busy_twice) as server:
        run(tmp_path, [teacher(server.url, concurrency=16)], 20, progress=progress)
    [said] = [said for said in progress.said if "at once" in said]
    assert "of 16 at once" in said
    assert "told to wait 2 times" in said
