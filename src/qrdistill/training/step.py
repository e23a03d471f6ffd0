"""THE training step.

Tensor suffixes: B paths of the step, S students (in the order of their names), N paths of the pool,
K text spans, H hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qrdistill.base.draws import seed_of
from qrdistill.base.errors import TrainingError
from qrdistill.routing.config import RouterConfig
from qrdistill.routing.gates import Assigner, Gates, Request, pin
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.students.student import Student, View
from qrdistill.training.config import TrainConfig
from qrdistill.training.hidden_agreement import Agreement, Mutual, SharedPath, pool_hidden
from qrdistill.training.losses import gate_entropy, load_balance, routed_advantage, routed_nll
from qrdistill.training.micro_batches import EncodedAt, Work, share_out
from qrdistill.training.optimizers import Group

_FLOAT16_SCALE = 1024.0  # fixed, so that nothing of it must be saved: float16 drops gradients below 6e-8


@dataclass(frozen=True)
class Team:
    """All that learns, and how."""

    students: Sequence[Student]
    assigner: Assigner
    ledger: Ledger
    mutual: Mutual | None
    groups: Sequence[Group]
    router: RouterConfig
    config: TrainConfig
    seed: int

    @property
    def learned(self) -> bool:
        return bool(self.assigner.parameters())

    @property
    def dense(self) -> bool:
        return self.learned and self.router.peer_loss == "dense"

    @property
    def fresh(self) -> bool:
        return self.learned and self.router.peer_loss == "fresh"

    @property
    def loss_scale(self) -> float:
        """What the students' loss is multiplied by before backward, and their gradients divided by after it."""
        halves = {self.config.autocast, *(student.config.dtype for student in self.students)}
        return _FLOAT16_SCALE if "float16" in halves else 1.0


@dataclass(frozen=True)
class StepBatch:
    """One step's paths. `spans` holds the paths that every student reads, by index in the step."""

    request: Request
    path_ids: Sequence[str]
    characters_B: Tensor
    pinned_BS: Tensor
    encoded: EncodedAt
    spans: dict[int, SharedPath] = field(default_factory=dict[int, SharedPath])


@dataclass(frozen=True)
class StepReport:
    """What a step measured; losses are floats in the units of `losses`."""

    gates: Gates
    nll_BS: Tensor  # nats per path, NaN where not measured in this step
    num_targets_BS: Tensor  # tokens each student learnt from, per path
    losses: dict[str, float]
    gradient_norms: dict[str, float]
    tokens_S: list[int]  # tokens that each student computed, measurements included
    staleness: float | None  # mean age of the losses that the router saw, in steps


def training_step(batch: StepBatch, team: Team, factor: float) -> StepReport:
    """One step of joint training: gates, imitation, agreement, the router's own loss, the updates.

        L = sum_s sum_b alpha_bs NLL_bs / N_s  +  lambda_mut L_mut  +  L_route  +  lambda_bal L_bal

    The micro-batches' losses add up to L, so how a step is cut does not matter. `factor` scales the
    students' learning rates. Source: arXiv 2508.16861; docs/method.md maps each term to its function.

    Raises TrainingError where a loss or gradient is not finite; no weight was changed then.
    """
    gates = pin(team.assigner.gates(batch.request), batch.pinned_BS)
    weights_BS = (gates.soft_BS if team.dense else gates.hard_BS).detach()
    targets_BS, nll_BS = _num_targets(batch, weights_BS), torch.full_like(weights_BS, torch.nan)
    read_BS = torch.zeros_like(weights_BS, dtype=torch.bool)
    num_targets_S = (weights_BS * targets_BS).sum(0)
    totals = {"imitate": torch.zeros(()), "mutual": torch.zeros(()), "competence": torch.zeros(())}
    tokens_S = [0] * len(team.students)

    for index, work in enumerate(_share_out(batch, weights_BS, team)):
        views = {s: _read(team, s, batch, work, index, weights_BS) for s in work.reads}
        imitate = torch.stack(
            [
                routed_nll(view.nll_B, weights_BS[work.reads[s], s].to(view.nll_B), float(num_targets_S[s]))
                for s, view in views.items()
            ]
        ).sum()
        agree = _agreement(batch, team, work, views)
        weight = team.mutual.config.weight if team.mutual else 0.0
        loss = imitate + weight * agree.mse + agree.competence
        if work.train and loss.requires_grad:
            (team.loss_scale * loss).backward()
        for s, view in views.items():
            nll_BS[work.reads[s], s] = view.nll_B.detach().to(nll_BS)
            read_BS[work.reads[s], s] = True
            tokens_S[s] += view.num_tokens
        for name, value in zip(totals, (imitate, agree.mse, agree.competence), strict=True):
            totals[name] = totals[name] + value.detach().cpu()

    _check_finite(batch, team, read_BS & ~nll_BS.isfinite())
    _unscale(team)
    team.ledger.record(batch.request.rows_B, nll_BS / batch.characters_B[:, None], batch.request.step)
    route = routed_advantage(
        gates.soft_BS if team.dense else gates.hard_BS,
        team.ledger.relative_NS[torch.from_numpy(batch.request.rows_B)],
    )
    balance, entropy = load_balance(gates.soft_BS), gate_entropy(gates.soft_BS)
    router_loss = route + team.router.balance * balance - team.router.entropy * entropy
    if router_loss.requires_grad:
        router_loss.backward()

    norms = _update(batch, team, factor)
    losses = {name: float(value) for name, value in totals.items()}
    losses |= {"route": route.item(), "balance": balance.item(), "entropy": entropy.item()}
    staleness = team.ledger.staleness(batch.request.rows_B, batch.request.step)
    return StepReport(gates, nll_BS, targets_BS, losses, norms, tokens_S, staleness)


