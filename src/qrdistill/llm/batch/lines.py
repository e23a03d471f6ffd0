"""The lines of a batch's files: what is asked, and what came back, in any order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import IO, Any

from qrdistill.base.errors import DataError
from qrdistill.base.untrusted.guarded_json import loads
from qrdistill.llm.client import Transient
from qrdistill.llm.openai_client import ReplyReader
from qrdistill.llm.reply_cache import ChatRequest, Reply
from qrdistill.llm.server_advice import mend, mended

_LONGEST_LINE = 8 << 20  # bytes, as of a single reply


def as_text(request: ChatRequest) -> str:
    """Every field, as the cache keeps it while the request is in a batch."""
    return json.dumps(asdict(request))


def from_text(text: str) -> ChatRequest:
    plain: dict[str, Any] = json.loads(text)
    plain["messages"] = tuple((role, content) for role, content in plain["messages"])
    return ChatRequest(**plain)


def line(request: ChatRequest, mends: Mapping[str, str | None]) -> bytes:
    """One request as a batch's input file has it, without the fields in `mends`; it is told by its cache key."""
    body = mended(request.body(), mends)
    asked = {"custom_id": request.key, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(asked, ensure_ascii=False).encode(errors="replace") + b"\n"


def results(file: IO[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, line) of an output or error file; a line that is none leaves its request unanswered."""
    while text := file.readline(_LONGEST_LINE):
        try:
            found = loads(text, where="a line of the batch", strict=False)
        except DataError:
            continue
        if isinstance(found, dict) and isinstance(key := found.get("custom_id"), str):
            yield key, found


def outcome(request: ChatRequest, found: dict[str, Any], reader: ReplyReader, mends: dict[str, str | None]) -> Reply:
    """What a line says, by the same reader as a reply that came at once. Raises Transient, Refused.

    A field that the server says it does not take is added to `mends`; the request is to be sent again without it.
    """
    response = found.get("response")
    if not isinstance(response, dict):
        error = found.get("error")
        code = error.get("code") if isinstance(error, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
        raise Transient(reader.shown(f"in its batch: {code or 'no response'}: {message or ''}"))
    content = json.dumps(response.get("body"), ensure_ascii=False).encode(errors="replace")
    status = response.get("status_code")
    if not isinstance(status, int) or not 200 <= status < 300:
        if status in (400, 422) and (advice := mend(request.body(), response.get("body"))):
            mends[advice[0]] = advice[1]
            raise Transient(reader.shown(f"in its batch: the server does not take {advice[0]}"), status=status)
        said = reader.error(status if isinstance(status, int) else 500, content, {})
        if isinstance(said, Reply):
            return said
        raise said
    reply = reader.reply(request, content, 0.0)
    return replace(reply, sent=json.dumps(mended(request.body(), mends))) if mends else reply
