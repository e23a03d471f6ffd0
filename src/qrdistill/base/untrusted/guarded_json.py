"""JSON from outside, read in one place: within bounds, and with one short message where it cannot be.

Files, servers, models and caches are all outside. What Python's own reader lets through and what then
breaks far from its cause (NaN, 1e999, a field that stands twice, half a character, a number of a million
digits, a thousand brackets) is refused here, by a `DataError` that names the place.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from qrdistill.base.errors import DataError

MAX_BYTES = 256 << 20  # of a file; what is asked over a network has a smaller bound of its own
MAX_DEPTH = 100  # nested lists and objects
MAX_DIGITS = 300  # of a whole number: more do not fit a float, and take quadratic time to read
_SHOWN = 60  # characters of a text that a message quotes

_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)
_LONG = re.compile(rf"\d{{{MAX_DIGITS + 1}}}|\d[eE]\+?\d\d\d")  # numbers that the slow path has to look at
_HALF = re.compile("[\ud800-\udfff]")  # one half of a character outside the first 65,536, without the other
_MAYBE_HALF = re.compile("[\ud800-\udfff]|\\\\u[dD][89a-fA-F]")


class _Wrong(Exception):
    """What a hook has found; the reader's caller adds the place."""


def loads(
    content: str | bytes,
    *,
    where: Path | str,
    line: int | None = None,
    strict: bool = True,
    nan: bool = False,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    mend: str = "",
) -> Any:
    """Reads one JSON value; raises DataError, never anything else, with `where` as its place.

    `strict` refuses a field that stands twice, NaN and infinities, and half characters. Without it the last
    of several fields counts, what is no number is None and half a character is "?": of a reply that was
    paid for, what is readable is kept. `nan` lets NaN and infinities through, in files that we wrote.

    >>> loads('{"a": [1, 2.5]}', where="here")
    {'a': [1, 2.5]}
    """

    def fail(reason: str, cause: Exception | None = None) -> NoReturn:
        raise DataError(reason + (f"; {mend}" if mend else ""), file=where, line=line) from cause

    if len(content) > max_bytes:
        fail(f"{len(content)} bytes of JSON; at most {max_bytes} are read")
    try:
        text = content if isinstance(content, str) else content.decode("utf-8", "strict" if strict else "replace")
    except UnicodeDecodeError as error:
        fail(f"not UTF-8 text (byte {error.start}); save the file as UTF-8", error)
    text = text.removeprefix("\ufeff")
    if _deeper(text, max_depth):
        fail(f"not JSON that can be read: nested more than {max_depth} deep")
    try:
        value = _decoder(text, strict=strict, nan=nan).decode(text)
    except json.JSONDecodeError as error:
        line = error.lineno if line is None else line
        fail(f"not JSON ({error.msg} at column {error.colno}): {text[:_SHOWN]!r}", error)
    except _Wrong as error:
        fail(f"not JSON that can be read: {error}", error)
    except (ValueError, RecursionError) as error:
        fail("not JSON that can be read: a number or a nesting beyond Python's limits", error)
    if _MAYBE_HALF.search(text):
        return _whole(value, fail if strict else None)
    return value


def read_json(file: Path, *, nan: bool = False, fields: Mapping[str, type] | None = None, mend: str = "") -> Any:
    """A whole file, with `fields` an object that has at least those, of those types.

    Raises DataError where it is not, OSError where it cannot be read.
    """
    if (size := file.stat().st_size) > MAX_BYTES:
        raise DataError(f"{size} bytes of JSON; at most {MAX_BYTES} are read", file=file)
    value = loads(file.read_bytes(), where=file, nan=nan, mend=mend)
    for name, kind in (fields or {}).items():
        if not isinstance(value, dict) or not isinstance(value.get(name), kind):
            reason = f"not the JSON that is expected: an object with the field {name!r} ({kind.__name__})"
            raise DataError(reason + (f"; {mend}" if mend else ""), file=file)
    return value


def _deeper(text: str, most: int) -> bool:
    """Whether brackets outside of strings nest more than `most` deep."""
    if text.count("[") + text.count("{") <= most:
        return False
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match.lastindex == 1:
            depth += 1
            if depth > most:
                return True
        elif match.lastindex == 2:
            depth -= 1
    return False


def _decoder(text: str, *, strict: bool, nan: bool) -> json.JSONDecoder:
    if _LONG.search(text):  # rare, or inside a string: every number is looked at
        return json.JSONDecoder(
            parse_int=_whole_number,
            parse_float=float if nan else _finite if strict else _finite_or_none,
            parse_constant=float if nan else _refused_constant if strict else _none,
            object_pairs_hook=_unique if strict else None,
        )
    return _USUAL[strict, nan]


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Wrong(f"a number of {len(digits)} digits; at most {MAX_DIGITS} are read")
    return int(digits)


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise _Wrong(f"the number {digits[:20]} is infinite")
    return value


def _finite_or_none(digits: str) -> float | None:
    return value if math.isfinite(value := float(digits)) else None


def _refused_constant(name: str) -> NoReturn:
    raise _Wrong(f"{name} is no number in JSON")


def _none(name: str) -> None:
    return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _Wrong(f"the field {name[:_SHOWN]!r} stands twice in one object")
            seen.add(name)
    return fields


_USUAL = {
    (strict, nan): json.JSONDecoder(
        parse_constant=None if nan else _refused_constant if strict else _none,
        object_pairs_hook=_unique if strict else None,
    )
    for strict in (True, False)
    for nan in (True, False)
}


def _whole(value: Any, fail: Any) -> Any:
    """The value without half characters: refused by `fail`, or replaced where it is None."""
    if isinstance(value, str):
        if _HALF.search(value):
            if fail:
                fail("not JSON that can be read: half a character (a lone surrogate) stands in it")
            return _HALF.sub("?", value)
        return value
    if isinstance(value, list):
        return [_whole(item, fail) for item in value]
    if isinstance(value, dict):
        return {_whole(name, fail): _whole(item, fail) for name, item in value.items()}
    return value
