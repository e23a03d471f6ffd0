"""JSON from outside: within bounds, one short message, and never another exception."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrdistill.base.errors import DataError
from qrdistill.base.untrusted.guarded_json import MAX_DEPTH, MAX_DIGITS, loads, read_json

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(VALUES, st.booleans(), st.booleans())
def test_what_python_writes_is_read_as_python_reads_it(value: object, ascii_only: bool, strict: bool):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert loads(text, where="here", strict=strict) == value
    assert loads(text.encode(), where="here", strict=strict) == value


WRONG = {
    "deep": ("[" * 200 + "]" * 200, "nested more than 100 deep"),
    "very deep": ("[" * 200_000, "nested more than 100 deep"),
    "deep in objects": ('{"a":' * 200 + "1" + "}" * 200, "nested more than 100 deep"),
    "digits": ('{"a": ' + "7" * 5000 + "}", "a number of 5000 digits"),
    "some digits": ("7" * (MAX_DIGITS + 1), "a number of 301 digits"),
    "nan": ('{"a": NaN}', "NaN is no number in JSON"),
    "infinity": ("[-Infinity]", "-Infinity is no number"),
    "infinite": ("[1e999]", "the number 1e999 is infinite"),
    "twice": ('{"a": 1, "b": {"x": 1, "x": 2}}', "the field 'x' stands twice"),
    "half": ('["\\ud83d"]', "half a character"),
    "half in a name": ('{"\\ud83d": 1}', "half a character"),
    "no JSON": ("{'a': 1}", "not JSON (Expecting property name"),
    "nothing": ("", "not JSON (Expecting value"),
    "cut": ('{"a": "' + "\\" * 100_001, "not JSON"),
    "bytes": (b'"\xff"', "not UTF-8 text (byte 1)"),
    "large": (" " * 2000, "2000 bytes of JSON; at most 1000 are read"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_read_is_said_in_one_short_message(name: str):
    content, message = WRONG[name]
    with pytest.raises(DataError) as caught:
        loads(content, where="study.json", line=3, mend="mend it", **({"max_bytes": 1000} if name == "large" else {}))
    text = str(caught.value)
    assert text.startswith("study.json:3: ")
    assert message in text
    assert text.endswith("; mend it")
    assert len(text) < 500
    assert "\n" not in text


def test_the_bounds_themselves_are_inside():
    assert loads("[" * MAX_DEPTH + "]" * MAX_DEPTH, where="x")
    assert loads("7" * MAX_DIGITS, where="x") == int("7" * MAX_DIGITS)
    brackets = json.dumps({"text": "[" * 5000 + '\\"' + "{" * 5000})
    assert loads(brackets, where="x"), "brackets in a string nest nothing"


def test_of_what_was_paid_for_the_readable_part_is_kept():
    text = '{"a": [NaN, 1e999, -Infinity, 2], "b": 1, "b": "x\\ud83dy"}'
    assert loads(text, where="x", strict=False) == {"a": [None, None, None, 2], "b": "x?y"}
    assert loads(b'"\xff"', where="x", strict=False) == "\ufffd"
    for bound in ("deep", "digits"):
        with pytest.raises(DataError):
            loads(WRONG[bound][0], where="x", strict=False)


def test_our_own_files_may_hold_nan():
    first, second = loads("[NaN, Infinity]", where="metrics.jsonl", nan=True)
    assert math.isnan(first)
    assert second == math.inf


def test_a_file_is_measured_before_it_is_read(tmp_path: Path):
    file = tmp_path / "a.json"
    file.write_text('\ufeff{"a": 1}', encoding="utf-8")
    assert read_json(file) == {"a": 1}
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(DataError, match="at most"):
        read_json(file)
