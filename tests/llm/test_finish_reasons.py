"""Every end of a reply that providers are known to give, and those that nobody knows."""

from __future__ import annotations

import pytest

from qrdistill.llm.finish_reasons import ended_by_itself, ending, recorded

KNOWN = {
    "complete": ["stop", "STOP", "end_turn", "stop_sequence", "COMPLETE", "eos", "eos_token", "FinishReason.STOP"],
    "cut": ["length", "MAX_TOKENS", "max_tokens", "model_length", "model_context_window_exceeded", "incomplete"],
    "refused": [
        "content_filter",
        "SAFETY",
        "RECITATION",
        "sensitive",
        "refusal",
        "tool_calls",
        "function_call",
        "SPII",
    ],
    "transient": ["network_error", "insufficient_system_resource", "error", "abort", "load"],
    "unknown": ["", "null", "OTHER", "FINISH_REASON_UNSPECIFIED", "stopped?", "lengthy", "7"],
}


@pytest.mark.parametrize("meaning", KNOWN)
def test_every_known_word_has_its_meaning_also_when_read_back(meaning: str):
    for word in KNOWN[meaning]:
        assert ending(word) == meaning, word
        assert ending(recorded(word)) == meaning, word
        assert ended_by_itself(word) == (meaning in ("complete", "refused")), word


@pytest.mark.parametrize("given", [None, "", "null", "None", {}, ["stop"], True])
def test_no_reason_at_all_is_no_complete_reply(given: object):
    assert ending(recorded(given)) == "unknown"


def test_an_unknown_word_is_kept_on_one_short_line():
    assert recorded("new\nreason" + "!" * 100) == "new reason" + "!" * 27 + "..."
