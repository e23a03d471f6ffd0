"""Keeps secrets out of everything that is written or shown, in the spellings that software gives them.

Caught: a secret as it is, with characters escaped as JSON, URLs or HTML escape them, in base64 (also in the
middle of a longer text, and in its URL alphabet) and in hexadecimal. Not caught: a secret that is cut, spread
over lines, spaced out, reversed, compressed or enciphered.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping

_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_SHORTEST = 8  # characters; what is shorter is found in innocent words
_ESCAPES = ("\\u", "\\/", "%", "&#")  # a text without any of these spells nothing in another way


class Redactor:
    """Replaces secrets, given as name -> value, by their names."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        # longest first: a secret may be the beginning of another
        ordered = sorted(secrets.items(), key=lambda item: -len(item[1]))
        self._secrets = [(value, f"<{name}>", _escaped(value), _encoded(value)) for name, value in ordered]

    def __call__(self, text: str) -> str:
        escaped = any(mark in text for mark in _ESCAPES)
        for value, shown, spelled, encoded in self._secrets:
            if value in text:
                text = text.replace(value, shown)
            if escaped:
                text = spelled.sub(shown, text)
            for one in encoded:
                if one in text:
                    text = text.replace(one, shown)
        return text


def secrets_in(environment: Mapping[str, str] | None = None, *, also: Iterable[str] = ()) -> dict[str, str]:
    """The variables that name a key, token, secret or password, and those in `also` whatever their name."""
    values = {name: value.strip() for name, value in (os.environ if environment is None else environment).items()}
    named = {
        name: value
        for name, value in values.items()
        if len(value) >= _SHORTEST and any(word in name.upper() for word in _WORDS)
    }
    return named | {name: values[name] for name in also if values.get(name)}


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Replaces the value of every variable that names a key, token or secret by its name.

    >>> redact("bad key sk-123456789", {"MY_API_KEY": "sk-123456789"})
    'bad key <MY_API_KEY>'
    """
    return Redactor(secrets_in(environment))(text)


def _escaped(value: str) -> re.Pattern[str]:
    """Finds a secret also where characters of it are escaped as JSON, URLs or HTML do."""

    # repetitions are bounded, and none stands first: a text of backslashes alone would take quadratic time
    def spelled(letter: str, before: str, escape: str) -> str:
        return (
            rf"(?:{before}{re.escape(letter)}|{escape}u{ord(letter):04x}|%{ord(letter):02x}"
            rf"|&#(?:0{{0,8}}{ord(letter)}|x0{{0,8}}{ord(letter):x});)"
        )

    first, rest = spelled(value[0], "", r"\\"), (spelled(letter, r"\\{0,16}", r"\\{1,16}") for letter in value[1:])
    return re.compile(first + "".join(rest), re.IGNORECASE)


def _encoded(value: str) -> tuple[str, ...]:
    """A secret in base64, at each of the three places that it may have in a longer text, and in hexadecimal."""
    if len(value) < _SHORTEST:
        return ()
    data = value.encode(errors="surrogateescape")
    found = [data.hex(), data.hex().upper()]
    for before in range(3):
        whole = (before + len(data)) * 8 // 6  # letters that the bytes after it do not change
        first = (0, 2, 3)[before]  # letters that the bytes before it change
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.append(encode(bytes(before) + data).decode()[first:whole])
    return tuple(dict.fromkeys(found))