def _num_targets(batch: StepBatch, weights_BS: Tensor) -> Tensor:
    """Target tokens of each routed pair, in the student's own tokens; 0 where nothing is learnt."""
    targets_BS = torch.zeros_like(weights_BS)
    for b, s in (weights_BS > 0).nonzero().tolist():
        targets_BS[b, s] = batch.encoded(s, b).num_targets
    return targets_BS


def _share_out(batch: StepBatch, weights_BS: Tensor, team: Team) -> list[Work]:
    routed_BS = weights_BS > 0
    trains_S = torch.tensor([not student.config.frozen for student in team.students])
    peek_BS = ~(routed_BS & trains_S) if team.fresh else routed_BS & ~trains_S
    return share_out(
        routed_BS & trains_S,
        peek_BS,
        list(batch.spans),
        batch.encoded,
        team.students,
        max_tokens=team.config.max_tokens_per_batch,
        shared_prefix=team.config.shared_prefix,
    )


def _read(team: Team, s: int, batch: StepBatch, work: Work, index: int, weights_BS: Tensor) -> View:
    """One student's forward. Dropout is seeded per student, step and micro-batch: resume needs no RNG state."""
    student = team.students[s]
    trains = work.train and not student.config.frozen
    if student.model.training != trains:
        student.model.train(trains)
    torch.manual_seed(seed_of(team.seed, "dropout", student.name, batch.request.step, index))
    with torch.set_grad_enabled(trains):
        return student.forward(
            [batch.encoded(s, path) for path in work.reads[s]],
            hidden=bool(work.shared),
            shared_prefix=team.config.shared_prefix,
            learnt=(weights_BS[work.reads[s], s] > 0).tolist(),
        )


def _agreement(batch: StepBatch, team: Team, work: Work, views: dict[int, View]) -> Agreement:
    """The micro-batch's part of the mutual losses, over the spans of its shared paths."""
    paths = [batch.spans[path] for path in work.shared]
    if team.mutual is None or not sum(path.num_spans for path in paths):
        return Agreement(torch.zeros(()), torch.zeros(()))
    num_spans = [path.num_spans for path in paths]
    pooled = [
        pool_hidden((view.hidden or [])[: len(paths)], [path.poolings[s] for path in paths], num_spans)
        for s, view in views.items()
    ]
    device = pooled[0].device
    owner_K = torch.repeat_interleave(torch.arange(len(paths)), torch.tensor(num_spans)).to(device)
    characters_B1 = batch.characters_B[work.shared, None].to(device)
    nll_BS = torch.stack([view.nll_B[: len(paths)] for view in views.values()], dim=1) / characters_B1
    every = [path.num_spans for path in batch.spans.values()]
    return team.mutual(pooled, owner_K, nll_BS, num_spans=sum(every), num_paths=len(every))


def _unscale(team: Team) -> None:
    """Before the router's own loss adds gradients that were never scaled."""
    if team.loss_scale != 1:
        for parameter in (parameter for group in team.groups for parameter in group.parameters):
            if parameter.grad is not None:
                parameter.grad.mul_(1 / team.loss_scale)


def _check_finite(batch: StepBatch, team: Team, bad_BS: Tensor) -> None:
    for s, student in enumerate(team.students):
        if bool(bad_BS[:, s].any()):
            rows: list[int] = bad_BS[:, s].nonzero().flatten().tolist()
            paths = [batch.path_ids[b] for b in rows]
            raise _not_finite(batch, f"loss of student {student.name}", paths)


def _not_finite(batch: StepBatch, what: str, paths: Sequence[str]) -> TrainingError:
    named = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    return TrainingError(
        f"step {batch.request.step}: the {what} is not finite (paths: {named}); no weight was changed by this "
        "step. Lower the learning rate or train.clip, use dtype float32 or autocast none, or drop these paths"
    )


def _update(batch: StepBatch, team: Team, factor: float) -> dict[str, float]:
    norms = {group.name: group.gradient_norm() for group in team.groups}
    for group in team.groups:
        norm = norms[group.name]
        if norm is not None and not math.isfinite(norm):
            raise _not_finite(batch, f"gradient of {group.name}", batch.path_ids)
    for group in team.groups:
        if norms[group.name] is not None:
            group.step(factor)
        group.optimizer.zero_grad(set_to_none=True)
    if team.mutual is not None:
        team.mutual.finish_step()
    return {name: norm for name, norm in norms.items() if norm is not None}
