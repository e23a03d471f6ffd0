"""Generation against servers with minds of their own: thoughts, finish reasons and counts as providers send them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer
from generation_runner import KEY, KEY_NAME, run, teacher

from qrdistill.base.errors import BudgetError, TeacherError
from qrdistill.base.progress import Silent
from qrdistill.base.records import Failure, ReasoningPath
from qrdistill.base.store import read_table
from qrdistill.llm.config import Price
from qrdistill.llm.reply_cache import ReplyCache

ANSWER = "So it is 7. The answer is 7."


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)


def body(message: Any, finish: Any = "stop", **usage: Any) -> dict[str, Any]:
    counted = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15} | usage
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": counted}


def says(text: str | None = ANSWER, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    return body({"role": "assistant", "content": text, **more}, finish)


def asked(
    folder: Path, reply: Any, *, status: int = 200, number: int = 1, progress: Silent | None = None, **changes: Any
) -> tuple[list[ReasoningPath], list[Failure], int]:
    """Paths, failures, and how often the server was asked; all in one style, one sample each."""
    answer: Any = reply if callable(reply) else lambda request: (status, reply)
    with FaultServer(quirk=answer) as server:
        quirky = teacher(server.url, **({"max_attempts": 2, "concurrency": 1} | changes))
        cache = folder.parent / "replies.sqlite"
        run(folder, [quirky], number, cache=cache, styles=("vanilla",), per_style=1, progress=progress)
        sent = len(server.bodies)
    paths = list(read_table(folder / "paths.parquet", ReasoningPath))
    return paths, list(read_table(folder / "failures.parquet", Failure)), sent


@pytest.mark.parametrize(
    "message",
    [
        {"content": ANSWER, "reasoning_content": "3 + 4\n"},
        {"content": ANSWER, "reasoning": "3 + 4", "reasoning_details": [{"type": "reasoning.text", "text": "3 + 4"}]},
        {"content": ANSWER, "reasoning_details": [{"type": "reasoning.summary", "summary": "3 + 4"}]},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "3 + 4"}]},
                {"type": "text", "text": ANSWER},
            ]
        },
        {"content": f"<think>\n3 + 4\n</think>\n\n{ANSWER}"},
        {"content": f"[THINK]3 + 4[/THINK]{ANSWER}"},
        {"content": f"3 + 4\n</think>\n\n{ANSWER}"},
    ],
)
def test_a_thought_is_kept_apart_and_trains_as_the_config_says(tmp_path: Path, message: dict[str, Any]):
    [path], failures, _ = asked(tmp_path / "a", body(message), thinking="keep")
    assert not failures
    assert (path.thought, path.text, path.answer) == ("3 + 4", ANSWER, "7")
    assert path.lesson == f"<think>\n3 + 4\n</think>\n\n{ANSWER}"
    assert path.model_copy(update={"thinking": "drop"}).lesson == ANSWER
    assert path.model_copy(update={"thinking": "only"}).lesson == "3 + 4"


@pytest.mark.parametrize(
    "reply",
    [
        says(None, reasoning_content="3 + 4, so the answer is 7."),
        says("", finish="length", reasoning="3 + 4, so the answer is 7."),
        says("<think>3 + 4, so the answer is 7."),
        says("", reasoning_details=[{"type": "reasoning.encrypted", "data": "x"}]),
        body({"content": ""}, completion_tokens_details={"reasoning_tokens": 5}),
    ],
)
def test_a_thought_without_an_answer_is_paid_once_and_is_a_path_without_one(tmp_path: Path, reply: dict[str, Any]):
    progress = Silent()
    [path], failures, sent = asked(tmp_path / "a", reply, progress=progress)
    assert (path.text, path.answer, sent, failures) == ("", None, 1, [])
    assert path.cost > 0
    assert any("1 replies of faulty hold a thought at most, and no answer" in text for text in progress.warnings)
    [again], _, sent = asked(tmp_path / "b", reply, temperature=0.8)
    assert (again.thought, again.text) == (path.thought, "")


def test_one_cache_serves_every_way_to_train(tmp_path: Path):
    with FaultServer(quirk=lambda request: (200, says(reasoning="3 + 4"))) as server:
        cache = tmp_path / "replies.sqlite"
        lessons = set()
        for thinking in ("drop", "keep", "only"):
            run(tmp_path / thinking, [teacher(server.url, thinking=thinking)], 2, cache=cache)
            lessons |= {path.lesson for path in read_table(tmp_path / thinking / "paths.parquet", ReasoningPath)}
        assert len(lessons) == 3
        assert set(server.seen.values()) == {1}


@pytest.mark.parametrize(
    "reply",
    [
        says(None, finish="content_filter"),
        says("It is", finish="SAFETY"),
        says(None, refusal="I can't help with that."),
        says(None, finish="tool_calls", tool_calls=[{"id": "x", "function": {"name": "f", "arguments": "{}"}}]),
        {"choices": [], "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}},
    ],
)
def test_a_withheld_reply_is_asked_for_once_in_all_runs(tmp_path: Path, reply: dict[str, Any]):
    progress = Silent()
    with FaultServer(quirk=lambda request: (200, reply)) as server:
        cache = tmp_path / "replies.sqlite"
        for folder in ("a", "b"):
            run(
                tmp_path / folder,
                [teacher(server.url)],
                1,
                cache=cache,
                styles=("vanilla",),
                per_style=1,
                progress=progress,
            )
        assert len(server.bodies) == 1
    [path] = read_table(tmp_path / "b/paths.parquet", ReasoningPath)
    assert path.finish_reason not in ("stop", "length")
    assert any("1 replies of faulty were withheld or refused" in text for text in progress.warnings)


def test_a_prompt_that_is_blocked_with_an_error_is_asked_once_too(tmp_path: Path):
    blocked = {"error": {"code": "content_filter", "message": "The prompt triggered the content management policy"}}
    with FaultServer(quirk=lambda request: (400, blocked)) as server:
        for folder in ("a", "b"):
            run(
                tmp_path / folder,
                [teacher(server.url)],
                2,
                cache=tmp_path / "c.sqlite",
                styles=("vanilla",),
                per_style=1,
            )
        assert len(server.bodies) == 2
    assert {path.finish_reason for path in read_table(tmp_path / "b/paths.parquet", ReasoningPath)} == {
        "content_filter"
    }


@pytest.mark.parametrize(
    ("finish", "kept"),
    [("MAX_TOKENS", "length"), ("model_length", "length"), ("end_turn", "stop"), ("odd", "odd"), (None, "none")],
)
def test_every_end_goes_through_one_table(tmp_path: Path, finish: str | None, kept: str):
    progress = Silent()
    [path], _, sent = asked(tmp_path / "a", says(finish=finish), progress=progress)
    assert (path.finish_reason, sent) == (kept, 1)
    flagged = [text for text in progress.warnings if "ended for a reason that is not known" in text]
    assert len(flagged) == (kept in ("odd", "none"))


@pytest.mark.parametrize(
    "reply",
    [
        says("The answer is", finish="network_error"),
        says("The answer is", finish="insufficient_system_resource"),
        {"choices": [{"error": {"code": 502, "message": "upstream"}, "message": {"content": "The answer"}}]},
        {"error": {"code": 503, "message": "upstream"}},
        {"choices": [], "error": {"code": 503, "message": "upstream"}},
        {"choices": None},
    ],
)
def test_a_reply_that_broke_off_on_the_servers_side_is_asked_for_again(tmp_path: Path, reply: dict[str, Any]):
    answers = iter([reply])
    [path], failures, sent = asked(tmp_path / "a", lambda request: (200, next(answers, says())))
    assert (path.text, failures, sent) == (ANSWER, [], 2)


def test_an_error_in_a_choice_that_cannot_pass_is_a_failure_with_its_words(tmp_path: Path):
    wrong = {"choices": [{"error": {"code": 400, "message": "no such field"}, "finish_reason": "error"}]}
    paths, [failure], sent = asked(tmp_path / "a", wrong)
    assert (paths, sent, failure.status) == ([], 1, 400)
    assert "no such field" in failure.reason


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 21, "completion_tokens": 4, "total_tokens": 81}, (21, 60)),
        ({"prompt_tokens": "21", "completion_tokens": "60"}, (21, 60)),
        (
            {"prompt_tokens": 21, "completion_tokens": 0, "completion_tokens_details": {"reasoning_tokens": 60}},
            (21, 60),
        ),
        (
            {"prompt_tokens": 21, "completion_tokens": 60, "completion_tokens_details": {"reasoning_tokens": 50}},
            (21, 60),
        ),
        ({"prompt_tokens": 21.0, "completion_tokens": 10, "reasoning_tokens": 50}, (21, 60)),
        ({"completion_tokens": 60, "total_tokens": 81}, (21, 60)),
    ],
)
def test_tokens_of_thought_are_billed_however_they_are_counted(tmp_path: Path, usage: dict[str, Any], tokens: object):
    reply = {**says(), "usage": usage}
    [path], _, _ = asked(tmp_path / "a", reply, price=Price(input=1, output=10))
    assert (path.prompt_tokens, path.completion_tokens) == tokens
    assert path.cost == pytest.approx((21 + 600) / 1e6)


def test_the_budget_stops_at_what_was_thought(tmp_path: Path):
    reply = body({"content": ANSWER}, prompt_tokens=0, completion_tokens=5, total_tokens=85)
    with FaultServer(quirk=lambda request: (200, reply)) as server:
        with pytest.raises(BudgetError):
            run(tmp_path, [teacher(server.url, concurrency=1)], 20, budget_tokens=800)
        assert 10 <= len(server.bodies) <= 11


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_more_tokens_buy_only_what_was_cut_again(tmp_path: Path, field: str):
    with FaultServer(
        quirk=lambda request: (
            200,
            says(finish="length" if "0 + 1" in str(request) and request[field] < 900 else "stop"),
        )
    ) as server:
        for limit in (500, 1000, 2000):
            limits = (
                {"max_tokens": limit} if field == "max_tokens" else {"extra_body": {field: limit, "max_tokens": None}}
            )
            run(tmp_path / str(limit), [teacher(server.url, **limits)], 3, cache=tmp_path / "c.sqlite")
        assert [request[field] for request in server.bodies].count(500) == 12
        assert [request[field] for request in server.bodies].count(1000) == 4, "those of the first question"
        assert len(server.bodies) == 16
    paths = list(read_table(tmp_path / "2000/paths.parquet", ReasoningPath))
    assert len(paths) == 12
    assert {path.finish_reason for path in paths} == {"stop"}


def test_a_cache_of_the_format_before_is_read_anew(tmp_path: Path):
    """What it holds as complete and without a thought is found in the bodies that it kept."""
    import sqlite3
    from contextlib import closing

    file = tmp_path / "replies.sqlite"
    bodies = [says(reasoning="3 + 4"), says(finish="MAX_TOKENS"), says()]
    with FaultServer(
        quirk=lambda request: (200, bodies[int(str(request["messages"]).partition("is ")[2][0])])
    ) as server:
        old = teacher(server.url, max_tokens=500)
        run(tmp_path / "a", [old], 3, cache=file, styles=("vanilla",), per_style=1)
        with closing(sqlite3.connect(file)) as cache, cache:
            from qrdistill.llm.cache_file import COLUMNS, checksum

            cache.create_function("checksum_of", -1, checksum)
            cache.execute("UPDATE replies SET finish_reason = 'stop'")
            cache.execute("ALTER TABLE replies DROP COLUMN thought")
            cache.execute("ALTER TABLE unreadable DROP COLUMN thought")
            cache.execute("DROP TABLE limits")
            cache.execute(f"UPDATE replies SET checksum = checksum_of({COLUMNS.removesuffix(', thought')})")
            cache.execute("PRAGMA user_version=2")
        longer = old.model_copy(update={"max_tokens": 1000, "thinking": "keep"})
        run(tmp_path / "b", [longer], 3, cache=file, styles=("vanilla",), per_style=1)
        assert len(server.bodies) == 4, "only the one that was cut is bought again"
    with ReplyCache(file) as cache:
        assert cache.put_aside == 0
    paths = list(read_table(tmp_path / "b/paths.parquet", ReasoningPath))
    assert [path.thought for path in paths] == ["3 + 4", "", ""]
    assert [path.finish_reason for path in paths] == ["stop", "length", "stop"]


class Listening(Silent):
    """Remembers what was said in lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)


