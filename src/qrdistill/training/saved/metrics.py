"""A step's report as a metrics line and as assignment records.

Tensor suffixes: N paths of the pool, B paths of the step, S students.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qrdistill.base.records import Assignment
from qrdistill.training.method import StepBatch
from qrdistill.training.step import StepReport, Team


def metrics(report: StepReport, team: Team, *, step: int, round: int, factor: float) -> dict[str, Any]:
    """One line of metrics.jsonl.

    loss: what the students descend, the terms between them included. Then each method's terms by name, and at the end what it records. nll: per
    student, nats per target token on the paths it learnt from; None where it got none. share: each student's share
    of the step's chosen pairs. probability: the router's mean. staleness: steps.
    """
    names = [student.name for student in team.students]
    learnt_BS = report.num_targets_BS > 0
    paid_S = torch.where(learnt_BS, report.nll_BS, 0.0).sum(0)
    targets_S = report.num_targets_BS.sum(0)
    pairs = max(1, int(learnt_BS.sum()))

    def each(values_S: Tensor) -> dict[str, float]:
        return dict(zip(names, values_S.tolist(), strict=True))

    return {
        "step": step,
        "round": round,
        "loss": report.loss,
        **report.losses,
        "nll": {
            name: paid / targets if targets else None
            for name, paid, targets in zip(names, paid_S.tolist(), targets_S.tolist(), strict=True)
        },
        "share": each(learnt_BS.sum(0) / pairs),
        "probability": each(report.gates.soft_BS.detach().mean(0)),
        "tokens": dict(zip(names, report.tokens_S, strict=True)),
        "targets": {name: int(count) for name, count in zip(names, targets_S.tolist(), strict=True)},
        "gradient_norm": report.gradient_norms,
        "learning_rate": {
            name: rate * (factor if scheduled else 1.0) for name, (rate, scheduled) in team.rates.items()
        },
        "staleness": report.staleness,
        **report.facts,
    }


def assignment_rows(report: StepReport, batch: StepBatch, team: Team, *, round: int) -> list[Assignment]:
    """One record per path and student, in the order of the pool, then of the students' names."""
    index_B = torch.from_numpy(batch.request.rows_B)
    nll_BS, step_BS = team.ledger.nll_NS[index_B].tolist(), team.ledger.step_NS[index_B].tolist()
    soft_BS = report.gates.soft_BS.detach().double().tolist()
    chosen_BS = (report.num_targets_BS > 0).tolist()
    return [
        Assignment.model_construct(
            round=round,
            step=batch.request.step,
            path_id=path_id,
            student=student.name,
            probability=soft_BS[b][s],
            chosen=chosen_BS[b][s],
            nll=nll_BS[b][s] if step_BS[b][s] >= 0 else None,
            nll_step=step_BS[b][s] if step_BS[b][s] >= 0 else None,
        )
        for b, path_id in enumerate(batch.path_ids)
        for s, student in enumerate(team.students)
    ]
