"""What servers and judges send, generated: a reply or one short reason, never a traceback or a hang."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import zlib
from typing import Any

import httpx2
import pytest

from qrdistill.base.untrusted.clean_text import clean_text
from qrdistill.llm.bounded_http import MAX_REPLY, BoundedClient, BrokenOff
from qrdistill.llm.client import Refused, Transient
from qrdistill.llm.config import OpenAITeacher, Price
from qrdistill.llm.openai_client import ReplyReader
from qrdistill.llm.reply_cache import ChatRequest, Reply
from qrdistill.verdicts.judges.prompt import Unreadable, VerdictReply, read_verdict

KEY = "sk-never/to+be=seen-0123456789"
REQUEST = ChatRequest("host", "model", (("user", "What is 1 + 1?"),))
NUMBER = 1000


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> ReplyReader:
    monkeypatch.setenv("FUZZ_KEY", KEY)
    config = OpenAITeacher(
        kind="openai",
        name="t",
        model="m",
        base_url="http://127.0.0.1:9/v1",
        api_key_env="FUZZ_KEY",
        price=Price(input=1, output=10),
    )
    return ReplyReader(config)


def fine() -> dict[str, Any]:
    return {
        "choices": [
            {
                "message": {"role": "assistant", "content": "It is 2.", "refusal": None, "reasoning": "1 + 1"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 18},
        "error": {"message": "no", "code": 403, "type": "y"},
    }


def verdict() -> dict[str, Any]:
    return {"reason": "fine", "first_wrong_step": None, "verdict": "sound", "confidence": 0.9}


def _values(chance: random.Random) -> list[Any]:
    nested: Any = "x"
    for _ in range(chance.choice([3, 98, 101, 300])):
        nested = [nested] if chance.random() < 0.5 else {"a": nested}
    odd = ["", "\x1b[2J\u202e", "\ud83d", KEY, base64.b64encode(KEY.encode()).decode(), "x" * 100_000, "\x00"]
    numbers = [0, -1, 10**9, 10**200, 10**400, 1e308, float("nan"), float("inf"), -0.0, True, None]
    return [*odd, *numbers, nested, [], {}, [None], [[]], {"": {}}, "sound", "length", "content_filter"]


def _places(value: Any) -> list[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for name, inner in list(pairs) for place in [(value, name), *_places(inner)]]


def mutated(value: dict[str, Any], chance: random.Random) -> bytes:
    """The value with a few places replaced or removed, as bytes of which a few may be spoilt."""
    for _ in range(chance.randrange(4)):
        places = _places(value)
        if not places:
            break
        holder, name = chance.choice(places)
        if chance.random() < 0.2:
            del holder[name]
        else:
            holder[name] = chance.choice(_values(chance))
    content = bytearray(json.dumps(value, ensure_ascii=chance.random() < 0.8).encode(errors="surrogatepass"))
    kind = chance.randrange(8)
    if kind == 0:
        del content[chance.randrange(len(content) + 1) :]
    elif kind == 1:
        for _ in range(3):
            content[chance.randrange(len(content))] = chance.randrange(256)
    elif kind == 2:
        begin = chance.randrange(len(content))
        content[begin:begin] = chance.choice([b"[" * 5000, b"9" * 5000, b'"', b"\\", b"NaN", b'{"a":1,"a":2}'])
    elif kind == 3:
        content = bytearray(chance.randbytes(chance.randrange(200)))
    return bytes(content)


def read(reader: ReplyReader, content: bytes) -> Reply | Transient | Refused:
    try:
        return reader.reply(REQUEST, content, 0.1)
    except (Transient, Refused) as error:
        return error


def check(reason: str) -> None:
    assert 0 < len(reason) < 500
    assert reason == clean_text(reason).replace("\n", " ")
    assert KEY not in reason


def test_any_body_of_a_server_is_a_reply_or_one_short_reason(reader: ReplyReader):
    chance = random.Random(1)
    outcomes: list[type[object]] = []
    for _ in range(NUMBER):
        content = mutated(fine(), chance)
        failure = reader.error(chance.choice([307, 400, 402, 429, 500]), content, {"retry-after": "1e999"})
        check(failure.text if isinstance(failure, Reply) else failure.reason)
        outcome = read(reader, content)
        outcomes.append(type(outcome))
        if isinstance(outcome, Reply):
            kept = outcome.text + outcome.thought + outcome.finish_reason + outcome.response
            assert KEY not in kept
            kept.encode()  # no half character, which no table could hold
            check(outcome.finish_reason)
        else:
            check(outcome.reason)
        cost = outcome if isinstance(outcome, Reply) else outcome.wasted
        assert cost is not None
        assert 0 <= cost.cost < 1e5
    assert min(outcomes.count(kind) for kind in (Reply, Transient, Refused)) > 20


def test_any_reply_of_a_judge_is_a_verdict_or_one_short_reason():
    chance = random.Random(2)
    outcomes: list[type[object]] = []
    for _ in range(NUMBER):
        text = mutated(verdict(), chance).decode(errors="replace")
        text = (
            chance.choice(["", "", "", "<think>hm</think>", "```json\n"]) + text + chance.choice(["", "\n```", "```"])
        )
        try:
            outcomes.append(type(read_verdict(text, material="1 + 1 = 2")))
        except Unreadable as problem:
            check(str(problem))
            outcomes.append(Unreadable)
    assert min(outcomes.count(kind) for kind in (VerdictReply, Unreadable)) > 50


@pytest.mark.parametrize(
    "text",
    [
        '{"reason": "", "first_wrong_step": null, "verdict": "sound", "confidence": NaN}',
        '{"reason": "", "first_wrong_step": null, "verdict": "sound", "confidence": ' + "1" * 5000 + "}",
        '{"reason": "", "first_wrong_step": null, "verdict": "sound", "confidence": 1, "x": ' + "[" * 5000 + "]" * 5000,
        '{"reason": "\\ud83d", "first_wrong_step": null, "verdict": "sound", "confidence": 1}',
        '{"reason": "", "first_wrong_step": null, "verdict": "sound", "verdict": "spurious", "confidence": 1}',
    ],
)
def test_a_verdict_beyond_the_bounds_is_unreadable(text: str):
    with pytest.raises(Unreadable):
        read_verdict(text)


# --- bytes on their way in ------------------------------------------------------------------------


def served(content: bytes, headers: dict[str, str], status: int = 200) -> httpx2.Response:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(content))

    async def ask() -> httpx2.Response:
        async with BoundedClient(transport=httpx2.MockTransport(answer)) as client:
            return await client.send(client.build_request("POST", "http://host/"))

    return asyncio.run(ask())


def squeezed(parts: list[bytes], wbits: int) -> bytes:
    squeeze = zlib.compressobj(9, wbits=wbits)
    return b"".join([*(squeeze.compress(part) for part in parts), squeeze.flush()])


@pytest.mark.parametrize(("name", "wbits"), [("gzip", 31), ("deflate", 15)])
def test_a_compressed_reply_is_read_within_bounds(name: str, wbits: int):
    assert served(squeezed([b"hello"], wbits), {"content-encoding": name}).content == b"hello"
    largest = [b" " * (1 << 20)] * (MAX_REPLY >> 20)
    assert len(served(squeezed(largest, wbits), {"content-encoding": name}).content) == MAX_REPLY
    with pytest.raises(BrokenOff, match="longer than 8 MiB"):
        served(squeezed([*largest, b"x"], wbits), {"content-encoding": name})
    with pytest.raises(BrokenOff, match="no end"):
        served(squeezed([b"hello" * 100], wbits)[:-9], {"content-encoding": name})


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "compress", "gzip,identity,br"])
def test_compression_that_was_not_asked_for_is_not_undone(encoding: str):
    with pytest.raises(BrokenOff, match="not asked for"):
        served(squeezed([squeezed([b"hello"], 31)], 31), {"content-encoding": encoding})


def test_spoilt_compression_and_long_errors_are_no_crash():
    with pytest.raises(BrokenOff, match="error"):
        served(b"no gzip at all", {"content-encoding": "gzip"})
    assert served(b"no gzip at all", {"content-encoding": "gzip"}, 500).content == b""
    assert 0 < len(served(b"x" * (1 << 20), {}, 500).content) < 1 << 17


def test_a_character_set_of_the_servers_choice_is_not_used():
    response = served(b'{"a": "\xc3\xa9"}', {"content-type": "application/json; charset=zlib"})
    assert response.text == '{"a": "\xe9"}'
    assert served(b"{}", {"location": "http://elsewhere/", "x": "y"}, 307).headers["location"] == "http://elsewhere/"
