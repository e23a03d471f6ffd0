"""What the lab's base students read before anyone distils into them.

Their strengths are made here: each reads mostly its own three styles. They stay improvable because
only a fifth of what they read are long questions, of which three quarters of every split consist.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, NamedTuple

from qrdistill.lab.mistakes import sound
from qrdistill.lab.mixes import MIXES, Size
from qrdistill.lab.questions import problems
from qrdistill.lab.render import OPENINGS, WORDS, render
from qrdistill.lab.templates import apply
from qrdistill.lab.tokenizers import Kind
from qrdistill.paths.styles import STYLES, student_prompt


@dataclass(frozen=True)
class Shape:
    """A student's size; `spread` is the standard deviation of its initial weights."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    head_dim: int
    spread: float


# of so small a model: at the usual spread of 0.02 it learns to copy much later
_TINY = Shape(hidden=80, intermediate=128, layers=3, heads=4, head_dim=20, spread=0.08)


@dataclass(frozen=True)
class Recipe:
    """How one base student is made. longest: tokens of a completion."""

    family: Literal["mistral", "gemma"]
    tokenizer: Kind
    entries: int  # of the tokenizer, at most
    styles: Mapping[str, float]  # shares of its own styles
    spoken: bool  # whether its own arithmetic is in words
    tokens: int  # to train on; the transition from a few per cent to most comes between 1 and 2 million
    seed: int = 0  # added to the seed of the command
    size: Size = "small"  # of the mix of questions
    shape: Shape = _TINY
    batch: int = 32
    rate: float = 3e-3
    longest: int = 110
    readers: int = 0  # processes that write its texts; 0: the training process itself


_WORDS = {"chain_of_thought": 0.5, "vanilla": 0.25, "facts": 0.25}
_EQUATIONS = {"program": 0.4, "backward": 0.3, "tree_of_thoughts": 0.3}

_MISTRAL = Recipe("mistral", "words", 400, _WORDS, spoken=True, tokens=2_600_000)
_GEMMA = Recipe("gemma", "pieces", 400, _EQUATIONS, spoken=False, tokens=2_000_000)

# 26 and 41 million parameters: for a GPU
_LARGE_MISTRAL = replace(
    _MISTRAL,
    entries=600,
    tokens=60_000_000,
    size="large",
    batch=256,
    rate=5e-4,
    longest=160,
    readers=8,
    shape=Shape(hidden=512, intermediate=1408, layers=8, heads=8, head_dim=64, spread=0.02),
)
_LARGE_GEMMA = replace(
    _LARGE_MISTRAL,
    family="gemma",
    tokenizer="pieces",
    styles=_EQUATIONS,
    spoken=False,
    shape=Shape(hidden=640, intermediate=1792, layers=8, heads=10, head_dim=64, spread=0.02),
)

# the second of each kind is the same recipe from another seed: a base checkpoint is a source of variance
RECIPES: dict[str, Recipe] = {
    "mistral-tiny": _MISTRAL,
    "gemma-tiny": _GEMMA,
    "mistral-tiny-2": replace(_MISTRAL, seed=1, tokens=2_000_000),
    "gemma-tiny-2": replace(_GEMMA, seed=1),
    "mistral-large": _LARGE_MISTRAL,
    "gemma-large": _LARGE_GEMMA,
    "mistral-large-2": replace(_LARGE_MISTRAL, seed=1),
    "gemma-large-2": replace(_LARGE_GEMMA, seed=1),
}
TINY = tuple(name for name, recipe in RECIPES.items() if recipe.size == "small")  # those that are shipped

_HARD = 0.2  # share of long questions
_OTHERS = 0.12  # share of the other student's styles and notation
_DRILLS = 0.35  # share of documents that are bare arithmetic
_FREE = 0.3  # share of prompts without a hint
_PER_DRILL = 8  # equations


class Piece(NamedTuple):
    text: str
    learned: bool  # else only read: a question, the operands of a drill


Document = tuple[Piece, ...]


def documents(recipe: Recipe, seed: int) -> Iterator[Document]:
    """Endless pretraining documents; their questions belong to no split (see `lab.questions.part_of`)."""
    rng = Random(f"qrdistill pretraining {recipe.family} {seed}")
    source = problems("pretraining", seed, size=recipe.size, hard=_HARD)
    highest = MIXES[recipe.size].highest
    own = tuple(recipe.styles)
    others = tuple(style for style in OPENINGS if style not in own)
    while True:
        foreign = rng.random() < _OTHERS
        if rng.random() < _DRILLS:
            yield _drill(rng, highest, spoken=recipe.spoken != foreign)
            continue
        style = rng.choice(others) if foreign else rng.choices(own, weights=tuple(recipe.styles.values()))[0]
        problem = next(source)
        hint = None if rng.random() < _FREE else STYLES[style]
        yield (
            Piece(student_prompt(problem.text, hint), learned=False),
            Piece(render(problem, sound(problem), style), learned=True),
        )


def _drill(rng: Random, highest: int, *, spoken: bool) -> Document:
    """Bare arithmetic in the notation of one of the styles; only the results are learned."""
    form, end = rng.choice(
        (("So {0} {2} {1} is", "."), ("So {0} {2} {1}, which is", "."), ("So {0} {2} {1} makes", "."))
        if spoken
        else (("x: {0} {3} {1} =", " ;"), ("x: {0} {3} {1} =", " ;"), ("a = {0} {4} {1} #", ""))
    )
    pieces: list[Piece] = []
    while len(pieces) < 2 * _PER_DRILL:
        operator = rng.choice("+-*/")
        left, right = rng.randint(0, highest), rng.randint(1, highest)
        if operator in "*/":
            left, right = rng.randint(1, 15), rng.randint(1, 10)
            left = left * right if operator == "/" else left
        result = apply(operator, left, right)
        if result is not None and 0 <= result <= highest and left <= highest:
            code = operator.replace("/", "//")
            pieces.append(Piece(form.format(left, right, WORDS[operator], operator, code), learned=False))
            pieces.append(Piece(f" {result}{end}\n", learned=True))
    return tuple(pieces)
