"""Generation against a server that misbehaves in every way we know: real HTTP, the real SDK."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_server import FaultServer, digest
from generation_runner import DRIPPING, KEY, KEY_NAME, no_key_in, run, teacher

from qrdistill.base.errors import BoundaryError, BudgetError, ConfigError, Interrupted, TeacherError
from qrdistill.base.progress import Silent
from qrdistill.base.records import Failure, ReasoningPath
from qrdistill.base.store import read_table
from qrdistill.llm.config import Price
from qrdistill.llm.live_counts import Board
from qrdistill.llm.reply_cache import ReplyCache


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)


def rows(folder: Path) -> tuple[list[ReasoningPath], list[Failure]]:
    return (
        list(read_table(folder / "paths.parquet", ReasoningPath)),
        list(read_table(folder / "failures.parquet", Failure)),
    )


class Watching(Silent):
    """Remembers everything that would be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def advance(self, steps: int = 1, **facts: object) -> None:
        self.seen.append(" ".join(f"{name} {value}" for name, value in facts.items()))

    def log(self, message: str) -> None:
        self.seen.append(message)


def test_every_slot_ends_as_one_path_or_one_failure(tmp_path: Path):
    progress = Watching()
    with FaultServer(rate=0.3) as server:
        spending = run(tmp_path, [teacher(server.url, timeout=DRIPPING)], 80, progress=progress)
        kinds = set(server.served)
    assert kinds >= {
        "busy",
        "error",
        "reset",
        "malformed",
        "empty",
        "many",
        "length",
        "drip",
        "late",
        "refuse",
    }
    paths, failures = rows(tmp_path)
    slots = [(row.question_id, row.style, row.sample) for row in (*paths, *failures)]
    expected = itertools.product((f"q{n}" for n in range(80)), ("vanilla", "facts"), (0, 1))
    assert sorted(slots) == sorted(expected)
    order = [f"q{n}" for n in range(80)]
    positions = [(order.index(row.question_id), row.style == "facts", row.sample) for row in paths]
    assert positions == sorted(positions)
    assert failures
    assert {row.status for row in failures} == {400}
    assert spending.paths == len(paths)
    assert spending.truncated == sum(path.finish_reason == "length" for path in paths) > 0
    assert spending.bought_usd == pytest.approx(sum(path.cost for path in paths))
    assert any("went to faulty for replies that were empty" in warning for warning in progress.warnings)
    # what the limit cut off has said no answer, whatever number it ends with
    assert all(path.answer == (None if path.finish_reason == "length" else "64") for path in paths)
    no_key_in(tmp_path)
    assert KEY not in "\n".join([*progress.seen, *progress.warnings])
    assert all(row.reason.count("<FAULT_API_KEY>") == 3 for row in failures), "redacted, not lost"


def test_a_second_run_asks_for_the_failures_only_and_needs_no_server_without_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with FaultServer(rate=0.3, kinds=("refuse", "many")) as server:
        run(tmp_path, [teacher(server.url)], 30)
        before, first = rows(tmp_path), sum(server.seen.values())
        again = run(tmp_path, [teacher(server.url)], 30)
        assert rows(tmp_path) == before
        assert sum(server.seen.values()) - first == len(before[1]) > 0
        assert again.cached == len(before[0])
    with FaultServer() as server:
        run(tmp_path / "other", [teacher(server.url)], 10)
        url = server.url
    monkeypatch.delenv(KEY_NAME)
    replayed = run(tmp_path / "other", [teacher(url)], 10)
    assert (replayed.paths, replayed.cached) == (40, 40)


def test_transient_faults_are_tried_as_often_as_allowed(tmp_path: Path):
    with FaultServer(fault=lambda body, sight: "error") as server:
        run(tmp_path, [teacher(server.url, max_attempts=2)], 2)
        assert set(server.seen.values()) == {2}
    paths, failures = rows(tmp_path)
    assert not paths
    assert {(row.status, row.attempts) for row in failures} == {(500, 2)}


