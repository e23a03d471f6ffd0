"""THE training step.

Tensor suffixes: B paths of the step, S students (in the order of their names), T target tokens of one path; 1 is
a size of one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qrdistill.base.draws import seed_of
from qrdistill.base.errors import TrainingError
from qrdistill.routing.gates import Gates
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.students.packing.mixed import Mix, Read
from qrdistill.students.student import Student, View
from qrdistill.training.config import TrainConfig
from qrdistill.training.losses import dynamic_weights, routed_nll
from qrdistill.training.mesh.deal import Dealt
from qrdistill.training.mesh.ranks import Ranks
from qrdistill.training.method import Method, Reading, StepBatch, Term, together
from qrdistill.training.micro_batches import Work, share_out
from qrdistill.training.optimizers import Group

_FLOAT16_SCALE = 1024.0  # fixed, so that nothing of it must be saved: float16 drops gradients below 6e-8


@dataclass(frozen=True)
class Team:
    """All that learns, and how."""

    students: Sequence[Student]
    methods: Sequence[Method]
    ledger: Ledger
    groups: Sequence[Group]
    config: TrainConfig
    seed: int
    ranks: Ranks = field(default_factory=Ranks)  # the processes that share the work
    mixes: Sequence[Mix] = ()  # students that are read in one forward, over the base that they share

    @property
    def rates(self) -> dict[str, tuple[float, bool]]:
        """Of everything that learns, also elsewhere: the learning rate, and whether the schedule scales it."""
        learning = {one.name: (one.config.learning_rate, True) for one in self.students if not one.config.frozen}
        return learning | {group.name: (group.learning_rate, group.scheduled) for group in self.groups}

    @property
    def loss_scale(self) -> float:
        """What the students' loss is multiplied by before backward, and their gradients divided by after it."""
        halves = {self.config.autocast, *(student.config.dtype for student in self.students)}
        return _FLOAT16_SCALE if "float16" in halves else 1.0


@dataclass(frozen=True)
class StepReport:
    """What a step measured; losses are floats in the units of `losses`."""

    gates: Gates
    nll_BS: Tensor  # nats per path, NaN where not measured in this step
    num_targets_BS: Tensor  # tokens each student learnt from, per path
    loss: float  # what the students descend: the terms with their weights
    losses: dict[str, float]  # each term without its weight
    gradient_norms: dict[str, float]
    tokens_S: list[int]  # tokens that each student computed, measurements included
    staleness: float | None  # mean age of the losses that the router saw, in steps
    warnings: Sequence[str]
    facts: Mapping[str, object]  # what the methods record


