"""Randomness as a pure function of names.

A draw depends on what it is for (seed, purpose, student, path, step) and on nothing else: not on the
order of students, not on how a batch was split, not on what was drawn before. So a resumed run
draws what the undisturbed one would have drawn, without saving any generator's state.
"""

from __future__ import annotations

import hashlib
import math


def seed_of(*keys: str | int) -> int:
    """A seed in [0, 2**63) from names and numbers.

    >>> seed_of(0, "head", "mistral") == seed_of(0, "head", "mistral") != seed_of(0, "head", "gemma")
    True
    """
    text = "\x1f".join(str(key) for key in keys)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def uniform(*keys: str | int) -> float:
    """A uniform draw in the open interval (0, 1)."""
    return ((seed_of(*keys) >> 10) + 0.5) / 2**53


def gumbel(*keys: str | int) -> float:
    """A standard Gumbel draw, -log(-log(u))."""
    return -math.log(-math.log(uniform(*keys)))
