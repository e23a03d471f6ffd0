"""The larger mix: ten families of three to six steps, values up to 99, for students of 20 million parameters and more.

A drawing function gets the number of steps it may take: three or four, or five or six where the question is hard.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from qrdistill.lab.templates import INVERSE, ITEMS, LEGS, PEOPLE, VEHICLES, Drawn, Solution

HIGHEST = 99


def _pair(rng: Random) -> tuple[int, int]:
    return rng.randint(2, 9), rng.randint(2, 9)


def _sum(rng: Random, solution: Solution, length: int) -> Drawn:
    numbers = [rng.randint(1, 60) for _ in range(length + 1)]
    operators = [rng.choice("+-") for _ in range(length)]
    last: int | tuple[int] = numbers[0]
    for index, (operator, number) in enumerate(zip(operators, numbers[1:], strict=True)):
        last = solution.step("then" if index else "first", last, operator, number)
    terms = str(numbers[0]) + "".join(f" {o} {n}" for o, n in zip(operators, numbers[1:], strict=True))
    return rng.choice(("What is {}?", "Compute {}.", "Work out {}.")).format(terms), ()


def _bus(rng: Random, solution: Solution, length: int) -> Drawn:
    vehicle = rng.choice(VEHICLES)
    aboard = rng.randint(5, 60)
    words: list[str] = []
    last: int | tuple[int] = aboard
    for _ in range(length):
        number, on = rng.randint(1, 30), rng.random() < 0.5
        last = solution.step("then there are", last, "+" if on else "-", number)
        words.append(f"{number} get {'on' if on else 'off'}")
    stops = ", then ".join(words)
    return f"A {vehicle} leaves with {aboard} people. On the way {stops}. How many are aboard?", ()


def _stall(rng: Random, solution: Solution, length: int) -> Drawn:
    person = rng.choice(tuple(PEOPLE))
    first, second = rng.sample(ITEMS, 2)
    purse, (many, price), (more, other) = rng.randint(1, 30), _pair(rng), _pair(rng)
    text = f"{person} has {purse} coins. {PEOPLE[person]} sells {many} {first}s at {price} each"
    sales = [solution.step(f"the {first}s bring", many, "*", price)]
    if length > 3:
        text += f" and {more} {second}s at {other} each"
        sales.append(solution.step(f"the {second}s bring", more, "*", other))
    last = solution.step("then there are", purse, "+", sales[0])
    for further in sales[1:]:
        last = solution.step("together there are", last, "+", further)
    if length != 4:
        fee = rng.randint(1, 20)
        last = solution.step("after paying there are", last, "-", fee)
        text += f", then pays {fee}"
    if length == 6:
        parts = rng.randint(2, 6)
        solution.step("one part is", last, "/", parts)
        return f"{text} and splits it by {parts}. What is one part?", ()
    return f"{text}. How many coins are there?", ()


def _herd(rng: Random, solution: Solution, length: int) -> Drawn:
    place = rng.choice(("farm", "barn", "yard"))
    kinds = rng.sample(tuple(LEGS), 2 if length <= 4 else 3)
    numbers = [rng.randint(2, 9) for _ in kinds]
    listed = [f"{number} {kind}s" for number, kind in zip(numbers, kinds, strict=True)]
    text = f"A {place} has {', '.join(listed[:-1])} and {listed[-1]}."
    first: int | tuple[int] = numbers[0]
    if length in (4, 6):
        leave = rng.randint(2, 8)
        first = solution.step(f"the {kinds[0]}s that stay are", first, "-", leave)
        text += f" {leave} {kinds[0]}s leave."
    parts = [
        solution.step(f"the {kind}s have", first if index == 0 else number, "*", LEGS[kind])
        for index, (number, kind) in enumerate(zip(numbers, kinds, strict=True))
    ]
    last = parts[0]
    for part in parts[1:]:
        last = solution.step("together they have", last, "+", part)
    return f"{text} How many legs is that?", tuple(kinds)


def _bracket(rng: Random, solution: Solution, length: int) -> Drawn:
    unknown, factor, other, inner = (
        rng.randint(1, 12),
        rng.randint(3, 9),
        rng.randint(1, 7),
        rng.randint(1, 12),
    )
    intro = rng.choice(("Solve {}.", "Find x if {}."))
    sign = rng.choice("+-")
    if length == 3:  # factor x + inner = other x + right
        right = (factor - other) * unknown + (inner if sign == "+" else -inner)
        left = solution.step("the x on the left are", factor, "-", other)
        moved = solution.step("moving the number gives", right, INVERSE[sign], inner)
        solution.step("dividing gives", moved, "/", left)
        return intro.format(f"{factor} x {sign} {inner} = {other} x + {right}"), ()
    right = factor * (unknown + inner) - other * unknown
    opened = solution.step("the bracket gives", factor, "*", inner)
    left_side, right_side = f"{factor} ( x + {inner} )", f"{other} x + {right}"
    total: int | tuple[int] = right
    if length >= 5:  # a number more on the left
        more = rng.randint(1, 20)
        left_side += f" + {more}"
        opened = solution.step("with the number it is", opened, "+", more)
        total = right + more
        right_side = f"{other} x + {total}"
    if length == 6:  # the number on the right in two parts
        assert isinstance(total, int)
        cut = rng.randint(1, 20)
        right_side = f"{other} x + {total - cut} + {cut}"
        total = solution.step("the right side has", total - cut, "+", cut)
    moved = solution.step("moving the numbers gives", total, "-", opened)
    left = solution.step("the x on the left are", factor, "-", other)
    solution.step("dividing gives", moved, "/", left)
    return intro.format(f"{left_side} = {right_side}"), ()


def _tank(rng: Random, solution: Solution, length: int) -> Drawn:
    holds, flow, out, hours = rng.randint(1, 40), rng.randint(3, 15), rng.randint(1, 9), rng.randint(2, 8)
    text = f"A tank holds {holds} litres. Each hour {flow} flow in and {out} out."
    gain = solution.step("every hour it gains", flow, "-", out)
    gained = solution.step("in all it gains", gain, "*", hours)
    last = solution.step("then it holds", holds, "+", gained)
    if length == 3:
        return f"{text} What does it hold after {hours} hours?", ()
    taken = rng.randint(1, 30)
    last = solution.step("then there are left", last, "-", taken)
    text += f" After {hours} hours take {taken}"
    if length == 4:
        return f"{text}. What is left?", ()
    cans = rng.randint(2, 6)
    last = solution.step("each can gets", last, "/", cans)
    text += f" and fill {cans} cans"
    if length == 6:
        before = rng.randint(1, 15)
        solution.step("with what it held it is", last, "+", before)
        text += f" that held {before}"
    return f"{text}. What is in one?", ()


def _share(rng: Random, solution: Solution, length: int) -> Drawn:
    friends, bags, sweets, more = rng.randint(2, 6), rng.randint(2, 9), rng.randint(3, 9), rng.randint(1, 20)
    text = f"{friends} friends share {bags} bags of {sweets} sweets and {more} more."
    packed = solution.step("the bags hold", bags, "*", sweets)
    total = solution.step("together there are", packed, "+", more)
    last = solution.step("each gets", total, "/", friends)
    if length == 3:
        return f"{text} How many has each?", ()
    eaten = rng.randint(1, 9)
    last = solution.step("then there are left", last, "-", eaten)
    text += f" Each eats {eaten}"
    if length >= 5:
        given = rng.randint(1, 12)
        last = solution.step("with the gift there are", last, "+", given)
        text += f", gets {given}"
    if length == 6:
        times = rng.randint(2, 5)
        solution.step("in the end there are", last, "*", times)
        text += f", then has {times} times that"
    return f"{text}. How many is that?", ()


def _journey(rng: Random, solution: Solution, length: int) -> Drawn:
    vehicle = rng.choice(VEHICLES)
    parts = [_pair(rng) for _ in range(2 if length <= 4 else 3)]
    told = ", then ".join(f"{hours} hours at speed {speed}" for hours, speed in parts)
    names = ("first", "second", "third")
    ways = [solution.step(f"the {names[i]} part is", h, "*", s) for i, (h, s) in enumerate(parts)]
    last = ways[0]
    for way in ways[1:]:
        last = solution.step("the way so far is", last, "+", way)
    text = f"A {vehicle} goes {told}"
    if length == 4:
        more = rng.randint(1, 20)
        solution.step("the whole way is", last, "+", more)
        return f"{text}, then {more} km more. How far is that?", ()
    if length == 6:
        whole = rng.randint(30, HIGHEST)
        solution.step("the rest of the way is", whole, "-", last)
        return f"{text}. The way is {whole} km. How far is left?", ()
    return f"{text}. How far is that?", ()


def _rooms(rng: Random, solution: Solution, length: int) -> Drawn:
    hall, room = _pair(rng), _pair(rng)
    text = f"A hall is {hall[0]} by {hall[1]} metres and a room {room[0]} by {room[1]}."
    first = solution.step("the hall has", hall[0], "*", hall[1])
    second = solution.step("the room has", room[0], "*", room[1])
    last = solution.step("together they have", first, "+", second)
    if length == 3:
        return f"{text} How many square metres is that?", ()
    done = rng.randint(1, 30)
    last = solution.step("still to do are", last, "-", done)
    text += f" Tiled are {done}."
    if length == 4:
        return f"{text} How many are not?", ()
    size, price = _pair(rng)
    last = solution.step("the packs are", last, "/", size)
    if length == 5:
        return f"{text} A pack does {size}. How many packs is that?", ()
    solution.step("the packs cost", last, "*", price)
    return f"{text} A pack does {size} and costs {price}. What do they cost?", ()


def _saving(rng: Random, solution: Solution, length: int) -> Drawn:
    person = rng.choice(tuple(PEOPLE))
    (early, weeks), (late, further) = _pair(rng), _pair(rng)
    text = f"{person} saves {early} coins a week for {weeks} weeks, then {late} for {further} weeks."
    first = solution.step("first it is", early, "*", weeks)
    second = solution.step("then it is", late, "*", further)
    last = solution.step("together it is", first, "+", second)
    if length >= 4:
        spent = rng.randint(1, 30)
        last = solution.step("then there are left", last, "-", spent)
        text += f" {PEOPLE[person]} spends {spent}"
    if length >= 5:
        gift = rng.randint(1, 30)
        last = solution.step("with the gift there are", last, "+", gift)
        text += f" and gets {gift}"
    if length == 6:
        item, price = rng.choice(ITEMS), rng.randint(2, 9)
        solution.step(f"the {item}s are", last, "/", price)
        return f"{text}. A {item} costs {price}. How many {item}s is that?", ()
    return f"{text}{'.' if length > 3 else ''} How many coins are there?", ()


LARGE: dict[str, Callable[[Random, Solution, int], Drawn]] = {
    "sum": _sum,
    "bus": _bus,
    "stall": _stall,
    "herd": _herd,
    "bracket": _bracket,
    "tank": _tank,
    "share": _share,
    "journey": _journey,
    "rooms": _rooms,
    "saving": _saving,
}
