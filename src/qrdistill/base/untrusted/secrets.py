"""Which texts look like an API key, so that a pasted one is neither stored nor shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:sk|pk|rk|gsk|hf|ghp|gho|glpat|github_pat|xai|xox[abp]|pplx|nvapi|r8|tgp|fw|csk|jina|voy)[-_]"
    r"|AIza|AKIA|ya29\.|eyJ)[A-Za-z0-9._\-]{8,}"
    r"|(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9._\-+/=]{8,}"
)
_SECRET_NAMES = re.compile(
    r"(?i)^(?:(?:proxy[-_])?authorization|(?:.*[-_])?(?:api[-_]?key|secret(?:[-_]?key)?|password|passwd"
    r"|(?:access|auth|bearer|session)[-_]?token|credentials?|cookie)|x-.*(?:key|token))$"
)


def looks_like_key(text: str) -> bool:
    """Whether a text is probably a key: a known prefix, or a long word of digits and letters in both cases.

    >>> looks_like_key("sk-proj-0123456789"), looks_like_key("GEMINI_API_KEY_2")
    (True, False)
    """
    if _PREFIXED.search(text):
        return True
    return any(
        (re.search("[a-z]", word) and re.search("[A-Z]", word) and len(re.findall("[0-9]", word)) >= 2)
        or re.fullmatch("[0-9a-f]{32,}", word) is not None
        for word in re.findall(r"[A-Za-z0-9_\-]{24,}", text)
    )


def hide_keys(text: str) -> str:
    """The text with every word that has a key's prefix taken out.

    >>> hide_keys("unknown key sk-0123456789abc")
    'unknown key <hidden>'
    """
    return _PREFIXED.sub("<hidden>", text)


def secret_places(value: object, place: str = "") -> Iterator[str]:
    """Where in nested JSON data a key stands: values that look like one, or that stand under such a name.

    >>> list(secret_places({"headers": {"Authorization": "x"}, "top_k": 40}))
    ['headers.Authorization']
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            where = f"{place}.{name}" if place else str(name)
            if _SECRET_NAMES.match(str(name)) and isinstance(inner, str | int) and inner not in ("", 0):
                yield where
            else:
                yield from secret_places(inner, where)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from secret_places(inner, f"{place}.{index}")
    elif isinstance(value, str) and looks_like_key(value):
        yield place
