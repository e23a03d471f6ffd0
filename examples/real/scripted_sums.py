"""A teacher for reasoning-gym's `chain_sum` ("98 + 93 - 77") that is wrong in known places.

It writes each question's solution in three styles and plants an error into a share of its paths (`WRONG`): one calculation
is off by a little, and what follows is computed from that. Every path follows from seed, teacher, question, style and sample.

Use: PYTHONPATH=examples/real qrdistill run examples/real/sums.yaml
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

from qrdistill.base.records import Question
from qrdistill.llm.config import TeacherBase
from qrdistill.paths.styles import Style
from qrdistill.paths.teachers import Draft

WRONG = {"vanilla": 0.22, "chain_of_thought": 0.12, "tens_and_ones": 0.19}  # style -> share of wrong paths


class SumsTeacher(TeacherBase):
    """It has no keys of its own."""

    kind: str
    """`scripted_sums:ScriptedSums`."""


class ScriptedSums:
    Config = SumsTeacher

    def __init__(self, config: SumsTeacher, *, base_dir: Path, seed: int, questions: Sequence[Question]) -> None:
        del base_dir, questions
        self._name, self._seed = config.name, seed

    def path(self, question: Question, style: Style, sample: int) -> Draft | None:
        """The path, with what was planted; None for a style that it does not write."""
        if style.name not in WRONG:
            return None
        draw = Random(f"{self._seed} {self._name} {question.id} {style.name} {sample}")
        if draw.random() >= WRONG[style.name]:
            return Draft(sound(question, style.name), truth=("sound", ""))
        calculations = sound(question, style.name).count("=") or 1  # vanilla: the answer itself
        step, slip = draw.randrange(calculations), draw.choice((-10, -2, -1, 1, 2, 10))
        return Draft(
            write(question.metadata["entry"]["metadata"]["expression"], style.name, step, slip),
            truth=("wrong", f"calculation {step + 1}"),
        )


def sound(question: Question, style: str) -> str:
    """The right solution."""
    return write(question.metadata["entry"]["metadata"]["expression"], style)


def write(expression: str, style: str, wrong_step: int | None = None, slip: int = 0) -> str:
    """One solution. `wrong_step`: the calculation, from 0, whose result is off by `slip`.

    >>> print(write("98 + 93 - 77", "chain_of_thought"))
    98 + 93 = 191
    191 - 77 = 114
    The answer is 114.
    >>> print(write("98 + 93 - 77", "tens_and_ones", 1, 2))
    tens: 90 + 90 - 70 = 110
    ones: 8 + 3 - 7 = 6
    110 + 6 = 116
    The answer is 116.
    """
    words = expression.split()
    terms = [int(f"{sign}{number}") for sign, number in zip(["+", *words[1::2]], words[::2], strict=True)]
    lines: list[str] = []

    def calculate(above: str, *parts: int) -> int:
        result = sum(parts) + (slip if len(lines) == wrong_step else 0)
        signed = [f"{'-' if part < 0 else '+'} {abs(part)}" for part in parts[1:]]
        lines.append(f"{above}{' '.join([str(parts[0]), *signed])} = {result}")
        return result

    if style == "tens_and_ones":
        ones = [abs(term) % 10 * (1 if term > 0 else -1) for term in terms]
        tens = [term - one for term, one in zip(terms, ones, strict=True)]
        total = calculate("", calculate("tens: ", *tens), calculate("ones: ", *ones))
    elif style == "chain_of_thought":
        total = terms[0]
        for term in terms[1:]:
            total = calculate("", total, term)
    else:
        total = calculate("", *terms)
        lines.clear()
    return "\n".join([*lines, f"The answer is {total}."])
