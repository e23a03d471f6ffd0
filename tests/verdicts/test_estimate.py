from __future__ import annotations

import pytest

from qrdistill.base.errors import ConfigError, InputError
from qrdistill.llm.config import OpenAITeacher, Price
from qrdistill.verdicts.checks import sandbox
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.estimate import check_filter, plan_judging


def endpoint(**settings) -> OpenAITeacher:
    fields = {
        "kind": "openai",
        "name": "reader",
        "model": "m",
        "base_url": "http://localhost:1/v1",
        **settings,
    }
    return OpenAITeacher(**fields)


def test_a_filter_that_can_run_is_not_stopped(make_question) -> None:
    check_filter(FilterConfig(judges=["lab", endpoint()]), [], [make_question()])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"api_key_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE is not set"),
        ({"base_url": "localhost:8000"}, "not a web address"),
        ({"base_url": None}, "needs a key"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_found_before_paths_are_bought(settings, words, make_question) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        check_filter(FilterConfig(judges=["lab", endpoint(**settings)]), [], [make_question()])
    assert caught.value.key == "filter.judges.1"


def test_so_are_leaked_questions_and_a_missing_sandbox(make_question, monkeypatch) -> None:
    questions = [make_question("train-1"), make_question("test-1", split="test")]
    with pytest.raises(InputError, match="train-1 contains test-1"):
        check_filter(FilterConfig(), [], questions)
    monkeypatch.setattr(sandbox, "available", lambda: False)
    with pytest.raises(ConfigError, match="seccomp"):
        check_filter(FilterConfig(program=True), [], [])


def test_judging_has_a_price(make_question) -> None:
    judge = endpoint(price=Price(input=1.0, output=10.0), max_tokens=400)
    config = FilterConfig(judges=["lab", judge], votes=3)
    [plan] = plan_judging(config, [], num_paths=1000, path_tokens=200, question="What is 3 + 4?")
    assert plan.calls_at_most == 3000
    assert 3000 * 400 < plan.prompt_tokens < 3000 * 800
    assert plan.usd == pytest.approx((plan.prompt_tokens + 3000 * 100 * 10) / 1e6)
    assert plan.usd_at_most == pytest.approx((plan.prompt_tokens + 3000 * 400 * 10) / 1e6)