def test_fields_that_a_model_does_not_take_are_mended_once_and_remembered(tmp_path: Path):
    def modern(request: dict[str, Any]) -> tuple[int, Any]:
        for field, words in (
            ("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
            ("temperature", "Unsupported value: 'temperature' does not support 0.8. Only the default (1) value."),
            ("seed", "Unrecognized request argument supplied: seed"),
        ):
            if field in request:
                return 400, {"error": {"message": words, "param": field}}
        return 200, says()

    progress = Listening()
    with FaultServer(quirk=modern) as server:
        for folder in ("a", "b"):
            asked = teacher(server.url, concurrency=1, max_attempts=1, max_tokens=77)
            run(tmp_path / folder, [asked], 3, progress=progress)
        assert len(server.bodies) == 3 + 12 + 12, "three refusals in all"
        assert server.bodies[-1]["max_completion_tokens"] == 77
        assert not {"max_tokens", "temperature", "seed"} & server.bodies[-1].keys()
    assert len(list(read_table(tmp_path / "b/paths.parquet", ReasoningPath))) == 12
    with ReplyCache(tmp_path / "b/replies.sqlite") as cache:
        cache.export(tmp_path / "b.jsonl")
    requests = [json.loads(line)["request"] for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert all("temperature" not in one and one["max_completion_tokens"] == 77 for one in requests), "as it was sent"
    said = [line for line in progress.lines if "does not take" in line]
    assert len(said) == 3
    assert "tiny does not take max_tokens: max_completion_tokens is sent instead" in said[0]


def test_a_mend_that_many_requests_find_out_at_once_is_said_once(tmp_path: Path):
    progress = Listening()

    def strict(request: dict[str, Any]) -> tuple[int, Any]:
        return (
            (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]})
            if ("seed" in request)
            else (200, says())
        )

    with FaultServer(quirk=strict) as server:
        assert run(tmp_path, [teacher(server.url)], 20, progress=progress).failures == 0
    assert sum("does not take seed" in line for line in progress.lines) == 1


