r"""Where a completion states its answer: `\boxed{}`, "the answer is", `####`, JSON, `<answer>`.

A statement is text that someone wrote in an answer's place; what it means is for the comparers.
Nothing here guesses: a completion that marks no answer yields only what `closing` finds, its last
line and its last sentence, and the comparers decide under stricter rules whether that states one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Statement:
    """`how`: boxed | marker | hashes | json | tag. `start` orders them; the last one counts."""

    text: str
    how: str
    start: int
    end: int


_MARKER = re.compile(  # the first two tests are cheap and rule out most places: three times as fast
    r"\b(?=[acfo])(?<!to )(?<!can )(?<!not )(?<!an )(?<!wrong )(?<!incorrect )(?:answers?|(?:final|overall)\s+(?:result|solution)|"
    r"(?:(?<=correct )|(?<=right )|(?<=best ))(?:option|choice))\b"
    r"(?:\s+(?:choice|option|letter|value))?(?:\s*\([^()\n]{0,40}\))?(?:\s+(?:to|for|of|in)\b[^.\n:=]{0,80}?)?"
    r"(?:\*{1,2}|_{1,2})?"
    r"(?:\s*[:=]|\s+(?:(?:should|must|would|will|has\s+to)\s+(?:therefore\s+)?be|equals|is|are)\b)",
    re.IGNORECASE,
)
_MARKER_WORDS = ("answer", "final", "overall", "option", "choice")  # each match begins with one of them
_HEADING = re.compile(r"^[#*_\s]*(?:the\s+)?(?:final\s+)?answer[*_\s]*$", re.IGNORECASE | re.MULTILINE)
_HASHES = re.compile(r"(?<!#)####(?!#)[ \t]*(\S[^\n]*)")
_JSON = re.compile(r"""["'](?:final_?)?answer["']\s*:\s*""", re.IGNORECASE)
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?=\{|[^\s{])")
_DENIED = re.compile(r"\bnot\b[\s$]*$")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_JOIN = re.compile(r"(?:[\s,$;]|\\q?quad|\\[()\[\]]|\\text\s*\{\s*(?:and|or)\s*\}|\band\b|\bor\b)*")
_FILLER = re.compile(
    r"(?:[\s:*_=>-]*(?:therefore|thus|then|hence|so|indeed|simply|clearly|actually|equal to|exactly|just|now|also|"
    r"probably|most likely|likely|still)\b,?)*",
    re.IGNORECASE,
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:Dr|Mr|Mrs|Ms|St|Jr|Sr|No|vs|etc|approx|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|ft|in|oz|lbs?|sq)|\b[A-Za-z]|\be\.g|\bi\.e)\.$"
)
_SHORT_MONTH = re.compile(r"\b(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.$")
_FACE = re.compile(r":[()](?=[\s.]|$)")
_NUMBER_FOLLOWS = re.compile(r"(?<=\d)\.[^\w\n]+(?=\d)")  # "7. 5": a sentence's end, a list's number or 7.5
_LIST = re.compile(r"1[.)](?:\*{2}|__)?\s+(?=\S)")  # a list's first number is no answer
_BREAK = re.compile(r"[.!?](?=[\s\"'*)\]$]|\\[)\]]|$)|\n")
_CLAUSE_AT_MOST = 600  # characters of a stated clause
_END_AT_MOST = 4000  # characters at either end of a completion that states nothing
_DECORATION = " \t\r\n*_`"


def statements(completion: str) -> list[Statement]:
    r"""Every stated answer, in the order in which the statements end.

    >>> [found.text for found in statements(r"The answer is 5. No: \boxed{\frac{1}{2}}")]
    ['5', '\\frac{1}{2}']
    """
    found = [*_boxed(completion), *_marked(completion), *_json(completion), *_tagged(completion)]
    found += [
        Statement(match[1].strip(_DECORATION), "hashes", match.start(), match.end())
        for match in (_HASHES.finditer(completion) if "####" in completion else ())
    ]
    # A marker that introduces a box, a tag or JSON states the same answer once, the inner one.
    inner = [s for s in found if s.how not in ("marker", "hashes")]
    spans = [(s.start, s.end) for s in inner]
    outer = [
        s
        for s in found
        if s.how in ("marker", "hashes")
        and s.text
        and not any((s.start <= a and b <= s.end) or a <= s.start < b for a, b in spans)
    ]
    return sorted((s for s in [*inner, *outer] if s.text), key=lambda s: (s.end, s.start))