def test_retry_after_holds_the_whole_teacher_back(tmp_path: Path):
    first = []

    def busy_once(body: object, sight: int) -> str | None:
        first.append(1)
        return "busy" if len(first) == 1 else None

    with FaultServer(fault=busy_once, retry_after="1.5", latency=0.05) as server:
        run(tmp_path, [teacher(server.url, concurrency=4)], 5)
        gaps = [later - earlier for earlier, later in itertools.pairwise(server.times)]
    assert max(gaps) > 0.75
    assert not rows(tmp_path)[1]


def test_a_wait_of_hours_stops_the_run(tmp_path: Path):
    with (
        FaultServer(fault=lambda body, sight: "busy", retry_after="7200") as server,
        pytest.raises(TeacherError, match=r"asks to wait 2\.0 hours"),
    ):
        run(tmp_path, [teacher(server.url)], 5)


@pytest.mark.parametrize(("status", "most"), [(401, 4), (403, 12), (404, 12), (402, 4)])
def test_no_request_can_succeed_is_said_at_once(tmp_path: Path, status: int, most: int):
    with (
        FaultServer(status=status) as server,
        pytest.raises(TeacherError, match=f"refuses every request.*{status}") as caught,
    ):
        run(tmp_path, [teacher(server.url, concurrency=4)], 200)
    assert sum(server.seen.values()) <= most
    assert KEY not in str(caught.value)
    no_key_in(tmp_path)


def test_a_server_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(TeacherError, match=r"cannot be reached at http://127\.0\.0\.1:9/v1"):
        run(tmp_path, [teacher("http://127.0.0.1:9/v1", max_attempts=2)], 5)


def test_a_missing_or_broken_key_is_said_without_showing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEY_NAME, KEY + "\nX")
    with pytest.raises(ConfigError, match="a character that no key has") as caught:
        run(tmp_path, [teacher("http://127.0.0.1:9/v1")], 1)
    assert KEY not in str(caught.value)
    monkeypatch.delenv(KEY_NAME)
    with pytest.raises(ConfigError, match=f"{KEY_NAME} is not set"):
        run(tmp_path, [teacher("http://127.0.0.1:9/v1")], 1)
    with pytest.raises(ConfigError, match="needs a key"):
        run(tmp_path, [teacher("x", base_url=None, api_key_env=None)], 1)


def test_a_local_endpoint_needs_no_key_and_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-place")
    with FaultServer() as server:
        run(tmp_path, [teacher(server.url, api_key_env=None)], 2)
        assert {headers["authorization"] for headers in server.headers} == {"Bearer none"}


@pytest.mark.parametrize("limit", [{"budget_usd": 0.002}, {"budget_tokens": 1200}])
def test_the_budget_overspends_by_the_requests_in_flight_at_most(tmp_path: Path, limit: dict[str, float]):
    price = Price(input=0, output=10)  # ten completion tokens: $0.0001 a reply, 20 replies
    with FaultServer(latency=0.02) as server:
        asked = teacher(server.url, concurrency=8, price=price)
        with pytest.raises(BudgetError, match="raise the budget"):
            run(tmp_path, [asked], 25, **limit)
        spent = sum(server.replied.values())
        per_reply = 0.0001 if "budget_usd" in limit else server_tokens(tmp_path)
        enough = next(iter(limit.values())) / per_reply
        assert enough <= spent <= enough + 8
        with pytest.raises(BudgetError):  # what was paid counts: nothing more is bought
            run(tmp_path, [asked], 25, **limit)
        assert sum(server.replied.values()) == spent
        done = run(tmp_path, [asked], 25)
        assert done.cached == spent
        assert max(server.replied.values()) == 1


@pytest.mark.parametrize("kind", ["empty", "filtered"])
def test_the_budget_counts_what_was_charged_for_replies_that_hold_nothing(tmp_path: Path, kind: str):
    with FaultServer(fault=lambda body, sight: kind) as server:
        asked = teacher(server.url, concurrency=1, price=Price(input=0, output=10), max_attempts=3)
        with pytest.raises(
            BudgetError, match=r"\$0\.00\d+ of budget_usd 0\.001 are spent;( 10 replies .* just now .*:)? raise"
        ):
            run(tmp_path, [asked], 20, budget_usd=0.001)
        assert 10 <= sum(server.seen.values()) <= 12, "ten at $0.0001, and the request in flight"


