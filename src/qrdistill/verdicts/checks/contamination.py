"""Decontamination: what students train on must not contain what they are tested on.

A text contains an evaluation question when it holds at least 80 % of the question's word
n-grams and all of its numbers: a template filled with other numbers is another question. N-grams that
three or more evaluation questions share are the data set's phrases ("give the result as your final
answer ...") and give nothing away. A question with hardly any n-grams of its own, because it is short
or all phrase, counts only when it is the whole text.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path

from qrdistill.base.errors import InputError
from qrdistill.base.progress import Progress, Silent
from qrdistill.base.records import Question
from qrdistill.base.store import read_table, temporary_folder
from qrdistill.compute.workers import Workers, write_shards
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.open_case import Case, Finding

_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # scripts whose words have no spaces between
_WORD = re.compile(rf"[{_UNSPACED}]|\d+(?:[.,]\d+)*|[^\W\d{_UNSPACED}]+|[-+*/=<>^%$]")
_ASCII_WORD = re.compile(r"[a-z_]+|\d+(?:[.,]\d+)*|[-+*/=<>^%$]")  # the same of an ASCII text, in half the time
_SHOWN = 5  # offenders that a message names
_SHARE = 0.8  # of a question's n-grams gives it away
_PHRASE = 3  # evaluation questions with different words that share an n-gram make it a phrase
_SHARD = 4096  # questions that a worker compares at once
_FEW = 5  # n-grams of its own; with fewer a question cannot be told from others by a part of it


def words(text: str) -> list[str]:
    """
    >>> words("Tom pays $1,250.50: why?")
    ['tom', 'pays', '$', '1,250.50', 'why']
    """
    lower = text.lower()
    return (_ASCII_WORD if lower.isascii() else _WORD).findall(lower)


def _numbers(tokens: Iterable[str]) -> frozenset[str]:
    return frozenset(token for token in tokens if token[0].isdigit())


class Evaluation:
    """An index of the dev and test questions' n-grams."""

    def __init__(self, questions: Iterable[Question], n: int) -> None:
        self._n = n
        self._questions: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        self._sizes: dict[str, int] = {}
        self._numbers: dict[str, frozenset[str]] = {}
        self._whole: dict[tuple[str, ...], str] = {}
        for question in questions:
            if question.split != "train":  # of equal questions the first stands for all
                self._whole.setdefault(tuple(words(question.question)), question.id)
        spread = Counter(gram for tokens in self._whole for gram in self._grams(tokens))
        for tokens, id in self._whole.items():
            grams = [gram for gram in self._grams(tokens) if spread[gram] < _PHRASE]
            self._sizes[id], self._numbers[id] = len(grams), _numbers(tokens)
            if len(grams) >= _FEW:
                for gram in grams:
                    self._questions[gram].append(id)
        self._pairs = {pair for gram in self._questions for pair in pairwise(gram)}

    def _grams(self, tokens: Sequence[str]) -> set[tuple[str, ...]]:
        return set(zip(*(tokens[start:] for start in range(self._n)), strict=False))

    def contained_in(self, text: str) -> tuple[str, float] | None:
        """The evaluation question that a text holds most of, and the share of its n-grams; or None."""
        tokens = words(text)
        whole = self._whole.get(tuple(tokens))
        if whole is not None:
            return whole, 1.0
        known = bytes(map(self._pairs.__contains__, pairwise(tokens)))
        if self._n > 1 and b"\1" * (self._n - 1) not in known:
            return None  # most texts: an n-gram that is shared is n - 1 pairs in a row that are
        shared = self._grams(tokens) & self._questions.keys()
        if not shared:
            return None
        hits = Counter(id for gram in shared for id in self._questions[gram])
        found = {id: count / self._sizes[id] for id, count in hits.items()}
        numbers = _numbers(tokens)
        offenders = [id for id, share in found.items() if share >= _SHARE and self._numbers[id] <= numbers]
        best = min(offenders, key=lambda id: (-found[id], id), default=None)
        return None if best is None else (best, found[best])


def contaminated(
    questions: Collection[Question], config: FilterConfig, workers: Workers | None = None, beside: Path | None = None
) -> dict[str, tuple[str, float]]:
    """Train question -> (the dev or test question it contains, share of that one's n-grams).

    With `workers`, they compare; what they are handed lies for so long `beside` a table.
    """
    if config.contamination is None:
        return {}
    train = (one for one in questions if one.split == "train")  # by the million: they go by one at a time
    compare = _Compare([one for one in questions if one.split != "train"], config.contamination)
    if workers is None:
        return compare.hits(train)
    assert beside is not None
    with temporary_folder(beside) as folder:
        groups = iter(lambda: list(islice(train, _SHARD)), [])
        files = write_shards(folder, Question, groups)
        parts = list(workers.map(compare, files, progress=Silent()))
    return {id: hit for part in parts for id, hit in part.items()}


class _Compare:
    """Finds the train questions of a shard that contain one of `evaluation`'s."""

    def __init__(self, evaluation: Sequence[Question], n: int) -> None:
        self._evaluation, self._n = evaluation, n

    def __call__(self, shard: Path, progress: Progress) -> dict[str, tuple[str, float]]:
        return self.hits(read_table(shard, Question))

    def hits(self, train: Iterable[Question]) -> dict[str, tuple[str, float]]:
        return {one.id: hit for one in train if (hit := self._index.contained_in(one.question)) is not None}

    @cached_property
    def _index(self) -> Evaluation:
        return Evaluation(self._evaluation, self._n)


def refuse_contaminated(
    questions: Collection[Question], config: FilterConfig, workers: Workers | None = None, beside: Path | None = None
) -> dict[str, tuple[str, float]]:
    """`contaminated`; raises InputError that names the train questions which are also asked in dev or test.

    Silent with `filter.contaminated: drop`: then their paths are dropped and counted.
    """
    found = contaminated(questions, config, workers, beside)
    if found and config.contaminated == "refuse":
        shown = "; ".join(
            f"{id} contains {other} ({share:.0%} of its {config.contamination}-word sequences)"
            for id, (other, share) in list(found.items())[:_SHOWN]
        )
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise InputError(
            f"{len(found)} train questions are also asked in dev or test: {shown}{more}. Take them out of "
            "one side, or set filter.contaminated: drop to leave out their paths (filter.contamination: null "
            "switches the comparison off)"
        )
    return found


class Contamination:
    """The check on paths: a teacher may recite a test question that the train question is not.

    found: the train questions that are also asked in dev or test, as `contaminated` names them.
    """

    def __init__(
        self, questions: Iterable[Question], config: FilterConfig, found: Mapping[str, tuple[str, float]]
    ) -> None:
        assert config.contamination is not None
        self._index = Evaluation(questions, config.contamination)
        self._questions = found

    def run(self, cases: Sequence[Case]) -> list[Finding]:
        return [self._finding(case) for case in cases]

    def _finding(self, case: Case) -> Finding:
        asked = self._questions.get(case.question.id)
        if asked:
            return Finding("drop", f"its question is also asked as {asked[0]}")
        recited = self._index.contained_in(case.path.lesson)
        return Finding("drop", f"recites {recited[0]}") if recited else Finding("keep")
