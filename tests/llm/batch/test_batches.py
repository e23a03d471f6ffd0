"""Batches against a server of our own: kills between every two calls, expiry, partial failure, results in any order."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import batch_runner
import pytest
from batch_server import BatchServer
from command import call
from generation_runner import KEY, KEY_NAME, no_key_in, run, teacher

from qrdistill.base.errors import BudgetError, Interrupted, TeacherError
from qrdistill.base.progress import Silent
from qrdistill.base.records import Failure, Question, ReasoningPath
from qrdistill.base.store import read_table
from qrdistill.commands.cache import prune
from qrdistill.commands.show import show
from qrdistill.llm.batch import batches
from qrdistill.llm.config import OpenAITeacher, Price
from qrdistill.llm.live_counts import Budget
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.judges.judge import Item, seat_judges


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)
    for name in ("FIRST_POLL", "LONGEST_POLL", "IDLE"):
        monkeypatch.setattr(batches, name, 0.05)


class Told(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.facts: list[str] = []

    def log(self, message: str) -> None:
        self.said.append(message)

    def advance(self, steps: int = 1, **facts: object) -> None:
        self.facts.append(str(facts.get("batches", "")))


def asked(server: BatchServer, **changes: Any) -> OpenAITeacher:
    return teacher(server.url, **({"batch": True, "batch_requests": 20} | changes))


def paths(folder: Path) -> list[ReasoningPath]:
    return list(read_table(folder / "paths.parquet", ReasoningPath))


def failures(folder: Path) -> list[Failure]:
    return list(read_table(folder / "failures.parquet", Failure))


def test_requests_go_out_in_files_of_bounded_size_at_half_the_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    progress = Told()
    with BatchServer() as server:
        spending = run(tmp_path / "run", [asked(server)], 12, cache=tmp_path / "replies.sqlite", progress=progress)
        sizes = [one["request_counts"]["total"] for one in server.batches.values()]
        plain = run(tmp_path / "plain", [teacher(server.url)], 12)
        assert server.keys == {f"Bearer {KEY}"}
    assert sum(sizes) == 48
    assert max(sizes) <= 20
    assert len(sizes) == 3
    assert spending.usd == pytest.approx(plain.usd / 2)
    same = {"cost": 0.0}
    assert [p.model_copy(update=same) for p in paths(tmp_path / "run")] == [
        p.model_copy(update=same) for p in paths(tmp_path / "plain")
    ]
    assert any("batch-0 in_progress" in fact or "batch-0 validating" in fact for fact in progress.facts)
    assert any("completed after" in said and "20 of 20 answered" in said for said in progress.said)
    again = run(tmp_path / "run", [asked(server)], 12, cache=tmp_path / "replies.sqlite")
    assert again.cached == 48, "the cache tells no difference between a batch's reply and another"
    show(tmp_path / "run", "batches", [])
    assert "batch-2" in (shown := capsys.readouterr().out)
    assert "completed" in shown
    no_key_in(tmp_path)


def passing(kinds: dict[int, str]) -> Callable[[dict[str, Any], int], str | None]:
    """Some requests meet a fault on their first sight."""

    def fault(body: dict[str, Any], sight: int) -> str | None:
        number = sum(json.dumps(body).encode()) % 7
        return kinds.get(number) if sight == 1 else None

    return fault


FAULTS = {0: "expired", 1: "error", 2: "lost", 3: "charged"}


def test_only_what_failed_or_expired_is_submitted_again(tmp_path: Path):
    with BatchServer(fault=passing(FAULTS)) as server:
        spending = run(tmp_path, [asked(server, price=Price(input=0, output=10), batch_discount=0.25)], 20)
        again = {key for key, times in server.seen.items() if times > 1}
        assert again
        assert set(server.seen.values()) == {1, 2}
        assert set(server.answered.values()) == {1}, "nothing that was answered was sent again"
        assert "expired" in {one["status"] for one in server.batches.values()}
    assert not failures(tmp_path)
    assert len(paths(tmp_path)) == 80 == len(server.answered)
    assert spending.usd == pytest.approx(80 * 0.000075)
    with ReplyCache(tmp_path / "replies.sqlite") as cache:
        assert cache.stats()["wasted_usd"] > 0, "what was charged for nothing is remembered"


def test_what_cannot_be_answered_is_a_failure_with_its_reason(tmp_path: Path):
    def fault(body: dict[str, Any], sight: int) -> str | None:
        number = sum(json.dumps(body).encode()) % 7
        return "refused" if number == 0 else "error" if number == 1 else None

    with BatchServer(fault=fault) as server:
        run(tmp_path, [asked(server, max_attempts=2)], 20)
    found = {(row.status, row.attempts) for row in failures(tmp_path)}
    assert found == {(400, 1), (500, 2)}
    assert len(paths(tmp_path)) + len(failures(tmp_path)) == 80


def test_a_field_that_the_model_does_not_take_is_left_out_of_the_next_batch(tmp_path: Path):
    progress = Told()
    with BatchServer(fault=lambda body, sight: "renamed" if "max_tokens" in body else None) as server:
        run(tmp_path, [asked(server)], 2, progress=progress)
        assert len(server.batches) == 2
    assert len(paths(tmp_path)) == 8
    assert any("does not take max_tokens" in said for said in progress.said)


class Killer:
    """Kills the client's process once at each of these places."""

    def __init__(self, folder: Path, places: set[str]) -> None:
        self.folder, self.places = folder, places

    def __call__(self, place: str) -> None:
        if place in self.places:
            self.places.remove(place)
            pid = int((self.folder / "pid").read_text())
            os.kill(pid, signal.SIGKILL)
            while (self.folder / "pid").read_text() == str(pid):  # until it is gone, and the next one is there
                time.sleep(0.005)


