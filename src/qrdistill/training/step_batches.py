"""Draws each step's batch: which paths, with or without their style's hint.

A pure function of the step, so nothing of it needs saving. Tensor suffixes: N paths of the pool, B
paths of one step, S students, F embedding features.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from qrdistill.routing.gates import Request
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.students.tokens import Encoded
from qrdistill.training.config import TrainConfig
from qrdistill.training.data import Material, Order, hinted
from qrdistill.training.method import StepBatch


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
        pinned_NS: Tensor,
        ledger: Ledger,
        *,
        config: TrainConfig,
        seed: int,
    ) -> None:
        self._material, self._order, self._ledger = material, order, ledger
        self._pinned_NS = pinned_NS
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
            Request(rows_B, material.features_NF[index_B], self._ledger, step, config.num_steps),
            path_ids,
            material.characters_N[index_B],
            self._pinned_NS[index_B],
            encoded,
            hints,
        )