def training_step(batch: StepBatch, team: Team, factor: float) -> StepReport:
    """One step of joint training: reads what the methods ask for, adds up their terms, updates.

        L = sum_s sum_b sum_t w_bst NLL_bst / N_s  +  sum_m A_m  +  sum_m R_m,     N_s = sum_b sum_t |w_bst|

    w are the methods' weights (a negative one is an advantage), A_m a method's terms between students, R_m its own
    loss, which reads the ledger. The micro-batches' losses add up to L, so how a step is cut does not matter.
    `factor` scales the students' learning rates. Source: arXiv 2508.16861; docs/method.md maps each term to its
    function. Of several processes each goes through its part of the micro-batches; what they measured comes together
    before anything is decided by it, so that all of them hold the same ledger and router.

    Raises TrainingError where a loss or gradient is not finite; no weight was changed then.
    """
    readings = [method.read(batch) for method in team.methods]
    asked = list(zip(team.methods, readings, strict=True))
    ranks, whole = team.ranks, team.ranks.agreed(together(readings, batch.encoded))
    targets_BS, nll_BS = _num_targets(batch, whole), torch.full_like(whole.weights_BS, torch.nan)
    read_BS = torch.zeros_like(nll_BS, dtype=torch.bool)
    sums_S = (whole.weights_BS.abs() * _sum_weights(batch, whole, targets_BS)).sum(0)
    tokens_S = [0] * len(team.students)
    terms: list[Term] = []

    with ranks.reading():
        for index, work in _share_out(batch, whole, team):
            views = _read(team, batch, work, index, whole)
            if work.idle:
                ranks.keep_step(views)
                continue
            imitate = torch.stack([_imitate(s, work, views[s], whole, float(sums_S[s]), team) for s in views]).sum()
            part = [Term("imitate", imitate)]
            part += [term for method, own in asked for term in method.agree(batch, own, work.shared, views)]
            loss = _weighted(part)
            if work.train and loss.requires_grad:
                (team.loss_scale * loss).backward()
            for s, view in views.items():
                nll_BS[work.reads[s], s] = view.nll_B.detach().to(nll_BS)
                read_BS[work.reads[s], s] = True
                tokens_S[s] += view.num_tokens
            terms += [Term(term.name, term.value.detach().cpu(), term.weight, term.aside) for term in part]
    nll_BS, read_BS, tokens_S = ranks.losses(nll_BS, read_BS, tokens_S)
    ranks.sum_gradients(team.groups)
    _check_finite(batch, team, read_BS & ~nll_BS.isfinite())
    _unscale(team)
    team.ledger.record(batch.request.rows_B, nll_BS / batch.characters_B[:, None], batch.request.step)
    settled = [term for method, own in asked for term in method.settle(batch, own)]
    if settled and (loss := _weighted(settled)).requires_grad:
        loss.backward()

    losses, total, norms = _update(batch, team, factor, terms, settled)
    warnings = [warning for method, own in asked if (warning := method.finish(batch, own))]
    facts = {name: fact for method, own in asked for name, fact in method.facts(batch, own).items()}
    gates = whole.gates or Gates((targets_BS > 0).float(), (targets_BS > 0).float())
    staleness = team.ledger.staleness(batch.request.rows_B, batch.request.step)
    return StepReport(gates, nll_BS, targets_BS, total, losses, norms, tokens_S, staleness, warnings, facts)


def _weighted(terms: Sequence[Term]) -> Tensor:
    return sum((term.weight * term.value for term in terms[1:]), start=terms[0].weight * terms[0].value)


def _summed(terms: Sequence[Term]) -> dict[str, tuple[float, float]]:
    """Each term over the whole step, by name, and its weight in what the students descend."""
    sums: dict[str, Tensor] = {"imitate": torch.zeros(())}
    for term in terms:
        sums[term.name] = sums.get(term.name, torch.zeros(())) + term.value.detach()
    weights = {"imitate": 1.0} | {term.name: 0.0 if term.aside else term.weight for term in terms}
    return {name: (float(value), weights[name]) for name, value in sums.items()}


def _num_targets(batch: StepBatch, reading: Reading) -> Tensor:
    """Target tokens of each routed pair, in the student's own tokens; 0 where nothing is learnt."""
    targets_BS = torch.zeros_like(reading.weights_BS)
    for b, s in (reading.weights_BS != 0).nonzero().tolist():
        targets_BS[b, s] = batch.encoded(s, b).num_targets
    return targets_BS


def _sum_weights(batch: StepBatch, reading: Reading, targets_BS: Tensor) -> Tensor:
    """Absolute token weights summed within each pair: its number of target tokens where all are 1."""
    if reading.token_weights is None:
        return targets_BS
    sums_BS = torch.zeros_like(targets_BS)
    for b, s in targets_BS.nonzero().tolist():
        sums_BS[b, s] = reading.token_weights(s, b).abs().sum()
    return sums_BS


def _imitate(s: int, work: Work, view: View, reading: Reading, sum_weights: float, team: Team) -> Tensor:
    """One student's part of the imitation loss: see `routed_nll`."""
    weights_B = reading.weights_BS[work.reads[s], s].to(view.nll_B)
    nll_B = view.nll_B
    if reading.token_weights is not None or team.config.loss == "dft":
        pairs = zip(work.reads[s], weights_B.tolist(), view.token_nll, strict=True)
        nll_B = torch.stack(
            [
                _weighted_nll(s, b, nll_T, reading, team) if weight else nll_T.detach().sum()
                for b, weight, nll_T in pairs
            ]
        )
    return routed_nll(nll_B, weights_B, sum_weights)


