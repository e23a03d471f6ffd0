"""Which style a freely written text is in.

A text that was written without a style hint still has a form. Two signs are read, in this order:
the word it opens with (the scripted teacher's paths open with a word that names their style, and many teachers'
do), and whether it resembles what the same student wrote for the same question when prompted with a style.
Neither: "unknown". It describes; no score depends on it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping

from qrdistill.base.thoughts import part

UNKNOWN = "unknown"
_SIMILAR = 0.6  # Jaccard similarity of word pairs from which two texts are in one form

# opening words per style; a style that is not listed is recognised by its own name
OPENINGS: dict[str, tuple[str, ...]] = {
    "vanilla": ("vanilla", "solution", "directly", "direct"),
    "chain_of_thought": ("chain", "steps", "step", "first"),
    "tree_of_thoughts": ("tree", "approaches", "approach", "options", "option", "plans", "plan", "ways"),
    "program": ("program", "code", "python", "def"),
    "backward": ("backward", "backwards", "guess", "propose", "verify", "check"),
    "facts": ("facts", "fact", "recall", "knowledge"),
}
_WORD = re.compile(r"[a-z]+")


def style_of(text: str, styles: Collection[str], styled: Mapping[str, str] | None = None) -> str:
    """The style `text` is written in, or UNKNOWN.

    `styled` maps a style to what the same student wrote for the same question when prompted with that style.

    >>> style_of("Facts: a cow has 4 legs.", ["program", "facts"])
    'facts'
    >>> style_of("Well, 2 + 2 = 4", ["program", "facts"])
    'unknown'
    >>> style_of("<think>Facts: a cow has 4 legs.</think> It is 4.", ["program", "facts"])
    'facts'
    """
    text = " ".join(part(text)[:2])
    words = _WORD.findall(text.lower()[:200])
    if words:
        for style in styles:
            known = OPENINGS.get(style, (style.split("_")[0],))
            if words[0] in known:
                return style
    shares = sorted(((_similarity(text, other), style) for style, other in (styled or {}).items()), reverse=True)
    if shares and shares[0][0] >= _SIMILAR and (len(shares) == 1 or shares[0][0] > shares[1][0]):
        return shares[0][1]
    return UNKNOWN


def _similarity(first: str, second: str) -> float:
    a, b = _pairs(first), _pairs(second)
    return len(a & b) / len(a | b) if a | b else 0.0


def _pairs(text: str) -> set[tuple[str, str]]:
    words = text.lower().split()
    return set(itertools.pairwise(words))
