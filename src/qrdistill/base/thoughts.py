"""What a model thought, apart from what it answered: the tags in use, and the form in which a thought is taught.

A thought stands at the reply's beginning between an opening and a closing tag. The opening one may be missing,
because the chat template had written it into the prompt; the closing one, because the reply was cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

Thinking = Literal["drop", "keep", "only"]

# (opening, closing); the first pair is the form in which thoughts are taught
TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
_SIGNS = ("<", "[/THINK]", "[THINK]", "◁")  # without any of them a text holds no tag: looked for first, being quick
# a tag in backticks is spoken about, not used
_OPEN = re.compile("(?<!`)(?:" + "|".join(re.escape(tag) for tag, _ in TAGS) + ")")
_CLOSE = re.compile("(?<!`)(?:" + "|".join(re.escape(tag) for _, tag in TAGS) + ")")
_OPENED = re.compile("(" + "|".join(re.escape(tag) for tag, _ in TAGS) + r")\s*\Z")


class Parted(NamedTuple):
    """thought: without its tags, empty where there is none. ended: whether the thought came to its end."""

    thought: str
    answer: str
    ended: bool = True


def part(text: str, thought: str = "") -> Parted:
    """A reply in its two parts; `thought` is what the server gave in a field of its own.

    A text without tags is given back as it is, blanks included.

    >>> part("<think>3 + 4</think>It is 7.")
    Parted(thought='3 + 4', answer='It is 7.', ended=True)
    >>> part("3 + 4[/THINK] It is 7."), part("<thought>3 + ")
    (Parted(thought='3 + 4', answer='It is 7.', ended=True), Parted(thought='3 +', answer='', ended=False))
    """
    if not any(sign in text for sign in _SIGNS):
        return Parted(thought.strip(), text)
    thoughts, rest, ended = [thought.strip()], text, True
    while ended:
        begun = rest.lstrip()
        opening = _OPEN.match(begun)
        inside = begun[opening.end() :] if opening else rest
        closing = _CLOSE.search(inside)
        if not opening and (rest is not text or not closing or _OPEN.search(rest, 0, closing.start())):
            break  # no thought, or tags that stand within the text
        found = (inside[: closing.start()] if closing else inside).strip()
        if found not in thoughts:  # some servers send it twice
            thoughts.append(found)
        rest, ended = (inside[closing.end() :].lstrip(), True) if closing else ("", False)
    return Parted("\n\n".join(filter(None, thoughts)), rest, ended)


def taught(thought: str, answer: str) -> str:
    """Thought and answer as one text to learn.

    >>> taught("3 + 4", "It is 7.")
    '<think>\\n3 + 4\\n</think>\\n\\nIt is 7.'
    """
    opening, closing = TAGS[0]
    return f"{opening}\n{thought}\n{closing}\n\n{answer}"


def decoded(tokenizer: Any, ids: Sequence[int], **settings: Any) -> str:
    """The text of tokens without special ones, but for those that are tags of a thought."""
    tags = {tag for pair in TAGS for tag in pair}
    added: dict[int, Any] = getattr(tokenizer, "added_tokens_decoder", {})
    kept = {id: token.content for id, token in added.items() if token.special and token.content in tags}
    texts: list[str] = []
    start = 0
    for place in [place for place, id in enumerate(ids) if id in kept] if kept else ():
        texts += [tokenizer.decode(list(ids[start:place]), skip_special_tokens=True, **settings), kept[ids[place]]]
        start = place + 1
    return "".join([*texts, tokenizer.decode(list(ids[start:]), skip_special_tokens=True, **settings)])


class Begun(NamedTuple):
    """A response that goes on where the prompt opened a thought. text: what is learnt. kept: (start in `text`, end,
    start in the response as it was given) of its thought and of its answer."""

    text: str
    kept: tuple[tuple[int, int, int], ...]

    def span(self, first: int, last: int) -> tuple[int, int]:
        """The characters of the response that [first, last) of the text writes; none for the closing tag."""
        at = 0
        for start, end, place in self.kept:
            if max(first, start) < min(last, end):
                return max(first, start) - start + place, min(last, end) - start + place
            at = place if first >= start else at
        return at, at


def begun(response: str, opening: str, closing: str) -> Begun:
    """A response for a prompt that ends in `opening`: its own thought, or none, then `closing`.

    >>> begun("It is 7.", "<think>\\n", "</think>").text
    '\\n</think>\\n\\nIt is 7.'
    >>> begun(taught("3 + 4", "It is 7."), "[THINK]", "[/THINK]").text
    '\\n3 + 4\\n[/THINK]\\n\\nIt is 7.'
    """
    thought, answer, _ = part(response)
    at = response.find(thought)
    if not thought or at < 0:
        thought, answer, at = "", response, 0
    before = "" if opening.endswith("\n") else "\n"
    lead = f"{before}{thought}\n{closing}\n\n"
    thinks = len(before), len(before) + len(thought), at
    answers = len(lead), len(lead) + len(answer), len(response) - len(answer)
    return Begun(lead + answer, (thinks, answers))


def opened(prompt: str) -> tuple[str, str] | None:
    """The thought that a prompt's end has opened: what it wrote from the tag on, and the tag that closes it.

    >>> opened("user: 3 + 4?\\nassistant:<think>\\n")
    ('<think>\\n', '</think>')
    """
    found = _OPENED.search(prompt)
    return (found[0], dict(TAGS)[found[1]]) if found else None
