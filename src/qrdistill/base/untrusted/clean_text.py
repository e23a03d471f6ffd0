"""Text from outside, made fit for a terminal: the one place where it is done.

Servers' messages, names from files and models' texts may hold escape sequences that recolour, retitle or
clear the terminal, characters that turn the reading direction round, and lines without an end.
"""

from __future__ import annotations

import re
import unicodedata

MAX_LINE = 2000  # characters of one line that are shown

_PRINTABLE = re.compile(r"[\t\n\x20-\x7e]*")
_JOINERS = "\u200c\u200d"  # Persian and Indic scripts, and families of emoji, are written with them
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})  # control, format, surrogates, private use, line ends


def clean_text(text: str, *, max_line: int = MAX_LINE) -> str:
    """`text` with every character that a terminal might obey shown as U+FFFD, and long lines cut.

    >>> clean_text("a\\x1b[2Jb\\tc")
    'a\\ufffd[2Jb\\tc'
    >>> clean_text("x" * 30, max_line=10)
    'xxxxxxxxxx... (20 more characters)'
    """
    if not _PRINTABLE.fullmatch(text):
        text = "".join(map(_shown, text.replace("\r\n", "\n")))
    if len(text) <= max_line:
        return text
    return "\n".join(_cut(line, max_line) for line in text.split("\n"))


def one_line(text: str, most: int) -> str:
    """The text on one line of at most `most` characters, for messages that quote what came from outside.

    >>> one_line("no\\n  such\\x07 model", 100)
    'no such\\ufffd model'
    """
    text = " ".join(text[: 8 * most].split())
    return clean_text(text if len(text) <= most else text[: most - 3] + "...")


def _shown(letter: str) -> str:
    if letter in "\n\t" or letter in _JOINERS or unicodedata.category(letter) not in _HIDDEN:
        return letter
    return "\ufffd"


def _cut(line: str, most: int) -> str:
    return line if len(line) <= most else f"{line[:most]}... ({len(line) - most} more characters)"