CALLS = ["POST /files", "POST /batches", "GET /batches", "GET /batches/ID", "GET /files/ID/content"]
PLACES = [f"{when} {call}" for call in CALLS for when in ("before", "after")]


@pytest.mark.parametrize(
    ("forgets_metadata", "places"),
    [(False, PLACES), (True, ["after POST /batches"])],  # there a batch is known by its metadata, or by what is in it
)
def test_a_kill_between_every_two_calls_buys_nothing_twice(tmp_path: Path, forgets_metadata: bool, places: list[str]):
    killer = Killer(tmp_path, set(places))
    with BatchServer(fault=passing(FAULTS), kill=killer, forgets_metadata=forgets_metadata) as server:
        done = call(tmp_path, server.url, 8, main=batch_runner.main, **{KEY_NAME: KEY})
        assert done.returncode == 0, done.stderr
        assert (done.stdout.strip(), killer.places) == (f"killed {len(places)}", set())
        assert set(server.answered.values()) == {1}, "a reply was bought twice"
        assert max(server.seen.values()) <= 2
    with BatchServer() as calm:
        run(tmp_path / "calm", [asked(calm)], 8)
    assert paths(tmp_path / "run") == paths(tmp_path / "calm")
    with ReplyCache(tmp_path / "replies.sqlite") as cache:
        assert all(row.ended for row in cache.batches())


