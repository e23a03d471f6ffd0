"""Signs, weights and constants of the terms, on numbers worked out by hand: a flipped sign must not survive."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from qrdistill.routing.config import RouterConfig
from qrdistill.routing.gates import Gates, Request
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.method import Reading, StepBatch
from qrdistill.training.methods.hidden_agreement import Agreement, HiddenAgreement, Mutual, shared_paths
from qrdistill.training.methods.routed_imitation import RoutedImitation
from qrdistill.training.optimizers import Group, companion, schedule

SOFT = [[0.9, 0.1], [0.6, 0.4]]


class Fixed:
    """An assigner with one trainable number: learned, as far as the method is concerned."""

    def __init__(self) -> None:
        self.logit = torch.nn.Parameter(torch.zeros(()))

    def parameters(self) -> list[torch.nn.Parameter]:
        return [self.logit]


def settled(**router: Any) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Logits, their gradient and the router's loss, with no loss known of either path."""
    ledger = Ledger(2, ("a", "b"))
    method = RoutedImitation(Fixed(), ledger, RouterConfig(**router))  # type: ignore[arg-type]
    logits = torch.tensor(SOFT).log().requires_grad_()
    gates = Gates(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), logits.softmax(-1))
    request = Request(np.arange(2), torch.zeros(2, 1), ledger, 0, 10)
    batch = StepBatch(request, ["p", "q"], torch.ones(2), torch.zeros(2, 2, dtype=torch.bool), lambda s, b: None)  # type: ignore[arg-type,return-value]
    loss = torch.stack(
        [term.weight * term.value for term in method.settle(batch, Reading(gates.hard_BS, gates=gates))]
    ).sum()
    loss.backward()
    assert logits.grad is not None
    return logits.detach(), logits.grad, loss.item()


def entropy(soft: Any) -> float:
    return -sum(p * math.log(p) for row in soft for p in row) / len(soft)


def test_the_entropy_term_keeps_the_router_from_being_certain() -> None:
    logits, gradient, loss = settled(balance=0.0, entropy=0.7)
    assert loss == pytest.approx(-0.7 * entropy(SOFT), rel=1e-5)
    assert entropy((logits - 0.1 * gradient).softmax(-1).tolist()) > entropy(SOFT)  # what a descent does


def test_the_balance_term_evens_the_shares() -> None:
    logits, gradient, loss = settled(balance=0.3, entropy=0.0)
    assert loss == pytest.approx(0.3 * (0.75 * math.log(0.75) + 0.25 * math.log(0.25) + math.log(2)), rel=1e-4)
    after = (logits - 0.1 * gradient).softmax(-1).mean(0)
    assert after[0] < 0.75


def test_the_route_term_draws_a_path_to_the_student_that_pays_less() -> None:
    ledger = Ledger(2, ("a", "b"))
    ledger.record(np.arange(2), torch.tensor([[0.1, 0.9], [0.5, 0.2]]), step=0)
    assert ledger.relative_NS.tolist() == [[-1.0, 1.0], [1.0, -1.0]]
    method = RoutedImitation(Fixed(), ledger, RouterConfig(balance=0.0))  # type: ignore[arg-type]
    hard = torch.zeros(2, 2, requires_grad=True)
    request = Request(np.arange(2), torch.zeros(2, 1), ledger, 1, 10)
    batch = StepBatch(request, ["p", "q"], torch.ones(2), torch.zeros(2, 2, dtype=torch.bool), lambda s, b: None)  # type: ignore[arg-type,return-value]
    reading = Reading(hard.detach(), gates=Gates(hard, torch.full((2, 2), 0.5)))
    torch.stack([term.weight * term.value for term in method.settle(batch, reading)]).sum().backward()
    assert hard.grad is not None
    assert hard.grad.tolist() == [[-0.5, 0.5], [0.5, -0.5]]  # z / B: descending opens p for a, q for b


@pytest.mark.parametrize("weight", [0.25, 1.5])
def test_the_mutual_term_has_its_weight_and_competence_stands_aside(weight: float) -> None:
    mutual = Mutual([("a", 4), ("b", 4)], MutualConfig(weight=weight, dimension=4), seed=0)
    method = HiddenAgreement(None, mutual, 0)  # type: ignore[arg-type]
    first, second = method._terms(Agreement(torch.tensor(2.0), torch.tensor(3.0)))
    assert (first.name, first.weight, first.value.item(), first.aside) == ("mutual", weight, 2.0, False)
    assert (second.name, second.weight, second.value.item(), second.aside) == ("competence", 1.0, 3.0, True)


def test_running_statistics_forget_a_tenth_a_step() -> None:
    mutual = Mutual([("a", 2), ("b", 2)], MutualConfig(dimension=2), seed=0)
    for _ in range(2):
        mutual.project(0, torch.ones(4, 2))
        mutual.finish_step()
    assert mutual.get_buffer("sums_3SD")[0, 0].tolist() == pytest.approx([4 * 0.9 + 4] * 2)


def test_the_ledger_forgets_a_fifth_a_step() -> None:
    ledger = Ledger(2, ("a",))
    ledger.record(np.arange(2), torch.tensor([[1.0], [1.0]]), step=0)
    ledger.record(np.arange(2), torch.tensor([[2.0], [4.0]]), step=1)
    mean, square = (1.6 * 1 + 6) / 3.6, (1.6 * 1 + 20) / 3.6
    spread = math.sqrt(square - mean**2)
    assert ledger.relative_NS[:, 0].tolist() == pytest.approx([(2 - mean) / spread, (4 - mean) / spread])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.25, 0.5, 0.75, 1.0, 1.0, 0.5 + 0.25 * math.sqrt(2), 0.5, 0.5 - 0.25 * math.sqrt(2)]),
    ],
)
def test_the_schedule_by_hand(kind: Any, expected: list[float]) -> None:
    config = TrainConfig(steps=8, warmup=4, schedule=kind)
    assert [schedule(config, step) for step in range(8)] == pytest.approx(expected)


def test_the_schedule_moves_students_and_not_what_trains_beside_them() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    student, beside = Group("a", torch.optim.SGD([weight], lr=1.0), 0.2, True, 1.0), companion("router", [weight], 0.3)
    for group in (student, beside):
        group.step(0.25)
    assert [group.optimizer.param_groups[0]["lr"] for group in (student, beside)] == [pytest.approx(0.05), 0.3]
    assert (beside.clip, beside.name, beside.optimizer.param_groups[0]["weight_decay"]) == (1.0, ":router", 0.0)


def test_the_share_of_a_step_that_all_read() -> None:
    names, free = [f"p{n}" for n in range(10)], [True] * 9 + [False]
    assert [len(shared_paths(0, 0, names, free, share)) for share in (0.01, 0.25, 0.5, 1.0)] == [1, 2, 5, 9]
