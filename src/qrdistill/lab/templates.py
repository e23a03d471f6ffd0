"""What a template question is made of, and the small mix: five families of two or three steps.

Every value that a question of the small mix states or a right solution computes lies between 0 and 30, so
that a student of two hundred thousand parameters can know the arithmetic by heart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

HIGHEST = 30

LEGS = {"cow": 4, "dog": 4, "cat": 4, "goat": 4, "hen": 2, "duck": 2, "ant": 6, "bee": 6, "spider": 8}
PEOPLE = {"Tom": "He", "Mia": "She", "Ben": "He", "Eva": "She", "Sam": "He", "Lea": "She"}
ITEMS = ("pen", "cup", "map", "hat", "toy", "bag")
VEHICLES = ("bus", "train", "boat", "truck")

_APPLY: dict[str, Callable[[int, int], int | None]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left // right if right and left % right == 0 else None,
}
INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}


def apply(operator: str, left: int, right: int) -> int | None:
    """The result of one step; None where a division leaves a remainder.

    >>> apply("*", 3, 4), apply("/", 7, 2)
    (12, None)
    """
    return _APPLY[operator](left, right)


@dataclass(frozen=True)
class Step:
    """`left operator right = result`; an operand that an earlier step computed names that step."""

    operator: str
    left: int
    right: int
    result: int
    what: str  # the words that introduce the result: "the pens cost"
    left_from: int | None = None
    right_from: int | None = None


@dataclass(frozen=True)
class Problem:
    family: str
    text: str
    steps: tuple[Step, ...]
    animals: tuple[str, ...] = ()  # whose number of legs the solution uses

    @property
    def gold(self) -> int:
        return self.steps[-1].result

    def as_json(self) -> dict[str, Any]:
        return {"steps": [asdict(step) for step in self.steps], "animals": list(self.animals)}

    @staticmethod
    def from_json(family: str, text: str, stored: dict[str, Any]) -> Problem:
        return Problem(family, text, tuple(Step(**step) for step in stored["steps"]), tuple(stored["animals"]))


class Solution:
    """Collects steps; an operand is a number, or the index of an earlier step in a one-tuple."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def step(self, what: str, left: int | tuple[int], operator: str, right: int | tuple[int]) -> tuple[int]:
        def resolve(operand: int | tuple[int]) -> tuple[int, int | None]:
            if isinstance(operand, tuple):
                return self.steps[operand[0]].result, operand[0]
            return operand, None

        (left_value, left_from), (right_value, right_from) = resolve(left), resolve(right)
        result = apply(operator, left_value, right_value)
        self.steps.append(
            Step(
                operator,
                left_value,
                right_value,
                -1 if result is None else result,
                what,
                left_from,
                right_from,
            )
        )
        return (len(self.steps) - 1,)

    def in_range(self, highest: int) -> bool:
        return all(0 <= value <= highest for s in self.steps for value in (s.left, s.right, s.result))


Drawn = tuple[str, tuple[str, ...]]  # a question's text, and the animals whose legs its solution uses


def _chain(rng: Random, solution: Solution, hard: bool) -> Drawn:
    numbers = [rng.randint(1, 20) for _ in range(4 if hard else 3)]
    operators = [rng.choice("+-") for _ in numbers[1:]]
    last: int | tuple[int] = numbers[0]
    for index, (operator, number) in enumerate(zip(operators, numbers[1:], strict=True)):
        last = solution.step("first" if index == 0 else "then", last, operator, number)
    terms = str(numbers[0]) + "".join(f" {o} {n}" for o, n in zip(operators, numbers[1:], strict=True))
    return rng.choice(("What is {}?", "Compute {}.", "Work out {}.")).format(terms), ()


def _shop(rng: Random, solution: Solution, hard: bool) -> Drawn:
    person = rng.choice(tuple(PEOPLE))
    item, extra = rng.sample(ITEMS, 2)
    number, price, more, purse = rng.randint(2, 8), rng.randint(2, 9), rng.randint(1, 12), rng.randint(8, 30)
    buys = f"buys {number} {item}s for {price} coins each"
    cost = solution.step(f"the {item}s cost", number, "*", price)
    if hard:
        rest = solution.step("then there are left", purse, "-", cost)
        solution.step("in the end there are left", rest, "-", more)
        return (
            f"{person} has {purse} coins. {PEOPLE[person]} {buys} and a {extra} for {more}. How many coins are left?",
            (),
        )
    if rng.random() < 0.5:
        solution.step("then there are left", purse, "-", cost)
        return f"{person} has {purse} coins. {PEOPLE[person]} {buys}. How many coins are left?", ()
    solution.step("together they cost", cost, "+", more)
    pronoun = PEOPLE[person].lower()
    return f"{person} {buys} and a {extra} for {more} coins. What does {pronoun} pay?", ()


