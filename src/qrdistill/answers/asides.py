"""Where a stated clause ends and a remark begins: reasons, conditions, parentheses, denials.

"18, because 20 left and 2 stayed" states 18. What opens a further claim ("5 and since each holds 4 there
are 20", "5 but given that ...") is no remark: such a clause is read whole, and two values are undecided.
"""

from __future__ import annotations

import re

_REASON = re.compile(r"\s*,?\s*\b(?:because|since)\b", re.IGNORECASE)
_ASIDE = re.compile(
    r"\s*(?:,?\s*\b(?P<word>because|since|as it|as they|which|where|given that|assuming|after|if)\b"
    r"|,\s*(?:and\s+)?not\b|\s(?:rather than|instead of)\b|(?P<stop>;)(?=\s|$))",
    re.IGNORECASE,
)
_PARENTHESIS = re.compile(r"(?:(?<=\s)|(?<=\w)(?=\([A-Za-z]))\((?!\s*(?:or|and|but|not|maybe|perhaps)\b)[^()]*\)")
_GOES_ON = re.compile(
    r"(?:\b(?:and|but|or|so|yet|then|while|although|though|that|however|also)|[:—–-])\s*,?\s*$", re.IGNORECASE
)
_CONSEQUENCE = re.compile(
    r"\b(?:so|therefore|thus|hence|but|however|otherwise|else|altogether|in total|instead(?! of)|we (?:get|have)|for a total)\b"
    r"|,\s*(?:and\s+|then\s+)?there\s+(?:are|is|were|was|will|would|must)\b",
    re.IGNORECASE,
)
_EQUATED = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals?|makes?|gives?|means?|leaves?|totals?|amounts? to|comes? to)\s+|=\s*)"
    r"(?=(?:[A-Za-z]+\s+){0,2}[-$€£]*\d)",
    re.IGNORECASE,
)
_COMPARED = re.compile(r"\d[\d.,]*\s*(?:%|(?:percent|more|less|fewer|times|of|higher|lower|greater)\b)", re.IGNORECASE)


def without_aside(text: str) -> tuple[str, str]:
    """What a marked clause states, and the remarks that follow it or stand in parentheses.

    >>> without_aside("18 apples (6 more) in all, because 20 - 2 = 18")
    ('18 apples  in all', ' (6 more), because 20 - 2 = 18')
    >>> without_aside("5 and since each holds 4 there are 20")[1]
    ''
    """
    match = _ASIDE.search(text, 1)
    if match is not None and match["word"] and _GOES_ON.search(text[: match.start()]):
        return text, ""
    part, rest = (text[: match.start()], text[match.start() :]) if match else (text, "")
    inner = "".join(f" {found[0]}" for found in _PARENTHESIS.finditer(part, 1))
    return part[:1] + _PARENTHESIS.sub("", part[1:]), inner + rest


def without_reason(text: str) -> tuple[str, str]:
    """What an unmarked sentence states, and the reason that it gives; nothing else in it is a remark."""
    match = _REASON.search(text, 1)
    if match is None or _GOES_ON.search(text[: match.start()]):
        return text, ""
    return text[: match.start()], text[match.start() :]


def claims(rest: str) -> str:
    """What remarks claim after all: what follows "so", "otherwise", "which makes", a second "if".

    >>> claims(" because each holds 4, so there are 20"), claims(" because 20 - 2 = 18")
    (' there are 20', '')
    """
    opening = _ASIDE.match(rest)
    word = (opening["word"] or opening["stop"] or "").lower() if opening else ""
    if opening and word in ("if", "after") and re.search(rf"\b{word}\b", rest[opening.end() :], re.IGNORECASE):
        return rest
    found = _CONSEQUENCE.search(rest)
    if word in ("which", ";"):
        equated = _EQUATED.search(rest)
        found = min(filter(None, (found, equated)), key=lambda match: match.start(), default=None)
    return _COMPARED.sub("", rest[found.end() :]) if found else ""
