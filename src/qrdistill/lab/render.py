"""A chain of steps written out as a reasoning path, in each of the six styles.

Each path opens with a word that names its style and ends with "The answer is N.". Three styles put
arithmetic into words (3 times 4 is 12), three into equations (3 * 4 = 12): what gives the two base
students different strengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qrdistill.lab.knowledge import RULES, SKETCHES, legs_sentence
from qrdistill.lab.templates import INVERSE, LEGS, Problem, Step

WORDS = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
VARIABLES = "abcdefgh"


@dataclass(frozen=True)
class Shown:
    """What a path displays: the steps as written (perhaps mistaken), its answer, its facts."""

    steps: tuple[Step, ...]
    answer: int
    facts: tuple[str, ...]


def facts_of(problem: Problem) -> tuple[str, ...]:
    """The facts that a right solution rests on."""
    if problem.animals:
        return tuple(legs_sentence(animal, LEGS[animal]) for animal in problem.animals)
    return (RULES[problem.family][0],)


def render(problem: Problem, shown: Shown, style: str) -> str:
    """The path's text. `style` is one of `OPENINGS`."""
    return f"{_RENDERERS[style](problem, shown)}\nThe answer is {shown.answer}."


def _spoken(step: Step, joint: str) -> str:
    return f"{step.left} {WORDS[step.operator]} {step.right}{joint} {step.result}"


def _equation(step: Step) -> str:
    return f"{step.left} {step.operator} {step.right} = {step.result}"


def _vanilla(problem: Problem, shown: Shown) -> str:
    return "Solution: " + " and ".join(_spoken(step, " is") for step in shown.steps) + "."


def _chain_of_thought(problem: Problem, shown: Shown) -> str:
    lines = [
        f"Step {number}: {step.what} {_spoken(step, ', which is')}." for number, step in enumerate(shown.steps, start=1)
    ]
    return "\n".join(lines)


def _tree_of_thoughts(problem: Problem, shown: Shown) -> str:
    first, second, best = SKETCHES[problem.family]
    work = " ; ".join(_equation(step) for step in shown.steps)
    return f"Approaches: {first} or {second}. Best: {best}.\n{work}"


def _program(problem: Problem, shown: Shown) -> str:
    def operand(value: int, source: int | None) -> str:
        return str(value) if source is None else VARIABLES[source]

    lines = [
        f"{VARIABLES[index]} = {operand(step.left, step.left_from)} {step.operator.replace('/', '//')} "
        f"{operand(step.right, step.right_from)} # {step.result}"
        for index, step in enumerate(shown.steps)
    ]
    printed = VARIABLES[len(shown.steps) - 1]
    return "\n".join(["Program:", "```python", *lines, f"print({printed})", "```"])


def _backward(problem: Problem, shown: Shown) -> str:
    forward = " ; ".join(_equation(step) for step in shown.steps)
    checks: Sequence[Step] = shown.steps[::-1]
    back = " ; ".join(f"{s.result} {INVERSE[s.operator]} {s.right} = {s.left}" for s in checks)
    return f"Backward: {forward}\nCheck: {back}"


def _facts(problem: Problem, shown: Shown) -> str:
    known = " ".join(f"{fact}." for fact in shown.facts)
    return f"Facts: {known}\nSo " + ", then ".join(_spoken(step, " makes") for step in shown.steps) + "."


_RENDERERS: dict[str, Callable[[Problem, Shown], str]] = {
    "vanilla": _vanilla,
    "chain_of_thought": _chain_of_thought,
    "tree_of_thoughts": _tree_of_thoughts,
    "program": _program,
    "backward": _backward,
    "facts": _facts,
}

# the word each style's paths open with
OPENINGS = {
    "vanilla": "Solution",
    "chain_of_thought": "Step",
    "tree_of_thoughts": "Approaches",
    "program": "Program",
    "backward": "Backward",
    "facts": "Facts",
}