def _weighted_nll(s: int, b: int, nll_T: Tensor, reading: Reading, team: Team) -> Tensor:
    """One path's loss, its tokens weighted by what the methods say and by what `train.loss` makes of them."""
    if reading.token_weights is not None:
        weights_T = reading.token_weights(s, b).to(nll_T)
        return (nll_T * weights_T * (dynamic_weights(nll_T) if team.config.loss == "dft" else 1.0)).sum()
    return (nll_T * dynamic_weights(nll_T)).sum()


def _share_out(batch: StepBatch, reading: Reading, team: Team) -> list[Dealt]:
    routed_BS = reading.weights_BS != 0
    trains_S = torch.tensor([not student.config.frozen for student in team.students])
    peek_BS = routed_BS & ~trains_S
    if reading.measured_BS is not None:
        peek_BS = peek_BS | (reading.measured_BS & ~routed_BS)
    train_BS = routed_BS & trains_S

    def cut(here_BS: Tensor | None) -> list[Work]:
        whole = here_BS is None
        return share_out(
            train_BS if here_BS is None else train_BS & here_BS,
            peek_BS if here_BS is None else peek_BS & here_BS,
            [b for b in reading.compared if here_BS is None or bool(here_BS[b].all())],
            batch.encoded,
            team.students,
            max_tokens=team.config.max_tokens_per_batch,
            shared_prefix=team.config.shared_prefix,
            at_once=whole,
        )

    return team.ranks.deal(cut, train_BS | peek_BS, reading.compared, lambda s, b: batch.encoded(s, b).num_tokens)


def _read(team: Team, batch: StepBatch, work: Work, index: int, reading: Reading) -> dict[int, View]:
    """Each student's forward. Dropout is seeded per student, step and micro-batch: resume needs no RNG state."""
    reads: dict[int, Read] = {}
    for s, paths in work.reads.items():
        student = team.students[s]
        trains = work.train and not student.config.frozen
        if student.model.training != trains:
            student.model.train(trains)
        seed = seed_of(team.seed, "dropout", student.name, batch.request.step, index)
        encoded, learnt = [batch.encoded(s, path) for path in paths], reading.weights_BS[paths, s].tolist()
        reads[s] = Read(student, encoded, learnt, seed)
    views: dict[int, View] = {}
    how = {"hidden": bool(work.shared), "shared_prefix": team.config.shared_prefix}
    for mix in team.mixes if work.train else ():
        together = [s for s in reads if team.students[s] in mix.students]
        if len(together) > 1:
            views |= zip(together, mix.forward([reads[s] for s in together], **how), strict=True)
    for s, read in reads.items():
        if s not in views:
            torch.manual_seed(read.seed)
            with torch.set_grad_enabled(read.student.model.training):
                views[s] = read.student.forward(read.encoded, learnt=read.learnt, **how)
    return {s: views[s] for s in reads}


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


def _update(
    batch: StepBatch, team: Team, factor: float, terms: Sequence[Term], settled: Sequence[Term]
) -> tuple[dict[str, float], float, dict[str, float]]:
    """Steps every optimizer that has something to go by. The losses by name, what the students descend, the norms."""
    own = {group.name: group.gradient_norm() for group in team.groups}
    sums, norms = team.ranks.report(_summed(terms), own)
    for name, norm in norms.items():
        if norm is not None and not math.isfinite(norm):
            raise _not_finite(batch, f"gradient of {name}", batch.path_ids)
    for group in team.groups:
        if norms[group.name] is not None:
            group.step(factor)
        group.optimizer.zero_grad(set_to_none=True)
    losses = {name: value for name, (value, _) in sums.items()}
    total = sum((weight * value for value, weight in sums.values()), 0.0)
    for term in settled:
        losses[term.name] = losses.get(term.name, 0.0) + float(term.value.detach())
    return losses, total, {name: norm for name, norm in norms.items() if norm is not None}
