"""What a dry run says, before and after replies are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_server import FaultServer
from generation_runner import questions, run, teacher

from qrdistill.llm.client import estimate_tokens
from qrdistill.llm.config import OpenAITeacher, Price
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.paths.config import PathsConfig
from qrdistill.paths.estimate import PathsPlan, plan_paths


def plan(folder: Path, asked: OpenAITeacher, number: int, **changes: object) -> PathsPlan:
    config = PathsConfig.model_validate({"styles": ["vanilla", "facts"], "per_style": 2} | changes)
    with ReplyCache(folder / "replies.sqlite") as cache:
        return plan_paths(questions(number), [asked], config, cache=cache, base_dir=folder, seed=0)


def test_before_any_reply_output_is_bounded_by_max_tokens(tmp_path: Path):
    # neither key nor server is needed
    asked = teacher("http://127.0.0.1:9/v1", requests_per_minute=20, max_tokens=500, price=Price(input=1, output=2))
    found = plan(tmp_path, asked, 10)
    [one] = found.teachers
    assert (one.calls, one.cached, one.output_tokens) == (40, 0, 20_000)
    assert one.usd == one.usd_at_most == pytest.approx((one.prompt_tokens + 2 * 20_000) / 1e6)
    assert found.minutes == pytest.approx(2.0)
    assert "max_tokens" in one.output_basis
    assert "no reply yet" in one.prompt_basis
    assert not found.over_budget
    assert "budget_usd" in plan(tmp_path, asked, 10, budget_usd=0.01).over_budget
    assert "budget_tokens" in plan(tmp_path, asked, 10, budget_tokens=10).over_budget


def test_after_some_replies_they_are_the_measure(tmp_path: Path):
    with FaultServer() as server:
        asked = teacher(server.url, api_key_env=None)
        run(tmp_path, [asked], 3)
        [one] = plan(tmp_path, asked, 10).teachers
        run(tmp_path, [asked], 10)
        sent = sum(server.replied.values())
        with ReplyCache(tmp_path / "replies.sqlite") as cache:
            [model] = cache.stats()["models"]
        [done] = plan(tmp_path, asked, 10).teachers
    assert (one.calls, one.cached) == (28, 12)
    assert sent == 40
    assert one.output_tokens == 28 * 10
    in_all = model["prompt_tokens"]
    assert one.prompt_tokens == pytest.approx(in_all * 28 / 40, rel=0.05)
    assert (done.calls, done.usd, done.minutes) == (0, 0, 0.0)
    assert done.usd_cached == pytest.approx(model["usd"])
    # what was used counts, as it does when the run is stopped
    used = model["prompt_tokens"] + model["completion_tokens"]
    assert "budget_tokens" in plan(tmp_path, asked, 10, budget_tokens=used - 1).over_budget
    assert not plan(tmp_path, asked, 10, budget_tokens=used).over_budget


def test_replies_that_will_be_asked_for_again_are_planned(tmp_path: Path):
    price = Price(input=0, output=1)
    with FaultServer(fault=lambda body, sight: "length") as server:
        run(tmp_path, [teacher(server.url, api_key_env=None)], 1)
        again = teacher(server.url, api_key_env=None, retry_truncated=4000, price=price)
        [one] = plan(tmp_path, again, 2).teachers
        assert (one.calls, one.cached) == (8, 4)
        assert one.usd_at_most == pytest.approx(8 * (1000 + 4000) / 1e6)
        run(tmp_path, [again], 1)
        assert plan(tmp_path, again, 1).teachers[0].calls == 0


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("internationalisation", 4), ("3.14", 3), ("1234567", 3), ("日本語", 3)],
)
def test_pieces_are_counted(text: str, tokens: int):
    assert estimate_tokens(text) == tokens