def test_ctrl_c_leaves_batches_at_the_server_and_the_same_command_goes_on(tmp_path: Path):
    progress = Told()

    def interrupt(place: str) -> None:
        if place == "after GET /batches/ID" and not progress.said.count("sent"):
            progress.said.append("sent")
            threading.Timer(0.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    with BatchServer(polls=10, kill=interrupt) as server:
        with pytest.raises(Interrupted):
            run(tmp_path, [asked(server)], 5, progress=progress)
        assert any("stay open; the same command goes on" in said for said in progress.said)
        # another process may not ask what is in an open batch, with or without batches of its own
        with ReplyCache(tmp_path / "replies.sqlite") as cache:
            [row] = cache.batches(opened=True)
            assert cache.claim(list(server.seen)) == set()
            assert row.batch_id == "batch-0"
        run(tmp_path, [teacher(server.url)], 5, progress=progress)
        assert len(server.batches) == 1
        assert "POST /chat/completions" not in server.calls
    assert len(paths(tmp_path)) == 20
    assert any("found batch-0" in said for said in progress.said)


def test_the_most_that_a_batch_can_cost_is_reserved_before_it_is_sent(tmp_path: Path):
    """A reply costs $0.00005 of at most $0.0005; with $0.001 two at a time can be risked."""
    with BatchServer() as server:
        teachers = [asked(server, price=Price(input=0, output=10), max_tokens=100)]
        with pytest.raises(BudgetError, match=r"can cost up to \$0\.0005, more than is left"):
            run(tmp_path, teachers, 8, budget_usd=0.001)
        sizes = [one["request_counts"]["total"] for one in server.batches.values()]
        assert sizes[0] == 2
        assert max(sizes) <= 2
        spent = 0.00005 * sum(server.answered.values())
        assert 0.0005 <= spent <= 0.001
        run(tmp_path, teachers, 8)
        assert set(server.seen.values()) == {1}


def test_a_server_without_batches_is_said(tmp_path: Path):
    for refuse in ({"POST /files": 404}, {"POST /batches": 405}):
        with (
            BatchServer(refuse=refuse) as server,
            pytest.raises(TeacherError, match=r"has no batch API \(HTTP 40[45] at /(files|batches)\)"),
        ):
            run(tmp_path / str(len(refuse)), [asked(server)], 2)


@pytest.mark.parametrize(
    "url", ["https://api.anthropic.com/v1", "https://generativelanguage.googleapis.com/v1beta/openai"]
)
def test_a_provider_whose_endpoint_is_known_to_lack_them_is_said_before_anything(url: str):
    with pytest.raises(ValueError, match="has no batch API that this client speaks"):
        teacher(url, batch=True)
    with pytest.raises(ValueError, match="goes to one address"):
        teacher("http://a/v1", base_urls=["http://b/v1"], batch=True)


def test_a_batch_that_is_refused_as_a_whole_stops_with_the_servers_words(tmp_path: Path):
    with (
        BatchServer(failed=lambda number: "invalid_model") as server,
        pytest.raises(TeacherError, match="failed: invalid_model not like this"),
    ):
        run(tmp_path, [asked(server)], 2)
    with ReplyCache(tmp_path / "replies.sqlite") as cache:
        assert not cache.batches(opened=True)


def test_too_much_in_the_providers_queue_is_sent_in_smaller_files(tmp_path: Path):
    with BatchServer(failed=lambda number: "token_limit_exceeded" if number == 0 else None) as server:
        run(tmp_path, [asked(server)], 5)
        sizes = [one["request_counts"]["total"] for one in server.batches.values()]
    assert sizes[0] == 20
    assert sizes[1:] == [10, 10]
    assert len(paths(tmp_path)) == 20


def test_a_batch_that_the_server_has_forgotten_can_be_given_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with BatchServer(refuse={"GET /batches/ID": 404}) as server:
        with pytest.raises(TeacherError, match="HTTP 404.*prune --batches"):
            run(tmp_path, [asked(server)], 2)
        prune(tmp_path / "replies.sqlite", model=None, older_than=None, truncated=False, batches=True)
        assert "1 open batches given up" in capsys.readouterr().out
        server.refuse.clear()
        run(tmp_path, [asked(server)], 2)
    assert len(paths(tmp_path)) == 8


def test_a_judge_is_asked_in_batches_all_but_its_first_question(tmp_path: Path):
    verdict = {"reason": "read", "first_wrong_step": None, "verdict": "sound", "confidence": 0.9}
    question = Question(id="q", split="train", task="jsonl", family="f", kind="number", question="2 + 2?", gold="4")
    with (
        BatchServer(text=lambda body: json.dumps(verdict)) as server,
        ReplyCache(tmp_path / "replies.sqlite") as cache,
    ):
        config = FilterConfig(judges=[asked(server, name="reader")])
        around = {"cache": cache, "base_dir": tmp_path, "progress": Silent(), "budget": Budget()}
        [seat], _ = seat_judges(config, [], seed=0, **around)
        found = seat.judge.judge_many([Item(question, f"{n}. The answer is 4.") for n in range(30)])
        sizes = [one["request_counts"]["total"] for one in server.batches.values()]
        assert server.calls.count("POST /chat/completions") == 1
    assert {judgement.outcome for judgement in found} == {"keep"}
    assert sizes == [20, 9]


def test_a_batch_and_a_plain_teacher_share_one_budget(tmp_path: Path):
    """The batch reserves all that is left; the other one waits for what it leaves over."""
    price = Price(input=0, output=10)
    with BatchServer() as server, BatchServer() as plain:
        teachers = [
            asked(server, name="cheap", price=price, max_tokens=100),
            teacher(plain.url, name="plain", price=price, max_tokens=100, concurrency=1),
        ]
        run(tmp_path, teachers, 2, budget_usd=0.004)
    assert len(paths(tmp_path)) == 16
