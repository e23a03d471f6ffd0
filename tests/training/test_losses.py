"""Hand-computed numbers stand in the docstrings; here are the identities."""

from __future__ import annotations

import doctest
import math

import pytest
import torch

from qrdistill.training import losses
from qrdistill.training.losses import (
    competence_loss,
    gate_entropy,
    load_balance,
    mutual_mse,
    routed_advantage,
    routed_nll,
)


def test_hand_computed_numbers() -> None:
    assert doctest.testmod(losses).attempted >= 9
    assert doctest.testmod(losses).failed == 0


def test_a_gate_between_zero_and_one_weighs_what_it_lets_through() -> None:
    assert routed_nll(torch.tensor([2.0, 4.0]), torch.tensor([0.25, 0.5]), 3.0).item() == pytest.approx((0.5 + 2.0) / 3)


def test_routed_nll_of_one_batch_is_the_sum_over_its_parts() -> None:
    nll, gates = torch.rand(8, 2), torch.randint(0, 2, (8, 2)).float()
    parts = sum(routed_nll(nll[[b]], gates[[b]], 17.0) for b in range(8))
    torch.testing.assert_close(routed_nll(nll, gates, 17.0), parts)


def test_a_closed_gate_has_no_gradient_even_beside_nan() -> None:
    nll = torch.tensor([2.0, math.nan], requires_grad=True)
    routed_nll(nll, torch.tensor([1.0, 0.0]), 4.0).backward()
    assert nll.grad is not None
    assert nll.grad.tolist() == [0.25, 0.0]


def test_a_student_without_a_path_costs_nothing() -> None:
    nll = torch.tensor([2.0, 3.0], requires_grad=True)
    loss = routed_nll(nll, torch.zeros(2), 0.0)
    assert loss.item() == 0
    loss.backward()
    assert nll.grad is not None
    assert nll.grad.tolist() == [0.0, 0.0]
    assert routed_nll(nll, torch.zeros(2), torch.zeros(2)).item() == 0


def test_the_advantage_is_detached_and_missing_is_left_out() -> None:
    gates = torch.tensor([[0.7, 0.3], [0.2, 0.8]], requires_grad=True)
    relative = torch.tensor([[-1.0, math.nan], [math.nan, 2.0]], requires_grad=True)
    routed_advantage(gates, relative).backward()
    assert gates.grad is not None
    assert gates.grad.tolist() == [[-0.5, 0.0], [0.0, 1.0]]  # z / B
    assert relative.grad is None


def test_adding_to_all_of_a_paths_losses_moves_no_logit() -> None:
    logits = torch.randn(5, 3, requires_grad=True)
    relative = torch.randn(5, 3)
    (one,) = torch.autograd.grad(routed_advantage(logits.softmax(-1), relative), logits)
    (two,) = torch.autograd.grad(routed_advantage(logits.softmax(-1), relative + 5), logits)
    torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("students", [2, 3, 5])
def test_balance_is_zero_at_even_shares_and_log_s_at_collapse(students: int) -> None:
    assert load_balance(torch.full((4, students), 1 / students)).item() == pytest.approx(0, abs=1e-6)
    collapsed = torch.zeros(4, students)
    collapsed[:, 1] = 1
    assert load_balance(collapsed).item() == pytest.approx(math.log(students), abs=1e-6)
    certain = torch.eye(students)  # each path certain, the mean even: nothing to correct
    assert load_balance(certain).item() == pytest.approx(0, abs=1e-6)
    assert gate_entropy(certain).item() == pytest.approx(0, abs=1e-6)
    assert gate_entropy(torch.full((4, students), 1 / students)).item() == pytest.approx(math.log(students))


def test_gradients_stay_finite_where_a_probability_is_zero() -> None:
    logits = torch.tensor([[1e9, -1e9], [1e9, -1e9]], requires_grad=True)
    soft = logits.softmax(-1)
    (load_balance(soft) - gate_entropy(soft)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_mutual_mse_does_not_reach_its_target() -> None:
    z, target = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    mutual_mse(z, target, torch.ones(2, 3), 3).backward()
    assert target.grad is None
    assert z.grad is not None
    torch.testing.assert_close(mutual_mse(z, target, torch.ones(2, 3), 3), ((z - target) ** 2).mean())
    assert mutual_mse(z, z, torch.ones(2, 3), 3).item() == 0


def test_competence_is_least_where_the_net_knows_who_is_better() -> None:
    nll = torch.tensor([[0.1, 0.4], [0.5, 0.3]])
    knows = -nll / 0.1
    assert competence_loss(knows, nll, 2) < competence_loss(torch.zeros(2, 2), nll, 2)
    assert competence_loss(torch.zeros(2, 2), nll, 2) < competence_loss(-knows, nll, 2)
    logits = knows.clone().requires_grad_()
    competence_loss(logits, nll, 2).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros(2, 2), atol=1e-6, rtol=0)
