"""The rule judge: reads a question and a path as text, and checks what the path claims.

It recomputes every equation, in signs, in words and in program lines; asks of every operand where
it comes from (the question, an animal's legs, an earlier result); compares stated facts with what
the lab's world holds true; and wants the answer to be what the last step computed. It does not
ask whether a step was needed: a true but needless one passes (about 2 % of the spurious paths).

Only claims are read. A path that calls itself valid, or imitates a verdict, claims nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from qrdistill.base.records import Outcome, Question
from qrdistill.lab.config import LabJudge
from qrdistill.lab.knowledge import TRUE_SENTENCES
from qrdistill.lab.render import OPENINGS, WORDS
from qrdistill.lab.templates import LEGS, apply
from qrdistill.verdicts.judges.judge import Judgement

_SIGNS = {**{sign: sign for sign in "+-*/"}, "//": "/", **{word: sign for sign, word in WORDS.items()}}
_OPERAND = r"\d+|[a-z]"
_CLAIM = re.compile(
    rf"(?P<variable>\b[a-z]) = (?P<left>{_OPERAND}) (?P<operator>\+|-|\*|//|/) (?P<right>{_OPERAND})"
    r" # (?P<result>\d+)\b"
    r"|\b(?P<left2>\d+) (?P<operator2>\+|-|\*|/|plus|minus|times|divided by) (?P<right2>\d+)"
    r"(?: = |,? which is | is | makes )(?P<result2>\d+)\b"
)
# what looks like arithmetic on at least one number
_FRAGMENT = re.compile(
    r"\S*\d\S* ?(?:\+|-|\*|/|=|plus|minus|times|divided|makes)|(?:\+|-|\*|/|=|plus|minus|times|by|makes) ?\d+"
)
_ANSWER = re.compile(r"\bThe answer is (-?\d+)\.?$")
_CHECK = re.compile(r"^Check:", re.MULTILINE)


class Finding(NamedTuple):
    outcome: Outcome
    reason: str
    quote: str | None = None


@dataclass(frozen=True)
class _Claim:
    left: str
    operator: str
    right: str
    result: int
    variable: str | None
    quote: str


class LabJudgeImplementation:
    """A judge (see `verdicts.judges.judge`). With probability `error_rate` its vote is turned around.

    The coin is tossed by seed, judge, question, path text and vote: the same path gets the same
    verdict in every run, and votes err independently.
    """

    Config = LabJudge

    def __init__(self, config: LabJudge, *, seed: int) -> None:
        self._config, self._seed = config, seed

    def judge(self, question: Question, text: str, vote: int) -> Judgement:
        finding = examine(question.question, text)
        coin = Random(f"judge {self._seed} {self._config.name} {vote} {question.question} {text}").random()
        if finding.outcome == "undecided" or coin >= self._config.error_rate:
            return Judgement(finding.outcome, finding.reason, quote=finding.quote)
        if finding.outcome == "keep":
            return Judgement("drop", "a step looks wrong", quote=text.splitlines()[0])
        return Judgement("keep", "every step holds")


def examine(question: str, text: str) -> Finding:
    """What the rules say of a path.

    >>> examine("Compute 9 + 4 - 1.", "Solution: 9 plus 4 is 14 and 13 minus 1 is 12.\\nThe answer is 12.").reason
    '9 plus 4 is not 14'
    """
    answer = _ANSWER.search(text.rstrip())
    if answer is None:
        return Finding("undecided", "the path does not end with an answer")
    body = text[: answer.start()]
    false = _false_fact(body)
    if false is not None:
        return Finding("drop", "a stated fact does not hold", false)
    check = _CHECK.search(body)
    forward, backward = (body[: check.start()], body[check.start() :]) if check else (body, "")

    known = _stated(question)
    variables: dict[str, int] = {}
    last: int | None = None
    for part, looks_back in ((forward, False), (backward, True)):
        for claim in _claims(part):
            if isinstance(claim, str):
                return Finding("undecided", "a step cannot be read", claim)
            values: list[int] = []
            for operand in (claim.left, claim.right):
                if operand.isalpha() and operand not in variables:
                    return Finding("drop", f"{operand} has no value", claim.quote)
                value = variables[operand] if operand.isalpha() else int(operand)
                if value not in known:
                    return Finding("drop", f"{value} comes from nowhere", claim.quote)
                values.append(value)
            if apply(claim.operator, values[0], values[1]) != claim.result:
                stated = f"{claim.left} {_word(claim)} {claim.right}"
                return Finding("drop", f"{stated} is not {claim.result}", claim.quote)
            if looks_back and claim.result not in known:
                return Finding("drop", f"checking leads to {claim.result}, which is not given", claim.quote)
            known.add(claim.result)
            if claim.variable:
                variables[claim.variable] = claim.result
            if not looks_back:
                last = claim.result
    if last is None:
        return Finding("undecided", "the path shows no step that could be checked")
    printed = re.search(r"\bprint\((\w+)\)", forward)
    if printed and variables.get(printed.group(1)) != last:
        return Finding("drop", "the program prints something else", printed.group())
    if last != int(answer.group(1)):
        return Finding("drop", f"the steps lead to {last}, not to the answer", answer.group())
    return Finding("keep", "every step holds")


def _word(claim: _Claim) -> str:
    return WORDS[claim.operator]


def _stated(question: str) -> set[int]:
    """The numbers that a solution may start from: the question's, and the legs of its animals."""
    numbers = {int(number) for number in re.findall(r"\d+", question)}
    words = set(re.findall(r"[a-z]+", question.lower()))
    return numbers | {legs for animal, legs in LEGS.items() if words & {animal, f"{animal}s"}}


def _claims(text: str) -> Iterator[_Claim | str]:
    """Every equation in order; a bare string for what looks like one and cannot be read."""
    end = 0
    for match in _CLAIM.finditer(text):
        if unreadable := _FRAGMENT.search(text, end, match.start()):
            yield unreadable.group()
        end = match.end()
        groups = match.groupdict()
        second = "" if groups["left"] else "2"
        yield _Claim(
            left=groups[f"left{second}"],
            operator=_SIGNS[groups[f"operator{second}"]],
            right=groups[f"right{second}"],
            result=int(groups[f"result{second}"]),
            variable=groups["variable"],
            quote=match.group(),
        )
    if unreadable := _FRAGMENT.search(text, end):
        yield unreadable.group()


def _false_fact(text: str) -> str | None:
    """The first sentence after `Facts:` that the lab's world does not hold true."""
    for line in text.splitlines():
        if line.startswith(f"{OPENINGS['facts']}:"):
            for sentence in line.partition(":")[2].split("."):
                if sentence.strip() and sentence.strip() not in TRUE_SENTENCES:
                    return sentence.strip()
    return None
