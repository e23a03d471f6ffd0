"""Whether what a student sampled in a round is enough to teach: a rule on counts, without a config key, since it only
asks whether there is something to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST_YIELD = 0.05
"""Share of a student's sampled paths that the filter has to keep: below it a round does without them."""


@dataclass(frozen=True)
class Yield:
    """What one student's sampling in one round came to."""

    round: int
    student: str
    sampled: int
    kept: int

    @property
    def teaches(self) -> bool:
        """Whether the round reads the kept ones.

        The filter cannot see all that is wrong with a path that states the right answer, and lets a few unsound ones
        through. Of a student that writes sound ones these are a small part; of one that hardly ever does, they may be
        most of what is kept.
        """
        return self.kept >= LEAST_YIELD * self.sampled

    def sentence(self) -> str:
        return (
            f"{self.student} wrote {self.sampled} paths in round {self.round}, of which the filter kept {self.kept} "
            f"({self.kept / max(1, self.sampled):.1%}, below {LEAST_YIELD:.0%}): too few to teach, so the round trains "
            "on the teachers' paths without them"
        )
