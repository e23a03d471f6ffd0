"""From judges' votes to one decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from qrdistill.base.records import Outcome

Rule = Literal["all", "majority", "any"]


def combine(votes: Sequence[Outcome], rule: Rule, *, missing: int = 0) -> Outcome | None:
    """The panel's decision over n = len(votes) + missing votes; None while missing ones can change it.

    With s sound, p spurious votes: `all` keeps if s = n, drops if p >= 1; `any` keeps if s >= 1,
    drops if p = n; `majority` keeps if s > n/2, drops if p > n/2. Whatever is neither is undecided:
    a tie or an unclear vote is never read as agreement.

    >>> combine(["keep", "undecided"], "majority"), combine(["keep", "keep"], "majority", missing=1)
    ('undecided', 'keep')
    """
    sound, spurious, total = votes.count("keep"), votes.count("drop"), len(votes) + missing

    def decided(sound: int, spurious: int) -> Outcome:
        if rule == "all":
            keep, drop = sound == total, spurious >= 1
        elif rule == "any":
            keep, drop = sound >= 1, spurious == total
        else:
            keep, drop = 2 * sound > total, 2 * spurious > total
        return "keep" if keep else "drop" if drop else "undecided"

    reachable: set[Outcome] = {
        decided(sound + more, spurious + against)
        for more in range(missing + 1)
        for against in range(missing + 1 - more)
    }
    return reachable.pop() if len(reachable) == 1 else None
