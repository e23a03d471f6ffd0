"""Answers out of a fixed set of labels: yes or no; entailment, neutral or contradiction.

Labels are whole words: "known" holds no "no".
"""

from __future__ import annotations

import re

from qrdistill.answers.comparer import NOTHING, Comparer, Reading, Same
from qrdistill.answers.kinds.text import bare
from qrdistill.answers.statements import Closing, Statement
from qrdistill.base.records import Question

# --- yes or no ------------------------------------------------------------------------------------

_YES_NO = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_SO = r"(?:(?:so|therefore|thus|hence|then|overall|finally|in (?:conclusion|short|summary)|well|and)\b,?\s*)*"
_FIRST = re.compile(
    rf"^{_SO}(?:(?:definitely|certainly|clearly|probably|likely|most likely|a|simply|indeed)\s+)?['\"]?(?P<word>yes|no|true|false)\b['\"]?(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_SUBJECT = re.compile(
    r"^\s+(?:it|he|she|they|you|we|i|because|since|as|the|this|that|these|there|not|most|in|for|a|an)\b",
    re.IGNORECASE,
)
_BOTH = re.compile(r"^\W*(?:and|or|/|but also)\W*(?:yes|no|true|false)\b", re.IGNORECASE)
_LAST = re.compile(r"(?:^|[,:;–—-]\s*|\b(?:is|be)\s+)['\"]?(?P<word>yes|no|true|false)['\"]?\s*[.!]*$", re.IGNORECASE)
_CLAIM = re.compile(
    r"\b(?:statement|claim|it|this|that|hypothesis)\s+is\s+(?:indeed\s+|therefore\s+|thus\s+)?(?P<word>true|false)\b",
    re.IGNORECASE,
)
_OPEN = re.compile(
    r"\b(?:unknown|unclear|undetermined|unanswerable|cannot|can't|depends|maybe|perhaps|possibly|not sure|yes and no|yes or no|either)\b",
    re.IGNORECASE,
)
_NOT = re.compile(rf"^{_SO}not\b", re.IGNORECASE)


def read_yes_no(question: Question, statement: Statement) -> Reading:
    return _yes_no(statement.text)


def _yes_no(text: str) -> Reading:
    text = bare(text)
    match = _FIRST.match(text)
    if match:
        rest = match["rest"]
        if _BOTH.match(rest):
            return Reading(None, "both yes and no are stated", final=True)
        word = match["word"].lower()
        if word != "no" or not rest.strip() or not rest[0].isspace() or _SUBJECT.match(rest):
            return Reading(_YES_NO[word])
        return NOTHING  # "no one", "no idea": a determiner
    if _NOT.match(text) or _OPEN.search(text[:80]):
        return Reading(None, f"neither yes nor no is asserted: {text[:60]!r}", final=True)
    return NOTHING


def close_yes_no(question: Question, end: Closing) -> Reading:
    """The first word or the last sentence; where both speak and differ, undecided."""
    if end.sentence.endswith("?"):
        return Reading(None, "the completion ends in a question")
    found: list[str] = []
    for text in (end.opening, end.bold or "", end.sentence):
        reading = _yes_no(text)
        if reading.answer is not None:
            found.append(reading.answer)
        elif reading.final and text == end.sentence:
            return reading
    for pattern in (_LAST, _CLAIM):
        if match := pattern.search(bare(end.sentence)):
            negated = re.search(r"\bnot\s+$", end.sentence[: match.start("word")])
            if not negated:
                found.append(_YES_NO[match["word"].lower()])
    if not found:
        return Reading(None, "neither yes nor no is stated")
    if len(set(found)) > 1:
        return Reading(None, "both yes and no are stated")
    return Reading(found[0])


# --- natural language inference -------------------------------------------------------------------

_LABELS = {
    "entailment": re.compile(r"\bentail(?:s|ed|ment|ments)?\b", re.IGNORECASE),
    "contradiction": re.compile(r"\bcontradict(?:s|ed|ion|ions|ory)?\b", re.IGNORECASE),
    "neutral": re.compile(r"\bneutral(?:ity)?\b", re.IGNORECASE),
}
_WHOLE = {
    "true": "entailment",
    "false": "contradiction",
    "neither": "neutral",
    "undetermined": "neutral",
    "inconclusive": "neutral",
}
_NEITHER = re.compile(r"\bneither\b.*\bnor\b|\bneither\b[^.]*\bentail\w*\s+or\s+contradict", re.IGNORECASE | re.DOTALL)
_NEGATION = re.compile(
    r"\b(?:not|no|non|cannot|never|without|rather than|instead of|fails?|failed|unable|hardly)\b|n't\b",
    re.IGNORECASE,
)


_TURNED = re.compile(r"\b(?:opposite|negation|contrary)\b", re.IGNORECASE)


def read_nli(question: Question, statement: Statement) -> Reading:
    return _nli(statement.text)


def _nli(text: str) -> Reading:
    text = bare(text)
    whole = text.casefold().strip("()[] ")
    if whole in _WHOLE:
        return Reading(_WHOLE[whole])
    if _NEITHER.search(text):
        return Reading("neutral")
    named = {label: match for label, pattern in _LABELS.items() if (match := pattern.search(text))}
    if not named:
        return NOTHING
    if _TURNED.search(text):
        return Reading(None, f"the label is turned around: {text[:60]!r}", final=True)
    if len(named) > 1:
        return Reading(None, f"several labels are named: {', '.join(named)}", final=True)
    label, match = next(iter(named.items()))
    if _NEGATION.search(text[: match.start()]):
        return Reading(None, f"the label is not asserted: {text[:60]!r}", final=True)
    return Reading(label)


def close_nli(question: Question, end: Closing) -> Reading:
    """The end, or a first line that is a label by itself; where they differ, undecided."""
    last = _last_label(end)
    if bare(end.opening).casefold() not in (*_LABELS, *_WHOLE):
        return last
    first = _nli(end.opening)
    if last.answer not in (None, first.answer):
        return Reading(None, f"{first.answer} is stated first and {last.answer} last")
    return first if last.answer is None and not last.final else last


def _last_label(end: Closing) -> Reading:
    for text in (end.line, end.bold or ""):
        if bare(text).casefold() in (*_LABELS, *_WHOLE):
            return _nli(text)
    reading = _nli(end.sentence)
    return reading if reading != NOTHING else Reading(None, "no label is stated")


def same(question: Question, gold: str, answer: str) -> Same:
    return Same("correct") if gold == answer else Same("wrong", f"{answer} is not {gold}")


def canonical(question: Question, answer: str) -> str:
    return answer


YES_NO = Comparer(read_yes_no, close_yes_no, same, canonical, "The answer is {}.", "yes or no")
NLI = Comparer(read_nli, close_nli, same, canonical, "The answer is {}.", "entailment, neutral or contradiction")
