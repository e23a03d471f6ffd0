"""Style search against a real server that plays the teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fault_server import FaultServer, digest
from generation_runner import questions, teacher

from qrdistill.base.errors import InputError, TeacherError
from qrdistill.base.store import read_table
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.paths.config import PathsConfig, StyleConfig
from qrdistill.paths.style_proposals import read_proposals, style_of
from qrdistill.paths.style_search import Candidate, search_styles
from qrdistill.paths.styles import Style, resolve_styles

GOOD = {
    "name": "by_analogy",
    "instruction": "Solve it by analogy.",
    "hint": "Use an analogy.",
    "description": "d",
}
COPY = {"name": "plain", "instruction": "Just solve it, copying.", "hint": "Copy."}
WRONG = {"name": "guess", "instruction": "Guess wildly.", "hint": "Guess."}
BAD = {"name": "Not a name", "instruction": "x", "hint": "y"}


def reply(body: dict[str, Any]) -> str:
    prompt = body["messages"][-1]["content"]
    if prompt.startswith("We collect solutions"):
        return "Sure:\n" + json.dumps([GOOD, COPY, WRONG, BAD])
    number = prompt.partition("What is ")[2].partition(" ")[0]
    if "analogy" in prompt:
        return (
            f"Like counting sheep {digest(body)} over a fence, one more than {number} comes next. The answer is right."
        )
    if "Guess" in prompt:
        return f"{digest(body)[:20]} no idea. The answer is wrong."
    return f"We take {number} and add one to it, as was asked of us here. The answer is right."


def keep(by_id: object, paths: Any) -> set[str]:
    return {path.id for path in paths if "right" in path.text}


def search(folder: Path, url: str, *, rounds: int = 1, number: int = 10, **changes: Any) -> list[Candidate]:
    with ReplyCache(folder / "replies.sqlite") as cache:
        return search_styles(
            questions(number),
            teacher(url, api_key_env=None),
            PathsConfig(styles=["vanilla"]),
            keep=keep,
            folder=folder / "search",
            cache=cache,
            base_dir=folder,
            seed=0,
            rounds=rounds,
            num_questions=4,
            **changes,
        )


def test_the_best_new_style_is_added_and_everything_recorded(tmp_path: Path):
    with FaultServer(text=reply) as server:
        found = search(tmp_path, server.url)
    by_name = {candidate.name: candidate for candidate in found}
    assert list(by_name) == ["vanilla", "by_analogy", "plain", "guess", "Not a name"]
    assert by_name["vanilla"].share_kept == 1
    assert by_name["by_analogy"].accepted
    assert by_name["by_analogy"].distance > 0.8
    assert by_name["plain"].distance == 0, "the same words by another name"
    assert by_name["guess"].score == 0
    assert "name" in by_name["Not a name"].reason
    with ReplyCache(tmp_path / "replies.sqlite") as cache:
        assert sum(one.usd for one in found) == pytest.approx(cache.stats()["usd"]), "every cent is recorded"
    assert list(read_table(tmp_path / "search/candidates.parquet", Candidate)) == found
    [style] = yaml.safe_load((tmp_path / "search/styles.yaml").read_text())
    assert resolve_styles([StyleConfig(**style)])["by_analogy"].hint == GOOD["hint"]


def test_a_second_search_costs_nothing_and_says_the_same(tmp_path: Path):
    with FaultServer(text=reply) as server:
        first = search(tmp_path, server.url)
        asked = sum(server.seen.values())
        assert search(tmp_path, server.url) == first
        assert sum(server.seen.values()) == asked
        longer = search(tmp_path, server.url, rounds=2)
    assert longer[: len(first)] == first
    assert {candidate.reason for candidate in longer[len(first) :]} >= {"its name is taken"}


def test_a_teacher_that_proposes_nothing_is_said(tmp_path: Path):
    with (
        FaultServer(text=lambda body: "I would rather not. The answer is right.") as server,
        pytest.raises(TeacherError, match="no usable style in 1 rounds"),
    ):
        search(tmp_path, server.url)
    with pytest.raises(InputError, match="needs train questions"):
        search(tmp_path, "http://127.0.0.1:9/v1", number=0)


@pytest.mark.parametrize("text", ["", "[", "no list", "[1, 2", '{"name": 1}'])
def test_replies_without_a_list_give_nothing(text: str):
    assert read_proposals(text) == []


def test_proposals_are_checked():
    assert style_of(GOOD, set()) == Style("by_analogy", GOOD["instruction"], GOOD["hint"], "d")
    assert style_of(GOOD, {"by_analogy"}) == "its name is taken"
    assert isinstance(style_of({**GOOD, "instruction": "x" * 700}, set()), str)
    assert isinstance(style_of({**GOOD, "hint": " "}, set()), str)
    assert isinstance(style_of({**GOOD, "extra": 1}, set()), str)
    assert isinstance(style_of("text", set()), str)
