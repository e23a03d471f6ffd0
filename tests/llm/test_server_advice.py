"""Errors as providers word them: which field is in the way, how long to wait, and when only tomorrow helps."""

from __future__ import annotations

from typing import Any

import pytest

from qrdistill.llm.server_advice import daily, mend, mended, wait

SENT = {"model": "m", "messages": [], "max_tokens": 9, "temperature": 0.8, "top_p": 1.0, "seed": 1}


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (
            error(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                param="max_tokens",
            ),
            "max_tokens",
        ),
        (
            error(
                "Unsupported value: 'temperature' does not support 0.8 with this model. Only the default (1) value is supported.",
                param="temperature",
            ),
            "temperature",
        ),
        (error("`temperature` and `top_p` cannot both be specified for this model. Please use only one."), "top_p"),
        (
            {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "seed"],
                        "msg": "Extra inputs are not permitted",
                        "input": {"temperature": 1},
                    }
                ]
            },
            "seed",
        ),
        ([error('Invalid JSON payload received. Unknown name "seed": Cannot find field.')], "seed"),
        (error("property 'top_p' is unsupported"), "top_p"),
        ("Unrecognized request argument supplied: seed", "seed"),
        (error("max_tokens is too large: 100000. This model supports at most 16384 completion tokens."), None),
        (error("temperature must be at most 1"), None),
        (error("Unsupported parameter: 'reasoning_effort'"), None),
        (error("This model does not support images"), None),
        ({"error": None}, None),
        (["x"], None),
    ],
)
def test_a_field_that_is_in_the_way_is_found(body: Any, field: str | None):
    found = mend(SENT, body)
    assert (found and found[0]) == field
    if found:
        assert mend({name: value for name, value in SENT.items() if name != field}, body) is None, "applied once"


def test_mends_change_a_body_and_keep_the_limit():
    assert mended(SENT, {}) == SENT
    body = mended(SENT, {"max_tokens": "max_completion_tokens", "seed": None})
    assert body == {"model": "m", "messages": [], "max_completion_tokens": 9, "temperature": 0.8, "top_p": 1.0}
    both = {"max_tokens": 9, "max_completion_tokens": 8}
    assert mended(both, {"max_tokens": "max_completion_tokens"}) == {"max_completion_tokens": 8}


def gemini(quota: str, delay: object) -> list[dict[str, Any]]:
    return [
        error(
            "You exceeded your current quota.",
            code=429,
            status="RESOURCE_EXHAUSTED",
            details=[
                {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
            ],
        )
    ]


@pytest.mark.parametrize(
    ("body", "seconds", "tomorrow"),
    [
        (gemini("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "34s"), 34.0, False),
        (gemini("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", {"seconds": "7"}), 7.0, False),
        (gemini("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "34s"), 34.0, True),
        (error("Rate limit reached on requests per day (RPD): Limit 200. Please try again in 7m12s."), 432.0, False),
        (error("Rate limit exceeded: free-models-per-day"), None, True),
        (error("You have reached your daily limit"), None, True),
        (error("Please retry in 250ms."), 0.25, False),
        (error("Too many requests"), None, False),
        (error("try again in a while"), None, False),
        ({}, None, False),
        (error("x", details={"retryDelay": "soon"}), None, False),
        (error("x", retryDelay="9" * 50 + "d"), 1e7, False),
    ],
)
def test_a_wait_and_a_daily_quota_are_read_from_the_body(body: Any, seconds: float | None, tomorrow: bool):
    assert wait(body) == seconds
    assert daily(body) is tomorrow
