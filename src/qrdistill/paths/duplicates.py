"""Near duplicates: five samples of one thought are not five paths.

Similarity is the Jaccard index of two texts' sets of word 3-grams, computed exactly. Paths are only
compared within one question, where there are tens of them; at that size counting a sketch (MinHash)
costs more than the exact index (measured: 30 paths of 100 words for each of 200 questions, 1.5 s with
datasketch's MinHash against 0.55 s), and an estimate would be off by 0.03 just where it decides.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from qrdistill.base.records import ReasoningPath

_WORDS = re.compile(r"\w+|[^\w\s]")
_ASCII_WORDS = re.compile(r"[a-z0-9_]+|[^a-z0-9_\s]")  # the same of an ASCII text, faster
_GRAM = 3


def near_duplicates(paths: Iterable[ReasoningPath], threshold: float) -> dict[str, str]:
    """Path id -> the id of the earlier path of the same question that it repeats.

    Paths are compared in the order given, within one question, whatever their style or teacher; the
    first of a group is never listed, and every other names a path that is kept. `threshold` is a
    Jaccard similarity from 0 to 1; 1 finds texts with the same set of 3-grams only.

    >>> one, two = (
    ...     ReasoningPath(id=id, question_id="q", teacher="t", style="s", prompt_hash="", answer=None, text=text)
    ...     for id, text in {"a": "2 + 2 is 4. The answer is 4.", "b": "2 + 2 is 4. The answer is 4!"}.items()
    ... )
    >>> near_duplicates([one, two], 0.7)
    {'b': 'a'}
    """
    kept: defaultdict[str, list[tuple[str, frozenset[str]]]] = defaultdict(list)
    repeats: dict[str, str] = {}
    for path in paths:
        grams = word_grams(path.lesson)
        earlier = next((id for id, other in kept[path.question_id] if _reaches(grams, other, threshold)), None)
        if earlier is None:
            kept[path.question_id].append((path.id, grams))
        else:
            repeats[path.id] = earlier
    return repeats


def _reaches(one: frozenset[str], other: frozenset[str], threshold: float) -> bool:
    """|one n other| >= threshold * |one u other|, without building the union."""
    if min(len(one), len(other)) < threshold * max(len(one), len(other)):
        return False
    shared = len(one & other)
    return shared >= threshold * (len(one) + len(other) - shared)


def word_grams(text: str) -> frozenset[str]:
    """The set of word 3-grams, lower case; a text of fewer words is one gram.

    >>> sorted(word_grams("So 3 + 4"))
    ['3 + 4', 'so 3 +']
    """
    lower = text.lower()
    words = (_ASCII_WORDS if lower.isascii() else _WORDS).findall(lower)
    if len(words) <= _GRAM:
        return frozenset([" ".join(words)])
    return frozenset(map(" ".join, zip(*(words[start:] for start in range(_GRAM)), strict=False)))
