"""Which rows train, which are for dev and test: chosen by hashes of ids, so that every machine agrees.

A question's place in the order depends on its id and the seed only. Hence a smaller training set is
part of a larger one (sample-efficiency curves are nested), and adding rows moves no other row.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Sequence

from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question, Split

DEV_SHARE, DEV_AT_MOST = 0.1, 200  # of the training rows, where there is no dev split and none is asked for
TEST_SHARE = 0.2


def rank(purpose: str, key: str) -> int:
    """A fixed pseudo-random place for an id."""
    return int.from_bytes(hashlib.blake2b(f"{purpose}/{key}".encode(), digest_size=8).digest())


def choose(questions: Iterable[Question], count: int | None, seed: int) -> list[Question]:
    """`count` questions by rank, kept in their own order; one pass, memory of the chosen ones only."""
    if count is None:
        return list(questions)
    chosen = heapq.nsmallest(count, enumerate(questions), key=lambda item: rank(f"choose-{seed}", item[1].id))
    return [question for _, question in sorted(chosen, key=lambda item: item[0])]


def carve(questions: Sequence[Question], count: int, split: Split) -> tuple[list[Question], list[Question]]:
    """Takes `count` questions out for `split`, the same ones for every seed; returns (rest, taken)."""
    ranked = sorted(questions, key=lambda question: rank(f"carve-{split}", question.id))
    taken = {question.id for question in ranked[:count]}
    rest = [question for question in questions if question.id not in taken]
    return rest, [q.model_copy(update={"split": split}) for q in questions if q.id in taken]


def default_share(total: int, split: Split) -> int:
    return min(DEV_AT_MOST, int(total * DEV_SHARE)) if split == "dev" else int(total * TEST_SHARE)


def not_enough(split: Split, asked: int, there: int, where: str) -> ConfigError:
    return ConfigError(
        f"{asked} {split} questions are asked for, {there} are there ({where}); set questions.{split}: {there} or less, "
        "or null for all",
        key=f"questions.{split}",
    )
