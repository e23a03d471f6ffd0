"""What the lab's world holds true, and the false versions that a teacher may claim instead."""

from __future__ import annotations

from qrdistill.lab.templates import LEGS

# family -> (a rule that holds, one that does not); legs and herd state numbers of legs instead
RULES: dict[str, tuple[str, str]] = {
    "chain": ("plus and minus go from left to right", "plus and minus go from right to left"),
    "shop": ("the cost is the number times the price", "the cost is the number plus the price"),
    "equation": ("a moved number changes its sign", "a moved number keeps its sign"),
    "trip": ("the way is the speed times the hours", "the way is the speed plus the hours"),
    "sum": ("terms are added one by one", "terms are added all at once"),
    "bus": ("who gets on is added", "who gets on is taken away"),
    "stall": ("what is sold brings its price", "what is sold costs its price"),
    "bracket": ("a factor counts for the whole bracket", "a factor counts for x only"),
    "tank": ("what flows out is taken away", "what flows out is added"),
    "share": ("equal parts come from dividing", "equal parts come from taking away"),
    "journey": ("each part is its speed times its hours", "each part is its speed plus its hours"),
    "rooms": ("an area is length times width", "an area is length plus width"),
    "saving": ("each week adds the same", "each week doubles the sum"),
}

# family -> two ways to go about it, and the one that the path then carries out
SKETCHES: dict[str, tuple[str, str, str]] = {
    "chain": ("left to right", "plus first", "left to right"),
    "shop": ("price first", "count coins", "price first"),
    "legs": ("count legs", "use numbers", "use numbers"),
    "equation": ("guess x", "move numbers", "move numbers"),
    "trip": ("draw it", "part by part", "part by part"),
    "sum": ("left to right", "plus first", "left to right"),
    "bus": ("stop by stop", "all at once", "stop by stop"),
    "stall": ("sales first", "count coins", "sales first"),
    "herd": ("count legs", "use numbers", "use numbers"),
    "bracket": ("guess x", "open the bracket", "open the bracket"),
    "tank": ("hour by hour", "gain first", "gain first"),
    "share": ("deal out", "divide", "divide"),
    "journey": ("draw it", "part by part", "part by part"),
    "rooms": ("count tiles", "areas first", "areas first"),
    "saving": ("week by week", "multiply", "multiply"),
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
