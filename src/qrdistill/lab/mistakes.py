"""The errors that the scripted teacher plants, and what it says of them in the truth table."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import NamedTuple

from qrdistill.lab.knowledge import RULES, legs_sentence
from qrdistill.lab.mixes import mix_of
from qrdistill.lab.render import Shown, facts_of
from qrdistill.lab.templates import LEGS, Problem, Step, apply

_DETOUR = 0.018  # share of spurious paths whose only fault is a true but needless step
_SWAPPED = {"+": "-", "-": "+", "*": "+", "/": "-"}


class Planted(NamedTuple):
    shown: Shown
    detail: str  # the kind of mistake, and the step (from 1) where there is one


def sound(problem: Problem) -> Shown:
    return Shown(problem.steps, problem.gold, facts_of(problem))


def wrong(problem: Problem, rng: Random) -> Planted:
    """A path that ends in a wrong answer: a slip, a wrong operator or operand, a missing last step."""
    most = mix_of(problem.family).mistaken
    while True:
        kind = rng.choice(("slip", "operator", "operand", "missing step"))
        place = rng.randrange(len(problem.steps))
        step = problem.steps[place]
        if kind == "missing step":
            steps: tuple[Step, ...] | None = problem.steps[:-1]
            place = len(problem.steps) - 1
        else:
            if kind == "slip":
                changed = replace(step, result=_slip(step.result, rng, most))
            elif kind == "operator":
                changed = replace(step, operator=_SWAPPED[step.operator], result=-1)
            else:
                changed = _other_operand(step, rng, most)
            steps = _carried((*problem.steps[:place], changed, *problem.steps[place + 1 :]), place, most)
        if steps and steps[-1].result != problem.gold:
            return Planted(Shown(steps, steps[-1].result, facts_of(problem)), f"{kind} at step {place + 1}")


def spurious(problem: Problem, style: str, rng: Random) -> Planted:
    """A path whose answer is right although a step or a fact in it is not."""
    right, most = sound(problem), mix_of(problem.family).mistaken
    if rng.random() < _DETOUR:
        return Planted(replace(right, steps=_with_detour(problem.steps, rng, most)), "needless step at step 1")
    if style == "facts" and rng.random() < 0.6:
        return Planted(replace(right, facts=_false_facts(problem, rng)), "false fact")
    place = rng.randrange(len(problem.steps))
    step = problem.steps[place]
    if rng.random() < 0.6:
        changed, kind = replace(step, result=_slip(step.result, rng, most)), "wrong value"
    else:
        changed, kind = _other_operand(step, rng, most), "wrong operand"
        result = apply(changed.operator, changed.left, changed.right)
        if result is None or not 0 <= result <= most or result == step.result:
            changed, kind = replace(step, result=_slip(step.result, rng, most)), "wrong value"
        else:
            changed = replace(changed, result=result)
    steps = (*problem.steps[:place], changed, *problem.steps[place + 1 :])
    return Planted(replace(right, steps=steps), f"{kind} at step {place + 1}")


def _slip(value: int, rng: Random, most: int) -> int:
    return rng.choice([near for d in (1, 2, 10) for near in (value - d, value + d) if 0 <= near <= most])


def _other_operand(step: Step, rng: Random, most: int) -> Step:
    """The step with one stated number misread; of two computed operands, the right one."""
    if step.left_from is None and (step.right_from is not None or rng.random() < 0.5):
        return replace(step, left=_slip(step.left, rng, most), result=-1)
    return replace(step, right=max(1, _slip(step.right, rng, most)), right_from=None, result=-1)


def _carried(steps: tuple[Step, ...], changed: int, most: int) -> tuple[Step, ...] | None:
    """Recomputes the results that follow from the changed step; None where one leaves the range."""
    done: list[Step] = []
    for index, step in enumerate(steps):
        left = step.left if step.left_from is None else done[step.left_from].result
        right = step.right if step.right_from is None else done[step.right_from].result
        keeps_its_slip = index == changed and step.result >= 0
        result = step.result if keeps_its_slip else apply(step.operator, left, right)
        if result is None or not 0 <= result <= most or right == 0:
            return None
        done.append(replace(step, left=left, right=right, result=result))
    return tuple(done)


def _with_detour(steps: tuple[Step, ...], rng: Random, most: int) -> tuple[Step, ...]:
    """A true equation over stated numbers put in front, which nothing after it uses."""
    stated = [s.left for s in steps if s.left_from is None] + [s.right for s in steps if s.right_from is None]
    left, right = rng.choice(stated), rng.choice(stated)
    if left + right <= most:
        detour = Step("+", left, right, left + right, "first")
    else:
        left, right = max(left, right), min(left, right)
        detour = Step("-", left, right, left - right, "first")

    def moved(index: int | None) -> int | None:
        return None if index is None else index + 1

    rest = [replace(s, left_from=moved(s.left_from), right_from=moved(s.right_from)) for s in steps]
    return (detour, *rest)


def _false_facts(problem: Problem, rng: Random) -> tuple[str, ...]:
    if not problem.animals:
        return (RULES[problem.family][1],)
    facts = list(facts_of(problem))
    place = rng.randrange(len(facts))
    animal = problem.animals[place]
    facts[place] = legs_sentence(animal, rng.choice([n for n in (2, 4, 6, 8) if n != LEGS[animal]]))
    return tuple(facts)