def test_a_400_to_everything_stops_after_a_few_with_the_servers_words(tmp_path: Path):
    no = {"error": {"message": "Set reasoning_effort to one of low, high"}}
    with FaultServer(quirk=lambda request: (400, no)) as server:
        with pytest.raises(
            TeacherError, match=r"refuses every request \(HTTP 400: Set reasoning_effort to one of"
        ) as caught:
            run(tmp_path, [teacher(server.url, concurrency=2)], 50)
        assert 5 <= len(server.bodies) <= 5 + 4  # and what was in flight, or about to be: twice the concurrency
    assert "extra_body" in str(caught.value)


def test_400s_beside_replies_of_earlier_runs_are_failures_and_no_reason_to_stop(tmp_path: Path):
    no = {"error": {"message": "no"}}
    with FaultServer(quirk=lambda request: (200, says()) if request["seed"] == 0 else (400, no)) as server:
        asked = teacher(server.url, concurrency=1)
        assert run(tmp_path, [asked], 10).failures == 20
        assert run(tmp_path, [asked], 10).failures == 20
        assert len(server.bodies) == 40 + 20


def quota(name: str, delay: str) -> list[dict[str, Any]]:
    details = [{"violations": [{"quotaId": name}]}, {"retryDelay": delay}]
    return [{"error": {"code": 429, "message": "You exceeded your current quota", "details": details}}]


