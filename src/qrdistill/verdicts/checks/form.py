"""Checks of a path's form, beyond right and wrong: length, script, an answer before its reasons."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from qrdistill.verdicts.open_case import Case, Finding

KEEP = Finding("keep")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\\(.*?\\\)|\\\[.*?\\\]", re.DOTALL)
_MAIN_SHARE = 0.2  # a script that so many of the question's letters have is the question's own
_FOREIGN_SHARE = 0.5  # more letters of other scripts than this, and the path is in another language
_FEW_LETTERS = 20
_OPENING_WORDS = 5


def over_long(limit: int) -> Callable[[Sequence[Case]], list[Finding]]:
    """Drops paths of more than `limit` characters."""

    def run(cases: Sequence[Case]) -> list[Finding]:
        return [
            Finding("drop", f"{len(case.path.lesson)} characters, more than filter.max_characters = {limit}")
            if len(case.path.lesson) > limit
            else KEEP
            for case in cases
        ]

    return run


@lru_cache(maxsize=1 << 14)
def _script(letter: str) -> str:
    name = unicodedata.name(letter, "").partition(" ")[0]
    return "KANA" if name in ("HIRAGANA", "KATAKANA") else name


def scripts(text: str) -> Counter[str]:
    """How many letters of each script a text has, code and formulas left out.

    >>> scripts("два + two `print`")
    Counter({'CYRILLIC': 3, 'LATIN': 3})
    """
    return Counter(_script(letter) for letter in _CODE.sub(" ", text) if letter.isalpha())


def language(cases: Sequence[Case]) -> list[Finding]:
    """Drops paths most of whose letters are in a script that the question is not written in.

    A teacher that falls into another language is caught where that has another script; English for
    French is not. Short texts pass: a formula's few letters say nothing.
    """
    return [_language(case.question.question, case.path.lesson) for case in cases]


def _language(question: str, text: str) -> Finding:
    asked, written = scripts(question), scripts(text)
    if written.total() < _FEW_LETTERS or not asked:
        return KEEP
    own = {script for script, count in asked.items() if count >= _MAIN_SHARE * asked.total()}
    if "KANA" in own:
        own.add("CJK")
    foreign = Counter({script: count for script, count in written.items() if script not in own})
    if foreign.total() <= _FOREIGN_SHARE * written.total():
        return KEEP
    most = foreign.most_common(1)[0][0].lower()
    return Finding("drop", f"mostly {most} letters; the question is in {', '.join(sorted(own)).lower()}")


def leak(cases: Sequence[Case]) -> list[Finding]:
    """Drops paths that state their final answer first and give reasons afterwards, or none at all.

    A student that learns from them learns to guess, then to justify the guess.
    """
    return [_leak(case) for case in cases]


def _leak(case: Case) -> Finding:
    from qrdistill.answers.check import canonical, extract
    from qrdistill.answers.statements import statements

    question, text = case.question, case.path.lesson
    if case.path.thinking == "keep" and case.path.thought:
        return KEEP
    stated = statements(text)
    if not stated:
        return KEEP
    before = text[: stated[0].start]
    if len(before.split()) > _OPENING_WORDS or re.search(r"[\d=]", before):
        return KEEP
    first = canonical(question, extract(question, text[: stated[0].end]).answer)
    if first is None or first != canonical(question, extract(question, text).answer):
        return KEEP
    return Finding("drop", f"states its answer ({first}) before any reasoning")