def test_half_a_character_does_not_end_the_run(tmp_path: Path):
    with FaultServer(text=lambda body: "cut \ud83d here. The answer is 1.") as server:
        assert run(tmp_path, [teacher(server.url)], 1).paths == 4
    assert {path.text for path in rows(tmp_path)[0]} == {"cut ? here. The answer is 1."}


def server_tokens(folder: Path) -> float:
    with ReplyCache(folder / "replies.sqlite") as cache:
        stats = cache.stats()
    [model] = stats["models"]
    return (model["prompt_tokens"] + model["completion_tokens"]) / stats["replies"]


def test_a_truncated_reply_is_asked_for_once_more_with_more_tokens(tmp_path: Path):
    with FaultServer(fault=lambda body, sight: "length") as server:  # cuts below 2,000 tokens
        run(tmp_path / "kept", [teacher(server.url)], 3)
        assert {path.finish_reason for path in rows(tmp_path / "kept")[0]} == {"length"}
        spending = run(
            tmp_path / "longer",
            [teacher(server.url, retry_truncated=4000)],
            3,
            cache=tmp_path / "kept/replies.sqlite",
        )
        paths, _ = rows(tmp_path / "longer")
        assert {path.finish_reason for path in paths} == {"stop"}
        assert max(server.replied.values()) == 1, "the cut replies came from the cache"
        assert spending.usd == pytest.approx(sum(path.cost for path in paths))
        assert all(path.completion_tokens == 20 for path in paths), "both replies were paid for"


def test_two_teachers_are_filled_side_by_side_within_their_own_limits(tmp_path: Path):
    with FaultServer(latency=0.1) as fast, FaultServer(latency=0.4) as slow:
        begun = time.monotonic()
        spending = run(
            tmp_path,
            [teacher(slow.url, name="slow", concurrency=2), teacher(fast.url, name="fast", concurrency=8)],
            4,
        )
        seconds = time.monotonic() - begun
        assert slow.most_in_flight == 2
        assert 2 < fast.most_in_flight <= 8
        assert fast.times[-1] < slow.times[-1], "the slow one did not hold the fast one up"
        assert seconds > 16 * 0.4 / 2
    assert {name: one.paths for name, one in spending.teachers.items()} == {"slow": 16, "fast": 16}
    assert [path.teacher for path in rows(tmp_path)[0][:8]] == ["slow"] * 4 + ["fast"] * 4


def test_requests_per_minute_are_kept(tmp_path: Path):
    with FaultServer() as server:
        begun = time.monotonic()
        run(tmp_path, [teacher(server.url, requests_per_minute=1200)], 15)
        # 60 requests at 20 a second, of which a second's worth may pass at once
        assert server.times[-1] - begun > 60 / 20 - 1


