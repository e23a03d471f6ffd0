"""What a model thought, apart from what it answered: the tags in use, and the form in which a thought is taught.

A thought stands at the reply's beginning between an opening and a closing tag. The opening one may be missing,
because the chat template had written it into the prompt; the closing one, because the reply was cut.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

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


def opened(prompt: str) -> tuple[str, str] | None:
    """The thought that a prompt's end has opened: what it wrote from the tag on, and the tag that closes it.

    >>> opened("user: 3 + 4?\\nassistant:<think>\\n")
    ('<think>\\n', '</think>')
    """
    found = _OPENED.search(prompt)
    return (found[0], dict(TAGS)[found[1]]) if found else None
