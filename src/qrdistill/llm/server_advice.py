"""What a server's error asks for: a field under another name or left out, a wait, or to come back tomorrow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# a field that a server may not take, and what to do: another name, or (None) leave it out
_FIELDS: dict[str, str | None] = {
    "max_tokens": "max_completion_tokens",
    "temperature": None,
    "top_p": None,
    "seed": None,
}
_COMPLAINT = re.compile(
    r"unsupported|not support|isn't supported|only the default|not permitted|not allowed|unknown name|unknown field"
    r"|unknown parameter|unrecognized|unexpected|extra_forbidden|deprecated|cannot both",
    re.IGNORECASE,
)
_WORDS = ("message", "msg", "detail", "error", "param", "type", "loc")
_SHOWN = 4000  # characters of an error that are searched
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PIECE = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|d|h|m|s)[a-z]*\s*", re.IGNORECASE)
_AGAIN = re.compile(rf"(?:try again|retry)\s+(?:in|after)\s+((?:{_PIECE.pattern})+)", re.IGNORECASE)
_DAILY = re.compile(r"per[ _-]?day|\bdaily\b", re.IGNORECASE)
_LONGEST = 1e7  # seconds


def mend(sent: Mapping[str, Any], error: Any) -> tuple[str, str | None] | None:
    """(field, its other name or None) where an error to `sent` says that the server does not take that field.

    >>> mend({"max_tokens": 5, "seed": 1}, "Unsupported parameter: use 'max_completion_tokens' instead of 'max_tokens'")
    ('max_tokens', 'max_completion_tokens')
    >>> mend({"max_tokens": 5, "temperature": 2.5}, "temperature must lie between 0 and 1")
    """
    text = _message(error)
    if not _COMPLAINT.search(text):
        return None
    named = [field for field in _FIELDS if field in sent and re.search(rf"\b{field}\b", text)]
    if "max_tokens" in named and "max_completion_tokens" not in text:
        named.remove("max_tokens")  # another limit is asked for, not another name
    exclusive = "cannot both" in text.casefold()
    if not named or (exclusive and len(named) < 2):
        return None
    told = next((inner["param"] for inner in _objects(error) if inner.get("param") in named), None)
    # of several the one that is named as wrong; of two that exclude each other the one that says less
    field = told or ("top_p" if exclusive and "top_p" in named else named[0])
    return field, _FIELDS[field]


def mended(body: dict[str, Any], mends: Mapping[str, str | None]) -> dict[str, Any]:
    """The request's body after all mends that are known."""
    names = {field: mends.get(field, field) for field in body}
    return {
        name: body[field] for field, name in names.items() if name is not None and (name == field or name not in body)
    }


def wait(error: Any) -> float | None:
    """Seconds that an error's body asks to wait: Google's RetryInfo, or in words.

    >>> wait({"error": {"details": [{"@type": "x/google.rpc.RetryInfo", "retryDelay": "34.5s"}]}})
    34.5
    >>> wait({"error": {"message": "Rate limit reached on requests per min. Please try again in 1m12s."}})
    72.0
    """
    for inner in _objects(error):
        delay = inner.get("retryDelay")
        if isinstance(delay, dict) and isinstance(delay.get("seconds"), int | str):
            delay = f"{delay['seconds']}s"
        if isinstance(delay, str) and (seconds := _seconds(delay)) is not None:
            return seconds
    found = _AGAIN.search(_message(error))
    return _seconds(found[1]) if found else None


def daily(error: Any) -> bool:
    """Whether a quota is used up that is renewed once a day, and the error does not say in words to come back sooner."""
    ids = [str(inner.get(name)) for inner in _objects(error) for name in ("quotaId", "quotaMetric") if inner.get(name)]
    if any(_DAILY.search(one) for one in ids):
        return True  # the delay that stands beside it is that of the quota per minute
    return not ids and _DAILY.search(_message(error)) is not None and wait(error) is None


def _seconds(text: str) -> float | None:
    pieces = _PIECE.findall(text[:100])
    return min(_LONGEST, sum(float(number) * _UNITS[unit.lower()] for number, unit in pieces)) if pieces else None


def _message(error: Any) -> str:
    """What an error says, without what it echoes of the request."""
    if isinstance(error, str):
        return error[:_SHOWN]
    said = [inner.get(name) for inner in _objects(error) for name in _WORDS]
    texts = [one for value in said for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
    return " ".join(texts)[:_SHOWN]


def _objects(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Every object in an error, the outer ones first."""
    if depth > 8:
        return
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner, depth + 1)