def _boxed(text: str) -> Iterator[Statement]:
    r"""`\boxed{...}` with nested braces; boxes joined by "and" or commas are one statement."""
    group: list[str] = []
    first = last = 0
    if "\\boxed" not in text and "\\fbox" not in text:
        return
    ends = closing_braces(text)
    for match in _BOXED.finditer(text):
        if match.start() < last:
            continue  # a box within a box
        if text[match.end() : match.end() + 1] == "{":
            end = ends.get(match.end())
            content = text[match.end() + 1 : end - 1] if end else None
        else:
            end, content = match.end() + 1, text[match.end()]
        if end is None or content is None or _DENIED.search(text, max(0, match.start() - 20), match.start()):
            continue  # cut off, or said not to be the answer
        if (
            group
            and _JOIN.fullmatch(text, last, match.start())
            and any(w in text[last : match.start()] for w in (",", "and", "or"))
        ):
            group.append(content)
        else:
            if group:
                yield Statement(", ".join(group), "boxed", first, last)
            group, first = [content.strip()], match.start()
        last = end
    if group:
        yield Statement(", ".join(group), "boxed", first, last)


def closing_braces(text: str) -> dict[int, int]:
    """Each opening brace that is closed, with the index after its closing one; escaped ones are text."""
    ends: dict[int, int] = {}
    open_braces: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            open_braces.append(match.start())
        elif match[0] == "}" and open_braces:
            ends[open_braces.pop()] = match.end()
    return ends


def _tagged(text: str) -> Iterator[Statement]:
    """`<answer>...</answer>`, lines and inner spaces kept."""
    if "<" not in text:
        return
    opening: re.Match[str] | None = None
    for match in _TAG.finditer(text):
        if not match[1]:
            opening = match
        elif opening is not None:
            yield Statement(text[opening.end() : match.start()].strip(), "tag", opening.start(), match.end())
            opening = None


def _marked(text: str) -> Iterator[Statement]:
    matches = sorted([*_markers(text), *_HEADING.finditer(text)], key=lambda match: match.start())
    for match in matches:
        filler = _FILLER.match(text, match.end())
        clause, end = _clause(text, filler.end() if filler else match.end())
        if not clause:  # the filler was the answer: "The answer is so."
            clause, end = _clause(text, match.end())
        if text[end : end + 1] != "?":
            yield Statement(clause, "marker", match.start(), end)


def _markers(text: str) -> Iterator[re.Match[str]]:
    """`_MARKER.finditer`, tried only where one of its words stands."""
    if not text.isascii():
        yield from _MARKER.finditer(text)
        return
    lower, end = text.lower(), 0
    for place in sorted(place for word in _MARKER_WORDS for place in _places(lower, word)):
        if place >= end and (match := _MARKER.match(text, place)):
            yield match
            end = match.end()


def _places(text: str, word: str) -> Iterator[int]:
    place = text.find(word)
    while place >= 0:
        yield place
        place = text.find(word, place + 1)


def _clause(text: str, start: int) -> tuple[str, int]:
    """The rest of the sentence that begins at `start` (of the next line where this one is empty)."""
    opened = start
    while start < len(text) and (text[start].isspace() or text[start] in "*_:`") and not _FACE.match(text, start):
        start += 1
    if "\n" in text[opened:start] and text[start : start + 2] in ("- ", "• "):
        start += 2
    if (item := _LIST.match(text, start)) is not None and re.search(r"(?:^|\s)2[.)]\s", text[item.end() :]):
        return text[start : start + _CLAUSE_AT_MOST].strip(_DECORATION), min(len(text), start + _CLAUSE_AT_MOST)
    if item is not None and ("\n" in text[opened:start] or item[0].rstrip()[-1] in "*_"):
        start = item.end()
    for opening, closing in (("\\[", "\\]"), ("$$", "$$"), ("\\(", "\\)")):
        if text.startswith(opening, start):
            end = text.find(closing, start + 2)
            if end >= 0:
                return text[start + 2 : end].strip(), end + 2
    if text.startswith("```", start):
        start = text.find("\n", start) + 1 or len(text)
    limit = min(len(text), start + _CLAUSE_AT_MOST)
    end = start
    for match in _BREAK.finditer(text, start, limit):
        end = match.start()
        head = text[start : match.end()]
        if match[0] == "." and (
            _ABBREVIATION.search(head[-7:]) and match.end() < len(text) and text[match.end()] == " " and not _ends(head)
        ):
            continue
        if _NUMBER_FOLLOWS.match(text, end) or (_inside_math(text[start:end]) and match[0] != "\n"):
            continue
        break
    else:
        end = limit
    return text[start:end].strip(_DECORATION), end


def _ends(head: str) -> bool:
    """A lone capital after "is" is an option letter, not an initial: "The answer is B. It ..."."""
    return len(head.strip(_DECORATION + "(")) <= 2


def _inside_math(text: str) -> bool:
    return text.count("$") % 2 == 1 and text.count("$") >= 1 and "\\" in text


