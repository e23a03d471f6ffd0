"""A teacher for reasoning-gym's `leg_counting` that is wrong in known places.

It writes each question's solution in three styles and plants an error into a share of its paths (`WRONG`): one animal
gets a wrong number of legs, or one calculation is off by a little, and what follows is computed from that. Every path
follows from seed, teacher, question, style and sample.

Use: PYTHONPATH=examples/real qrdistill run examples/real/legs.yaml
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from qrdistill.base.records import Question
from qrdistill.llm.config import TeacherBase
from qrdistill.paths.styles import Style
from qrdistill.paths.teachers import Draft

WRONG = {"vanilla": 0.22, "chain_of_thought": 0.12, "facts": 0.19}  # style -> share of wrong paths


class LegsTeacher(TeacherBase):
    """It has no keys of its own."""

    kind: str
    """`scripted_legs:ScriptedLegs`."""


class ScriptedLegs:
    Config = LegsTeacher

    def __init__(self, config: LegsTeacher, *, base_dir: Path, seed: int, questions: Sequence[Question]) -> None:
        from reasoning_gym.arithmetic.leg_counting import ANIMALS

        del base_dir, questions
        self._name, self._seed = config.name, seed
        self._legs: Mapping[str, int] = ANIMALS

    def path(self, question: Question, style: Style, sample: int) -> Draft | None:
        """The path, with what was planted; None for a style that it does not write."""
        if style.name not in WRONG:
            return None
        draw = Random(f"{self._seed} {self._name} {question.id} {style.name} {sample}")
        animals: dict[str, int] = question.metadata["entry"]["metadata"]["animals"]
        legs = {animal: self._legs[animal] for animal in animals}
        if draw.random() >= WRONG[style.name]:
            return Draft(write(animals, legs, style.name), truth=("sound", ""))
        slip = draw.choice((-2, 2, 4, 10))
        if draw.random() < 0.5:
            animal = draw.choice(list(animals))
            legs[animal] = abs(legs[animal] + slip)  # -2 leaves a chicken with none, and a snake with two
            return Draft(write(animals, legs, style.name), truth=("wrong", f"legs of a {animal}"))
        step = draw.randrange(2 * len(animals) - 1)
        return Draft(write(animals, legs, style.name, step, slip), truth=("wrong", f"calculation {step + 1}"))


def sound(question: Question, style: str) -> str:
    """The right solution."""
    from reasoning_gym.arithmetic.leg_counting import ANIMALS

    animals: dict[str, int] = question.metadata["entry"]["metadata"]["animals"]
    return write(animals, {animal: ANIMALS[animal] for animal in animals}, style)


def write(
    animals: Mapping[str, int], legs: Mapping[str, int], style: str, wrong_step: int | None = None, slip: int = 0
) -> str:
    """One solution. `wrong_step`: the calculation, from 0, whose result is off by `slip`.

    >>> print(write({"crab": 3, "duck": 1}, {"crab": 10, "duck": 2}, "facts"))
    Each crab has 10 legs. Each duck has 2 legs.
    3 * 10 = 30
    1 * 2 = 2
    30 + 2 = 32
    The answer is 32.
    """
    lines: list[str] = []

    def result(right: int) -> int:
        return right + slip if len(lines) == wrong_step else right

    each: list[int] = []
    for animal, count in animals.items():
        each.append(result(count * legs[animal]))
        opening = f"{count} {animal}{'s' if count > 1 else ''}: " if style == "chain_of_thought" else ""
        lines.append(f"{opening}{count} * {legs[animal]} = {each[-1]}")
    total = each[0]
    for more in each[1:]:
        summed = result(total + more)
        lines.append(f"{total} + {more} = {summed}")
        total = summed
    facts = " ".join(f"Each {animal} has {legs[animal]} legs." for animal in animals)
    above = {"vanilla": [], "chain_of_thought": lines, "facts": [facts, *lines]}[style]
    return "\n".join([*above, f"The answer is {total}."])
