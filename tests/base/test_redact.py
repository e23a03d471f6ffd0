"""A secret in the spellings that software gives it."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.base.untrusted.redact import redact

KEY = "sk-never/to+be=seen-0123456789"
SPELLINGS = {
    "plain": KEY,
    "in JSON": json.dumps(KEY).replace("/", "\\/"),
    "in escaped JSON": KEY.replace("k", "\\u006b"),
    "in a URL": quote(KEY, safe=""),
    "in HTML": KEY.replace("/", "&#x2f;").replace("+", "&#43;"),
    "in base64": base64.b64encode(KEY.encode()).decode(),
    "in base64 of a header": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "in base64 of a pair": base64.b64encode(f"me:{KEY}@host".encode()).decode(),
    "in base64 for URLs": base64.urlsafe_b64encode(f"?{KEY}>".encode()).decode(),
    "in hexadecimal": KEY.encode().hex(),
    "in large hexadecimal": KEY.encode().hex().upper(),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_secret_is_found_however_it_is_spelled(name: str):
    text = f"refused: {SPELLINGS[name]} is not known"
    found = redact(text, {"MY_API_KEY": KEY, "HOME": "is not known"})
    assert "<MY_API_KEY>" in found
    assert found.startswith("refused: ")
    assert found.endswith(" is not known")
    for part in (KEY[4:20], SPELLINGS[name][8:24]):
        assert part not in found


@given(st.binary(max_size=9), st.binary(max_size=9))
def test_base64_is_found_between_any_bytes(before: bytes, after: bytes):
    found = redact(base64.b64encode(before + KEY.encode() + after).decode(), {"KEY": KEY})
    assert "<KEY>" in found
    assert len(found) <= 4 * (len(before) + len(after)) + 20


def test_other_text_is_left_as_it_is():
    text = html.escape("100 % of <b> & \\u0041, deadbeef, c2stbmV2ZXI=")
    assert redact(text, {"MY_API_KEY": KEY, "SHORT_KEY": "abc", "EMPTY_TOKEN": ""}) == text


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["\\" * 1_000_000, "&#" + "0" * 1_000_000, "&#0" * 300_000, "%" + "s" * 1_000_000])
def test_text_that_is_made_to_take_long_takes_linear_time(text: str):
    """Quadratic time would be hours."""
    assert redact("\\u " + text, {"A_KEY": KEY, "B_KEY": "ssssssssssssssssssss"}).startswith("\\u ")
