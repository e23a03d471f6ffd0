"""What a terminal might obey is shown, never sent."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from qrdistill.base.untrusted.clean_text import clean_text, one_line


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    for letter in cleaned:
        assert letter in "\n\t\u200c\u200d" or unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def test_ordinary_text_of_any_script_stays():
    for text in ("a\tb\nc", "½ × ∑ ≤ π", "日本語", "می‌خواهم", "👩‍🚀", "é e\u0301"):
        assert clean_text(text) == text


def test_escapes_reversals_and_endless_lines_are_tamed():
    assert clean_text("\x1b]0;title\x07\x9b31m") == "\ufffd]0;title\ufffd\ufffd31m"
    assert clean_text("a\u202eb\u2066c\u2028d") == "a\ufffdb\ufffdc\ufffdd"
    assert clean_text("1\r2\r\n3") == "1\ufffd2\n3"
    assert clean_text("ok\n" + "x" * 50, max_line=20) == "ok\n" + "x" * 20 + "... (30 more characters)"


def test_a_quoted_message_is_one_line_of_bounded_length():
    assert one_line("  no\n\n such \x1b[1m model ", 100) == "no such \ufffd[1m model"
    assert len(one_line("y" * 10**6, 300)) == 300
    assert one_line(" " * 10**6 + "z", 300) == ""
