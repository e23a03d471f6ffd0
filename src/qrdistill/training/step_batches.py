"""Draws each step's batch: which paths, with or without their style's hint.

A pure function of the step, so nothing of it needs saving. Tensor suffixes: N paths of the pool, B
paths of one step, S students, F embedding features.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
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
    pinned_NS = torch.zeros(len(material.paths), len(names), dtype=torch.bool)
    for row, path in enumerate(material.path_ids if allowed else ()):
        if path in allowed:
            pinned_NS[row] = torch.tensor([name in allowed[path] for name in names])
    return pinned_NS


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

        self._worker = ThreadPoolExecutor(1, "tokens")
        self._ahead: Future[None] | None = None

    def batch(self, step: int) -> StepBatch:
        """One step's paths; while the step is computed, a thread makes the next one's tokens."""
        material, config = self._material, self._config
        if self._ahead:
            wait([self._ahead])  # what went wrong there goes wrong again, and is said, where the tokens are asked for
        rows, hints = self._drawn(step)
        material.tokenize(rows, hints)
        if step + 1 < config.num_steps:
            self._ahead = self._worker.submit(material.tokenize, *self._drawn(step + 1))
        rows_B, path_ids = np.array(rows), [material.path_ids[row] for row in rows]
        index_B = torch.from_numpy(rows_B)

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

    def _drawn(self, step: int) -> tuple[list[int], list[bool]]:
        """The paths of a step, and whether each one's prompt names its style."""
        rows: list[int] = self._order.rows(step).tolist()
        dropout = self._config.style_dropout
        return rows, [hinted(self._seed, step, self._material.path_ids[row], dropout) for row in rows]
