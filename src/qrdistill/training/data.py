"""What training reads: the pool of paths, each student's tokens of it, and the order of the steps.

Tensor suffixes: N paths of the pool, B paths of one step, S students, F embedding features.
"""

from __future__ import annotations

import threading
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
from qrdistill.students.tokens import FEW_CHARACTERS, Encoded, Packed, Unencodable, weight
from qrdistill.training.mesh.ranks import Ranks
from qrdistill.training.pool import Lazy, Pool
from qrdistill.training.saved.token_counts import token_counts

_REMEMBERED = 1 << 16  # encodings kept in memory; beyond it a path is tokenized again when drawn
_LOOKED_AT = 500  # paths whose tokens are made to look for lost text before the first step
_SEEN, _LABEL, _PROMPT = 1, 2, 4  # of a path: its tokens were made; its label loses text; its prompt does
_MARGIN = 32  # tokens: a path nearer than this to a student's limit is encoded to be sure


class Material:
    """The pool: paths that every student can read, in the given order.

    `kept_out` counts the others by reason (`mistral: too_long`): they are never cut silently.
    """

    def __init__(
        self,
        questions: Mapping[str, Question],
        paths: Sequence[ReasoningPath] | Pool,
        students: Sequence[Student],
        styles: Mapping[str, Style],
        embeddings: NDArray[np.float32] | None = None,
        counts: Path | None = None,
        max_path_tokens: int | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """questions: of paths that are records; a `Pool` has their texts. counts: the folder where the paths' token counts
        are kept between starts; None: nowhere."""
        self._longest, self.ranks = max_path_tokens, ranks or Ranks()
        self.students, self._styles = students, styles
        self.kept_out: Counter[str] = Counter()
        self.pool = Pool.of(paths, questions)
        self._hints = [student_prompt("", styles.get(name)) for name in self.pool.styles]  # what follows a question
        self._tokens: dict[tuple[int, int, bool], Packed] = {}  # (student, row as given, hinted), the oldest first
        self._lock = threading.Lock()
        self._looked_SN = np.zeros((len(students), len(self.pool)), np.uint8)
        self._told = set[str]()
        self.rows = rows = self._readable(counts)  # pool row -> row as given
        self.paths = Lazy(len(rows), lambda row: self.pool[rows[row]])
        self.path_ids = Lazy(len(rows), lambda row: self.pool.id(rows[row]))
        self.styles = Lazy(len(rows), lambda row: self.pool.styles[self.pool.style_N[rows[row]]])
        self.characters_N = torch.from_numpy(self.pool.characters_N[rows].clip(1).astype(np.float64))
        self.features_NF = standardised(embeddings, rows)

    @property
    def question_N(self) -> NDArray[np.int32]:
        """The number of each path's question."""
        return self.pool.question_N[self.rows]

    def _readable(self, folder: Path | None) -> NDArray[np.int64]:
        """The rows that every student can read; the others are counted by the first reason.

        A text's characters say that it fits, or its tokens are counted; where these leave a doubt, it is encoded.
        """
        rows = np.flatnonzero(self.pool.blank_N == 0)
        self.kept_out["empty"] += len(self.pool) - len(rows)
        why: dict[int, str] = {}

        def texts(row: int) -> tuple[str, str]:
            return self._prompt(row, True), self.pool[row].lesson

        for student in self.students:
            bounds = [bound for bound in (student.codec.max_context, self._longest) if bound is not None]
            unsure = self._doubtful(rows, student, min(bounds, default=None))
            counts = token_counts(student.codec, texts, unsure, folder)
            near = (counts == 0) | (bool(bounds) and counts + _MARGIN >= min(bounds, default=0))
            for row in unsure[near].tolist():
                try:
                    targets = student.encode(*texts(row)).num_targets
                except Unencodable as reason:
                    why.setdefault(row, f"{student.name}: {reason.reason}")
                else:
                    if self._longest is not None and targets > self._longest:
                        why.setdefault(row, f"{student.name}: over_limit")
        self.pool.let_go()
        self.kept_out.update(why.values())
        self.kept_out = +self.kept_out  # reasons that kept something out
        return rows[~np.isin(rows, list(why))] if why else rows

    def _doubtful(self, rows: NDArray[np.int64], student: Student, limit: int | None) -> NDArray[np.int64]:
        """Those that a student may not be able to read, going by their characters."""
        around = student.codec.most_around
        if around is None:
            return rows
        doubtful = self.pool.characters_N[rows] < FEW_CHARACTERS
        if limit is not None:
            hints = np.array([weight(hint) for hint in self._hints], np.int64)
            most = self.pool.weight_N[rows] + hints[self.pool.style_N[rows]] + around
            doubtful |= most + _MARGIN >= limit
        return rows[doubtful]

    def _prompt(self, row: int, hinted: bool) -> str:
        path = self.pool[row]
        return student_prompt(path.asked, self._styles.get(path.style) if hinted else None)

    def tokenize(self, rows: Sequence[int], hints: Sequence[bool], students: Sequence[int] | None = None) -> None:
        """Makes the tokens of these paths of the pool before they are asked for; another thread may call it.

        hints: whether each path's prompt names its style. students: for whom; None: for all.
        """
        given = [(int(self.rows[row]), hinted) for row, hinted in zip(rows, hints, strict=True)]
        for s in range(len(self.students)) if students is None else students:
            new = [(row, hinted) for row, hinted in dict.fromkeys(given) if (s, row, hinted) not in self._tokens]
            if not new:
                continue
            pairs = [(self._prompt(*one), self.pool[one[0]].lesson) for one in new]
            codec = self.students[s].codec
            made = codec.encode_all(pairs)
            for (row, _), each in zip(new, made, strict=True):
                label = not each.exact or codec.loses(each.response_ids)
                self._looked_SN[s, row] |= _SEEN | _LABEL * label | _PROMPT * codec.loses(each.prompt_ids)
            packed = [Packed.of(each) for each in made]
            with self._lock:
                self._tokens.update(((s, *one), each) for one, each in zip(new, packed, strict=True))
                while len(self._tokens) > _REMEMBERED:
                    del self._tokens[next(iter(self._tokens))]

    def lost_text(self) -> list[str]:
        """A sentence per student whose tokenizer loses text and was not named before.

        Before the first step it goes by at most `_LOOKED_AT` paths spread over the pool, later by all that were read.
        """
        spread = range(0, len(self.rows), max(1, -(-len(self.rows) // _LOOKED_AT)))
        rows = [row for row in spread if not self._looked_SN[:, self.rows[row]].all()]
        self.tokenize(rows, [True] * len(rows))
        found: list[str] = []
        for student, looked_N in zip(self.students, self._looked_SN[:, self.rows], strict=True):
            seen, labels, prompts = (int(np.count_nonzero(looked_N & bit)) for bit in (_SEEN, _LABEL, _PROMPT))
            if (labels or prompts) and student.name not in self._told:
                self._told.add(student.name)
                found.append(
                    f"student {student.name}: its tokenizer loses text (unknown characters, or letter case) in {labels} of "
                    f"the {seen} paths looked at and in {prompts} of their prompts, so it learns and is asked something "
                    "else; choose a model whose tokenizer knows these characters, or clean the texts"
                )
        return found

    def longest(self, s: int) -> list[Encoded]:
        """Of student `s`: the pool's longest path and its shortest (in characters), for `packing.proof`."""
        if not len(self.rows):
            return []
        hints = np.array([len(hint) for hint in self._hints])
        sizes = (self.pool.asked_N + self.pool.characters_N + hints[self.pool.style_N])[self.rows]
        ends = dict.fromkeys((int(sizes.argmax()), int(sizes.argmin())))
        return [self.encoded(s, row, True) for row in ends]

    def encoded(self, s: int, row: int, hinted: bool) -> Encoded:
        """Path `row` of the pool in the tokens of student `s`, with or without its style's hint."""
        found = self._tokens.get((s, int(self.rows[row]), hinted))
        if found is None:
            self.tokenize([row], [hinted], [s])
            found = self._tokens[s, int(self.rows[row]), hinted]
        return found.unpacked()

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
                rows = measured[start : start + 256]
                self.tokenize(rows, [True] * len(rows), [s])
                encoded = [self.encoded(s, row, True) for row in rows]
                parts = student.split(encoded, max_tokens, shared_prefix=shared_prefix)
                for part, counts in self.ranks.shares(parts):
                    view = student.forward([encoded[at] for at in part], shared_prefix=shared_prefix)
                    if counts:
                        nll_NS[[start + at for at in part], s] = view.nll_B.cpu().double()
        return self.ranks.gathered(nll_NS) / self.characters_N[list(measured), None]


def standardised(embeddings_NF: NDArray[np.float32] | None, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """The pool's embeddings, each feature with mean 0 and spread 1 over the pool; [N, 0] without any.

    Sentence embeddings crowd into a narrow cone; the router should see what differs.
    """
    if embeddings_NF is None:
        return torch.zeros(len(rows), 0)
    features_NF = torch.from_numpy(embeddings_NF[np.array(rows, dtype=np.int64)]).double()
    known_N = features_NF.any(1)  # a row of zeros was never embedded
    known_NF = features_NF if known_N.all() else features_NF[known_N]
    if not len(known_NF):
        return features_NF.float()
    spread_F, mean_F = known_NF.std(0, unbiased=False).clamp_min(1e-8), known_NF.mean(0)
    return features_NF.sub_(mean_F).div_(spread_F).float()  # in place: twice the embeddings are enough


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
        rows: Sequence[int] | NDArray[np.int64],
        question_ids: Sequence[str] | NDArray[np.int32],
        *,
        size: int,
        seed: int,
        by: Literal["paths", "questions"] = "paths",
    ) -> None:
        """`rows` may be drawn; `question_ids` are those of `rows`."""
        self.size = min(size, len(rows))
        self._per_epoch = len(rows) // self.size if len(rows) else 0
        self._seed, self._by = seed, by
        self._rows = np.array(rows, dtype=np.int64)
        _, first, group = np.unique(np.asarray(question_ids), return_index=True, return_inverse=True)
        self._group = np.argsort(np.argsort(first))[group]  # numbered as they come
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
