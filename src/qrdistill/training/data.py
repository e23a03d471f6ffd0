"""What training reads: the pool of paths, each student's tokens of it, and the order of the steps.

Tensor suffixes: N paths of the pool, B paths of one step, S students, F embedding features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qrdistill.base.draws import seed_of, uniform
from qrdistill.base.records import Question, ReasoningPath
from qrdistill.paths.styles import Style, student_prompt
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded, Packed, Unencodable
from qrdistill.training.mesh.ranks import Ranks
from qrdistill.training.saved.token_counts import token_counts

_REMEMBERED = 1 << 16  # encodings kept in memory; beyond it a path is tokenized again when drawn
_LOOKED_AT = 500  # paths whose tokens are looked at for lost text
_MARGIN = 32  # tokens: a path nearer than this to a student's limit is encoded to be sure


class Material:
    """The pool: paths that every student can read, in the given order.

    `kept_out` counts the others by reason (`mistral: too_long`): they are never cut silently.
    """

    def __init__(
        self,
        questions: Mapping[str, Question],
        paths: Sequence[ReasoningPath],
        students: Sequence[Student],
        styles: Mapping[str, Style],
        embeddings: NDArray[np.float32] | None = None,
        counts: Path | None = None,
        max_path_tokens: int | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """counts: the folder where the paths' token counts are kept between starts; None: nowhere."""
        self._longest, self.ranks = max_path_tokens, ranks or Ranks()
        self.students, self._questions, self._styles = students, questions, styles
        self.kept_out: Counter[str] = Counter()
        self._all = list(paths)
        self._encode = lru_cache(maxsize=_REMEMBERED)(self._packed)
        self.rows = self._readable(counts)  # pool row -> row as given
        self.paths = [paths[row] for row in self.rows]
        self.characters_N = torch.tensor([max(1, len(path.lesson)) for path in self.paths], dtype=torch.float64)
        self.features_NF = standardised(embeddings, self.rows)

    def _readable(self, folder: Path | None) -> list[int]:
        """The rows that every student can read; the others are counted by the first reason."""
        rows = [row for row, path in enumerate(self._all) if path.lesson.strip()]
        self.kept_out["empty"] += len(self._all) - len(rows)
        why: dict[int, str] = {}

        def texts(place: int) -> tuple[str, str]:
            return self._prompt(rows[place], True), self._all[rows[place]].lesson

        for student in self.students:
            limit = student.codec.max_context
            counts_N = token_counts(student.codec, texts, len(rows), folder)
            bounds = [bound for bound in (limit, self._longest) if bound is not None]
            unsure_N = (counts_N == 0) | (bool(bounds) and counts_N + _MARGIN >= min(bounds, default=0))
            for place in np.flatnonzero(unsure_N).tolist():
                try:
                    targets = student.encode(*texts(place)).num_targets
                except Unencodable as reason:
                    why.setdefault(rows[place], f"{student.name}: {reason.reason}")
                else:
                    if self._longest is not None and targets > self._longest:
                        why.setdefault(rows[place], f"{student.name}: over_limit")
        self.kept_out.update(why.values())
        self.kept_out = +self.kept_out  # reasons that kept something out
        return [row for row in rows if row not in why]

    def _prompt(self, row: int, hinted: bool) -> str:
        path = self._all[row]
        style = self._styles.get(path.style) if hinted else None
        return student_prompt(self._questions[path.question_id].question, style)

    def _packed(self, s: int, row: int, hinted: bool) -> Packed:
        return Packed.of(self.students[s].encode(self._prompt(row, hinted), self._all[row].lesson))

    def lost_text(self) -> list[str]:
        """A sentence per student whose tokenizer loses text, counted over at most `_LOOKED_AT` paths spread over the pool."""
        rows = range(0, len(self.rows), max(1, -(-len(self.rows) // _LOOKED_AT)))
        found: list[str] = []
        for s, student in enumerate(self.students):
            encoded = [self.encoded(s, row, True) for row in rows]
            prompts = sum(student.codec.loses(each.prompt_ids) for each in encoded)
            labels = sum(not each.exact or student.codec.loses(each.response_ids) for each in encoded)
            if prompts or labels:
                found.append(
                    f"student {student.name}: its tokenizer loses text (unknown characters, or letter case) in {labels} of "
                    f"the {len(rows)} paths looked at and in {prompts} of their prompts, so it learns and is asked something "
                    "else; choose a model whose tokenizer knows these characters, or clean the texts"
                )
        return found

    def longest(self, s: int) -> list[Encoded]:
        """Of student `s`: the pool's longest path and its shortest (in characters), for `packing.proof`."""
        sizes = [len(self._prompt(row, True)) + len(self._all[row].lesson) for row in self.rows]
        ends = dict.fromkeys((sizes.index(max(sizes)), sizes.index(min(sizes)))) if sizes else ()
        return [self.encoded(s, row, True) for row in ends]

    def encoded(self, s: int, row: int, hinted: bool) -> Encoded:
        """Path `row` of the pool in the tokens of student `s`, with or without its style's hint."""
        return self._encode(s, self.rows[row], hinted).unpacked()

    @torch.no_grad()
    def measure(self, measured: Sequence[int] | None = None, *, max_tokens: int, shared_prefix: bool) -> Tensor:
        """These paths' NLL (None: every one's) with every student as it is: nats per character, float64 [N, S]."""
        measured = range(len(self.paths)) if measured is None else measured
        nll_NS = torch.full((len(measured), len(self.students)), torch.nan, dtype=torch.float64)
        for s, student in enumerate(self.students):
            if not self.ranks.owns(s):
                continue
            student.model.eval()
            for start in range(0, len(measured), 256):
                encoded = [self.encoded(s, row, True) for row in measured[start : start + 256]]
                parts = student.split(encoded, max_tokens, shared_prefix=shared_prefix)
                for part, counts in self.ranks.shares(parts):
                    view = student.forward([encoded[at] for at in part], shared_prefix=shared_prefix)
                    if counts:
                        nll_NS[[start + at for at in part], s] = view.nll_B.cpu().double()
        return self.ranks.gathered(nll_NS) / self.characters_N[list(measured), None]


def standardised(embeddings_NF: NDArray[np.float32] | None, rows: Sequence[int]) -> Tensor:
    """The pool's embeddings, each feature with mean 0 and spread 1 over the pool; [N, 0] without any.

    Sentence embeddings crowd into a narrow cone; the router should see what differs.
    """
    if embeddings_NF is None:
        return torch.zeros(len(rows), 0)
    features_NF = torch.from_numpy(embeddings_NF[np.array(rows, dtype=np.int64)]).double()
    known_NF = features_NF[features_NF.any(1)]  # a row of zeros was never embedded
    if not len(known_NF):
        return features_NF.float()
    spread_F = known_NF.std(0, unbiased=False).clamp_min(1e-8)
    return ((features_NF - known_NF.mean(0)) / spread_F).float()


class Order:
    """Which paths each step draws: a permutation per epoch, a pure function of seed, round and step.

    An epoch's last few paths that do not fill a step wait for the next permutation; so no step
    holds one path twice.

    >>> order = Order([0, 1, 2, 3, 4], ["q"] * 5, size=2, seed=0)
    >>> sorted([*order.rows(0), *order.rows(1)]) == sorted({*order.rows(0), *order.rows(1)})
    True
    """

    def __init__(
        self,
        rows: Sequence[int],
        question_ids: Sequence[str],
        *,
        size: int,
        seed: int,
        by: Literal["paths", "questions"] = "paths",
    ) -> None:
        """`rows` may be drawn; `question_ids` are those of `rows`."""
        self.size = min(size, len(rows))
        self._per_epoch = len(rows) // self.size if rows else 0
        self._seed, self._by = seed, by
        self._rows = np.array(rows, dtype=np.int64)
        names = {name: index for index, name in enumerate(dict.fromkeys(question_ids))}
        self._group = np.array([names[name] for name in question_ids], dtype=np.int64)
        self._permutation = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        generator = np.random.default_rng(seed_of(self._seed, "order", epoch))
        shuffled = generator.permutation(len(self._rows))
        if self._by == "questions":
            turn = generator.permutation(int(self._group.max()) + 1)
            shuffled = shuffled[np.argsort(turn[self._group[shuffled]], kind="stable")]
        return self._rows[shuffled]

    def rows(self, step: int) -> NDArray[np.int64]:
        epoch, place = divmod(step, self._per_epoch)
        # in pool order: what a step computes does not depend on the order within it
        return np.sort(self._permutation(epoch)[place * self.size : (place + 1) * self.size])


def hinted(seed: int, step: int, path_id: str, style_dropout: float) -> bool:
    """Whether a path's prompt names its style in this step."""
    return uniform(seed, "style", step, path_id) >= style_dropout
