"""What the lab's world holds true, and the false versions that a teacher may claim instead."""

from __future__ import annotations

from qrdistill.lab.templates import LEGS

# family -> (a rule that holds, one that does not); the legs family states numbers of legs instead
RULES: dict[str, tuple[str, str]] = {
    "chain": ("plus and minus go from left to right", "plus and minus go from right to left"),
    "shop": ("the cost is the number times the price", "the cost is the number plus the price"),
    "equation": ("a moved number changes its sign", "a moved number keeps its sign"),
    "trip": ("the way is the speed times the hours", "the way is the speed plus the hours"),
}

# family -> two ways to go about it, and the one that the path then carries out
SKETCHES: dict[str, tuple[str, str, str]] = {
    "chain": ("left to right", "plus first", "left to right"),
    "shop": ("price first", "count coins", "price first"),
    "legs": ("count legs", "use numbers", "use numbers"),
    "equation": ("guess x", "move numbers", "move numbers"),
    "trip": ("draw it", "part by part", "part by part"),
}


def legs_sentence(animal: str, legs: int) -> str:
    """
    >>> legs_sentence("ant", 6)
    'an ant has 6 legs'
    """
    return f"{'an' if animal[0] in 'aeiou' else 'a'} {animal} has {legs} legs"


TRUE_SENTENCES = frozenset(
    [true for true, _ in RULES.values()] + [legs_sentence(animal, legs) for animal, legs in LEGS.items()]
)