def _legs(rng: Random, solution: Solution, hard: bool) -> Drawn:
    first, second = rng.sample(tuple(LEGS), 2)
    place = rng.choice(("farm", "barn", "yard"))
    if hard:
        firsts, seconds = rng.randint(2, 7), rng.randint(2, 7)
        part = solution.step(f"the {first}s have", firsts, "*", LEGS[first])
        other = solution.step(f"the {second}s have", seconds, "*", LEGS[second])
        solution.step("together they have", part, "+", other)
        return f"A {place} has {firsts} {first}s and {seconds} {second}s. How many legs is that?", (
            first,
            second,
        )
    if rng.random() < 0.5:
        number, leave = rng.randint(3, 15), rng.randint(1, 9)
        stay = solution.step(f"the {first}s that stay are", number, "-", leave)
        solution.step(f"the {first}s have", stay, "*", LEGS[first])
        if number - leave < 1:
            return _legs(rng, _restart(solution), hard)
        return f"A {place} has {number} {first}s and {leave} of them leave. How many legs stay?", (first,)
    number = rng.randint(2, 9)
    part = solution.step(f"the {second}s have", number, "*", LEGS[second])
    solution.step("together they have", part, "+", LEGS[first])
    return f"A {place} has one {first} and {number} {second}s. How many legs is that?", (first, second)


def _restart(solution: Solution) -> Solution:
    solution.steps.clear()
    return solution


def _equation(rng: Random, solution: Solution, hard: bool) -> Drawn:
    unknown, factor, number = rng.randint(1, 10), rng.randint(2, 9), rng.randint(1, 20)
    sign = rng.choice("+-")
    intro = rng.choice(("Solve {}.", "Find x if {}."))
    undo = INVERSE[sign]
    if not hard:
        right = factor * unknown + (number if sign == "+" else -number)
        moved = solution.step("moving the number gives", right, undo, number)
        solution.step("dividing gives", moved, "/", factor)
        return intro.format(f"{factor} x {sign} {number} = {right}"), ()
    other = rng.randint(2, 8)
    if other >= factor:
        other, factor = factor - 1, other + 1
    if other < 2 or factor - other < 2 or factor > 9:
        return _equation(rng, _restart(solution), hard)
    right = (factor - other) * unknown + (number if sign == "+" else -number)
    left = solution.step("the x on the left are", factor, "-", other)
    moved = solution.step("moving the number gives", right, undo, number)
    solution.step("dividing gives", moved, "/", left)
    return intro.format(f"{factor} x {sign} {number} = {other} x + {right}"), ()


def _trip(rng: Random, solution: Solution, hard: bool) -> Drawn:
    vehicle = rng.choice(VEHICLES)
    speed, hours, more, way = rng.randint(2, 9), rng.randint(2, 7), rng.randint(1, 15), rng.randint(8, 30)
    part = solution.step("the first part is", hours, "*", speed)
    goes = f"goes {hours} hours at speed {speed}"
    if hard:
        later, slow = rng.randint(2, 7), rng.randint(2, 9)
        second = solution.step("the second part is", later, "*", slow)
        solution.step("the whole way is", part, "+", second)
        return f"A {vehicle} {goes}, then {later} hours at speed {slow}. How far is that?", ()
    if rng.random() < 0.5:
        solution.step("the whole way is", part, "+", more)
        return f"A {vehicle} {goes}, then {more} km more. How far is that?", ()
    solution.step("the rest of the way is", way, "-", part)
    return f"Of {way} km a {vehicle} {goes}. How far is left?", ()


SMALL: dict[str, Callable[[Random, Solution, bool], Drawn]] = {
    "chain": _chain,
    "shop": _shop,
    "legs": _legs,
    "equation": _equation,
    "trip": _trip,
}