def _json(text: str) -> Iterator[Statement]:
    if '"' not in text and "'" not in text:
        return
    decoder = json.JSONDecoder()
    for match in _JSON.finditer(text):
        try:
            value, end = decoder.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            single = re.compile(r"'([^'\n]*)'").match(text, match.end())
            if single:
                yield Statement(single[1].strip(), "json", match.start(), single.end())
            continue
        shown = _json_text(value)
        if shown is not None:
            yield Statement(shown, "json", match.start(), end)


def _json_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list) and value:
        parts = [_json_text(part) for part in value]
        return None if None in parts else ", ".join(part for part in parts if part is not None)
    return None


@dataclass(frozen=True)
class Closing:
    """What an unmarked completion ends with (and, for yes and no, how it opens)."""

    line: str
    bold: str | None
    sentence: str
    opening: str = ""  # the first line


_BOLD = re.compile(r"\*\*([^*\n]+)\*\*|__([^_\n]+)__")


_HOPE = re.compile(r"\s*I hope (?:it|this|that) is correct\.?$")  # the closing words of a common prompt
_DISPLAY = re.compile(r"(?:\\\[(?:(?!\\\[).)*\\\]|(?<!\$)\$\$[^$]*\$\$)\.?$", re.DOTALL)
_TURN_END = re.compile(
    r"(?<=\S)\s*(?:<\|(?:im_start|im_end|eot_id|endoftext|end|eom_id)\|>|</s>|<end_of_turn>|<eos>).*",
    re.DOTALL,
)


_NEXT_QUESTION = re.compile(
    r"^[ \t]*(?:#{1,4}[ \t]*|\*\*)?(?:Question|Q|User|Human|Instruction)(?:\*\*)?[ \t]*:|<start_of_turn>|\[INST\]|<\|user\|>"
    r"|<\|start_header_id\|>",
    re.MULTILINE,
)


def own_turn(completion: str) -> str:
    """The completion up to where its turn ends: what follows a chat marker, or another question that the model
    asks itself, is no longer the answer.

    >>> own_turn("The answer is 5.<|im_end|> The answer is 6.")
    'The answer is 5.'
    >>> own_turn("The answer is 5.\\nQuestion: And 3 + 3? The answer is 6.")
    'The answer is 5.'
    """
    text = _TURN_END.sub("", completion, count=1) if "<" in completion else completion
    for found in _NEXT_QUESTION.finditer(text):
        before = text[: found.start()].rstrip()
        # a text that asks itself from the start (self-ask) goes on until it has stated an answer
        if before and (not _NEXT_QUESTION.search(before) or statements(before)):
            return before
    return text


def cut_short(completion: str) -> bool:
    """Whether a completion that its token limit cut states an answer that may have been cut too: only a
    marked answer with more text after it is whole.

    "Answer: 1. He" may open a list, so it is not whole either.

    >>> [cut_short(text) for text in ("He wants to see 1", "The answer is 1", "The answer is 18. So", r"\\boxed{18}")]
    [True, True, False, False]
    """
    stated = statements(completion)
    if not stated:
        return True
    last = stated[-1]
    if last.how == "marker" and last.text.strip("(") == "1" and _LIST.match(f"1{completion[last.end :]}"):
        return True
    closed = last.how in ("boxed", "tag") and completion[last.end - 1 : last.end] in ("}", ">")
    more = completion[last.end :].strip(_DECORATION + ".,!")
    marker = [match.end() for match in _MARKER.finditer(completion)][-1:]
    return bool(marker and not completion[marker[0] :].strip(_DECORATION + ":$\\[({")) or not (closed or more)


def closing(completion: str) -> Closing:
    """The end of a completion.

    >>> closing("3 + 4 = 7.\\nSo she has **7** apples.")
    Closing(line='So she has **7** apples.', bold='7', sentence='So she has **7** apples.', opening='3 + 4 = 7.')
    """
    opening = completion.lstrip()[:_END_AT_MOST].partition("\n")[0].strip()
    text = _HOPE.sub("", completion.rstrip()[-_END_AT_MOST:]).rstrip()
    if (block := _DISPLAY.search(text)) is not None:
        text = text[: block.start()] + " ".join(block[0].split())
    line = text[text.rfind("\n") + 1 :].strip()
    bold = [match[1] or match[2] for match in _BOLD.finditer(line)]
    breaks = [
        match.end()
        for match in _BREAK.finditer(line)
        if match.end() < len(line)
        and not _SHORT_MONTH.search(line, 0, match.end())
        and not _NUMBER_FOLLOWS.match(line, match.start())
    ]
    sentence = line[breaks[-1] :].strip() if breaks else line
    return Closing(line, bold[-1].strip() if bold else None, sentence, opening)
