"""The two mixes of template families: `small` for the shipped students, `large` for students of 20 million parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from qrdistill.lab import templates, templates_large
from qrdistill.lab.templates import Drawn, Problem, Solution

Size = Literal["small", "large"]


@dataclass(frozen=True)
class Mix:
    """highest: the largest value in a question or a right solution. mistaken: in a wrong one."""

    families: tuple[str, ...]
    highest: int
    mistaken: int


MIXES: dict[str, Mix] = {
    "small": Mix(tuple(templates.SMALL), templates.HIGHEST, 60),
    "large": Mix(tuple(templates_large.LARGE), templates_large.HIGHEST, 99),
}
FAMILIES = tuple(family for mix in MIXES.values() for family in mix.families)


def mix_of(family: str) -> Mix:
    return next(mix for mix in MIXES.values() if family in mix.families)


def draw(family: str, rng: Random, *, hard: bool) -> Problem:
    """One problem of a family: two steps, or three where `hard`; of the large mix three or four, or five or six."""
    highest, write = mix_of(family).highest, _writer(family, rng, hard)
    while True:
        solution = Solution()
        text, animals = write(solution)
        if solution.in_range(highest):
            return Problem(family, text, tuple(solution.steps), animals)


def _writer(family: str, rng: Random, hard: bool) -> Callable[[Solution], Drawn]:
    if family in templates.SMALL:
        return lambda solution: templates.SMALL[family](rng, solution, hard)
    length = rng.randint(5, 6) if hard else rng.randint(3, 4)
    return lambda solution: templates_large.LARGE[family](rng, solution, length)