def test_a_daily_quota_stops_with_one_line(tmp_path: Path):
    with FaultServer(quirk=lambda request: (429, quota("RequestsPerDayPerProject", "30s"))) as server:
        with pytest.raises(TeacherError, match="has used up a quota that is renewed once a day") as caught:
            run(tmp_path, [teacher(server.url, concurrency=4)], 50)
        assert len(server.bodies) <= 8
    assert "\n" not in str(caught.value)


def test_a_wait_that_stands_in_the_body_is_kept_and_a_long_one_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("qrdistill.llm.worker.LONG_WAIT", 0.2)
    progress = Listening()
    answers = iter([(429, quota("RequestsPerMinute", "0.4s"))])
    with FaultServer(quirk=lambda request: next(answers, (200, says()))) as server:
        run(tmp_path, [teacher(server.url, concurrency=1)], 2, progress=progress)
        assert server.times[1] - server.times[0] >= 0.4
    assert [line for line in progress.lines if "asks to wait" in line] == [
        line for line in progress.lines if line.startswith("teacher 'faulty' asks to wait 0 s (HTTP 429: You exceeded")
    ]
    assert sum("asks to wait" in line for line in progress.lines) == 1


def test_refusals_that_come_sooner_than_the_first_reply_are_no_reason_to_stop(tmp_path: Path):
    no = {"error": {"message": "no"}}
    picked = itertools.count()

    def few(request: dict[str, Any]) -> tuple[int, Any]:
        return (200, says()) if next(picked) % 12 == 0 else (400, no)

    late = {0: 0.4}  # the only reply of the first dozen
    with FaultServer(quirk=few, delay=lambda number: late.get(number, 0.0)) as server:
        spending = run(tmp_path, [teacher(server.url, concurrency=12)], 12)
    assert (spending.paths, spending.failures) == (4, 44)
