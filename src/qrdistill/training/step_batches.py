"""Draws each step's batch: which paths, with or without their style's hint.

A pure function of the step, so nothing of it needs saving. Tensor suffixes: N paths of the pool, B
paths of one step, S students, F embedding features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qrdistill.routing.gates import Request
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.students.tokens import Encoded
from qrdistill.training.config import TrainConfig
from qrdistill.training.data import Material, Order, hinted
from qrdistill.training.method import StepBatch


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


def pinned(material: Material, allowed: Mapping[str, frozenset[str]]) -> Tensor:
    """bool [N, S]: the students that paths with a fixed destination go to; other rows are all False."""
    names = [student.name for student in material.students]
    rows = [[name in allowed.get(path.id, ()) for name in names] for path in material.paths]
    return torch.tensor(rows, dtype=torch.bool).reshape(len(material.paths), len(names))


class StepBatches:
    """The batches of all steps, by step."""

    def __init__(
        self,
        material: Material,
        order: Order,
        features_NF: Tensor,
        pinned_NS: Tensor,
        ledger: Ledger,
        *,
        config: TrainConfig,
        seed: int,
    ) -> None:
        self._material, self._order, self._ledger = material, order, ledger
        self._features_NF, self._pinned_NS = features_NF, pinned_NS
        self._config, self._seed = config, seed

    def batch(self, step: int) -> StepBatch:
        material, config = self._material, self._config
        rows_B = self._order.rows(step)
        rows: list[int] = rows_B.tolist()
        index_B = torch.from_numpy(rows_B)
        path_ids = [material.paths[row].id for row in rows]
        hints = [hinted(self._seed, step, path, config.style_dropout) for path in path_ids]

        def encoded(s: int, b: int) -> Encoded:
            return material.encoded(s, rows[b], hints[b])

        return StepBatch(
            Request(rows_B, self._features_NF[index_B], self._ledger, step, config.steps),
            path_ids,
            material.characters_N[index_B],
            self._pinned_NS[index_B],
            encoded,
            hints,
        )