def interrupt_at(requests: dict[int, float]) -> Callable[[object, int], None]:
    """Ctrl-C, so many seconds after the n-th request arrived."""
    arrived = itertools.count(1)

    def fault(body: object, sight: int) -> None:
        number = next(arrived)
        if number in requests:
            threading.Timer(requests[number], lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    return fault


def test_ctrl_c_finishes_what_is_in_flight_and_resumes(tmp_path: Path):
    before = signal.getsignal(signal.SIGINT)
    with FaultServer(latency=0.1, fault=interrupt_at({20: 0.0})) as server:
        with pytest.raises(Interrupted, match="run the same command again"):
            run(tmp_path, [teacher(server.url, concurrency=8)], 25)
        asked = sum(server.seen.values())
        assert 0 < asked < 100
        with ReplyCache(tmp_path / "replies.sqlite") as cache:
            assert cache.stats()["replies"] == asked, "every reply in flight was kept"
        assert not (tmp_path / "paths.parquet").exists()
        assert signal.getsignal(signal.SIGINT) is before
        run(tmp_path, [teacher(server.url)], 25)
        assert set(server.seen.values()) == {1}


def test_a_second_ctrl_c_stops_now(tmp_path: Path):
    with FaultServer(latency=60, fault=interrupt_at({1: 0.0, 2: 1.5})) as server:
        begun = time.monotonic()
        with pytest.raises(Interrupted):
            run(tmp_path, [teacher(server.url, timeout=100)], 5)
        assert time.monotonic() - begun < 40, "it did not wait for the replies"


def test_it_works_beside_a_running_loop(tmp_path: Path):
    import asyncio

    async def notebook_cell() -> int:
        return run(tmp_path, [teacher(server.url)], 3).paths

    with FaultServer() as server:
        assert asyncio.run(notebook_cell()) == 12


def test_extra_body_adds_and_removes_fields(tmp_path: Path):
    extra = {"max_tokens": None, "max_completion_tokens": 77, "reasoning_effort": "low"}
    with FaultServer() as server:
        run(tmp_path, [teacher(server.url, extra_body=extra, system="Be brief.", top_p=0.9)], 1, per_style=1)
        body = server.bodies[0]
    assert body["max_completion_tokens"] == 77
    assert body["reasoning_effort"] == "low"
    assert body["top_p"] == 0.9
    assert "max_tokens" not in body
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_tokens_per_minute_are_kept_once_replies_tell_how_long_they_are(tmp_path: Path):
    with FaultServer(latency=0.02) as server:
        # 30 tokens or so a request where 1,000 are allowed: 60 requests are about 1,900 tokens
        begun = time.monotonic()
        run(tmp_path, [teacher(server.url, tokens_per_minute=60_000, concurrency=4)], 15)
        seconds = server.times[-1] - begun
    assert seconds > 1900 / 1000 - 1 - 0.2, "a thousand tokens a second, of which one second's may pass at once"
    assert seconds < 40, "reserving max_tokens for every request would take a minute"


def test_a_full_disk_ends_the_run_with_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened = ReplyCache.__enter__

    def small(cache: ReplyCache) -> ReplyCache:
        opened(cache)
        cache._writer.execute("PRAGMA max_page_count=30")  # what a full disk looks like to SQLite
        return cache

    monkeypatch.setattr(ReplyCache, "__enter__", small)
    with (
        FaultServer(text=lambda body: digest(body) * 100) as server,
        pytest.raises(BoundaryError, match="free some space"),
    ):
        run(tmp_path, [teacher(server.url)], 100)
    assert not (tmp_path / "paths.parquet").exists()
    monkeypatch.undo()
    monkeypatch.setenv(KEY_NAME, KEY)
    with ReplyCache(tmp_path / "replies.sqlite") as cache:
        assert cache.claim(["x"]) == {"x"}, "it still works"


def test_a_key_is_redacted_whatever_its_variable_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(KEY_NAME)
    monkeypatch.setenv("GEMINI", KEY)
    with FaultServer(rate=0.5, kinds=("refuse", "many")) as server:
        run(tmp_path, [teacher(server.url, api_key_env="GEMINI")], 5)
    assert "<GEMINI>" in rows(tmp_path)[1][0].reason
    no_key_in(tmp_path)


def test_the_live_table_has_a_row_per_teacher_and_style(tmp_path: Path):
    boards: list[Board] = []

    class Table(Silent):
        def advance(self, steps: int = 1, **facts: object) -> None:
            if isinstance(facts.get("teachers"), Board):
                boards.append(facts["teachers"])

    with FaultServer(rate=0.4, kinds=("refuse",)) as server:
        run(tmp_path, [teacher(server.url)], 10, progress=Table())
    rows = boards[-1].rows()
    assert [(row.teacher, row.label) for row in rows] == [("faulty", "facts"), ("faulty", "vanilla")]
    assert sum(row.counts.bought for row in rows) == 40 - sum(row.counts.failed for row in rows) < 40
    assert all(row.tokens_per_second > 0 and row.counts.usd > 0 and row.eta == 0 for row in rows)
    assert "failed" in str(boards[-1])
