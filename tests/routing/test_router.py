from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from qrdistill.routing.config import RouterConfig
from qrdistill.routing.gates import Gates, Pool, Request, pin
from qrdistill.routing.learning_state import LearningState, State
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.routing.router import Router, straight_through


def pool(students: tuple[str, ...], paths: int = 20, seed: int = 0) -> Pool:
    return Pool([f"p{i}" for i in range(paths)], ["s"] * paths, students, seed, torch.empty, dict, dict)


def request(students: tuple[str, ...], paths: int = 20, step: int = 0) -> Request:
    features = torch.from_numpy(np.random.default_rng(1).standard_normal((paths, 4)).astype(np.float32))
    ledger = Ledger(paths, students)
    losses = torch.full((paths, len(students)), torch.nan)
    for column, name in enumerate(students):  # each student's losses follow its name
        generator = np.random.default_rng(ord(name))
        losses[::2, column] = torch.from_numpy(generator.random(len(losses[::2])).astype(np.float32))
    ledger.record(np.arange(paths), losses, step=0)
    asked = Request(np.arange(paths), features, ledger, step, 10)
    return replace(asked, state=LearningState(ledger, features, ["s"] * paths).look(asked))


def test_permuting_the_students_permutes_the_gates() -> None:
    first = Router(pool(("a", "b", "c")), RouterConfig(), 4).gates(request(("a", "b", "c")))
    second = Router(pool(("c", "a", "b")), RouterConfig(), 4).gates(request(("c", "a", "b")))
    assert torch.equal(first.hard_BS, second.hard_BS[:, [1, 2, 0]])
    torch.testing.assert_close(first.soft_BS, second.soft_BS[:, [1, 2, 0]])


def test_gates_of_a_path_do_not_depend_on_the_batch() -> None:
    whole = request(("a", "b"))
    router = Router(pool(("a", "b")), RouterConfig(), 4)
    together = router.gates(whole)
    for row in range(20):
        assert whole.state is not None
        state = State(*(part_BS[[row]] for part_BS in whole.state))
        alone = Request(np.array([row]), whole.features_BF[[row]], whole.ledger, 0, 10, state)
        assert torch.equal(router.gates(alone).hard_BS[0], together.hard_BS[row])


def test_hard_gates_are_one_hot_and_carry_the_soft_gradient() -> None:
    logits = torch.tensor([[0.3, -0.2, 0.1]], requires_grad=True)
    noise = torch.tensor([[0.0, 2.0, 0.0]])
    gates = straight_through(logits, noise, 0.7)
    assert gates.hard_BS.tolist() == [[0.0, 1.0, 0.0]]
    weights = torch.tensor([[1.0, 2.0, 3.0]])
    (gradient,) = torch.autograd.grad((gates.hard_BS * weights).sum(), logits)
    relaxed = ((logits + noise) / 0.7).softmax(-1)
    (expected,) = torch.autograd.grad((relaxed * weights).sum(), logits)
    torch.testing.assert_close(gradient, expected)
    assert gradient.abs().sum() > 0


def test_sampling_follows_the_probabilities() -> None:
    """Gumbel-max: the share of hard choices is the softmax of the logits, at any temperature."""
    from qrdistill.base.draws import gumbel

    noise = torch.tensor([[gumbel(0, s, b) for s in ("a", "b")] for b in range(4000)])
    gates = straight_through(torch.tensor([[math.log(3.0), 0.0]]).expand(4000, 2), noise, 1.3)
    assert gates.hard_BS[:, 0].mean().item() == pytest.approx(0.75, abs=0.03)
    assert gates.soft_BS[0].tolist() == pytest.approx([0.75, 0.25])


def test_temperature_falls_from_the_first_to_the_last_value() -> None:
    router = Router(pool(("a", "b")), RouterConfig(temperature=(1.5, 0.5)), 4)
    values = [router.temperature(step / 9) for step in range(10)]
    assert values[0] == 1.5
    assert values[-1] == pytest.approx(0.5)
    assert values == sorted(values, reverse=True)
    assert router.temperature(0.5) == pytest.approx((1.5 * 0.5) ** 0.5)  # geometrically


def test_the_learning_state_matters_and_can_be_left_out() -> None:
    seen, unseen = request(("a", "b")), request(("a", "b"))
    unseen = Request(unseen.rows_B, unseen.features_BF, Ledger(20, ("a", "b")), 0, 10)
    with_state = Router(pool(("a", "b")), RouterConfig(), 4)
    assert not torch.equal(with_state.gates(seen).soft_BS, with_state.gates(unseen).soft_BS)
    without = Router(pool(("a", "b")), RouterConfig(learning_state=False), 4)
    assert torch.equal(without.gates(seen).soft_BS, without.gates(unseen).soft_BS)
    assert len(without.parameters()) == 4


def test_an_unknown_loss_is_not_an_average_one() -> None:
    """A z-score of 0 that was measured and one that was not must give different logits."""
    router = Router(pool(("a", "b")), RouterConfig(), 4)
    features = torch.zeros(1, 4)
    zero, nothing = torch.zeros(1, 2), torch.full((1, 2), torch.nan)
    measured = router.network(features, State(zero, zero, nothing), 0.0)
    predicted = router.network(features, State(zero, zero + 0.5, zero), 0.0)
    unknown = router.network(features, State(nothing, nothing, nothing), 0.0)
    assert not torch.equal(measured, predicted)
    assert not torch.equal(measured, unknown)
    assert torch.equal(unknown, router.network(features, None, 0.0))


def test_pinned_paths_carry_no_gradient() -> None:
    soft = torch.full((2, 2), 0.5, requires_grad=True)
    gates = pin(Gates(soft * 1, soft * 1), torch.tensor([[True, True], [False, False]]))
    assert gates.hard_BS[0].tolist() == [1.0, 1.0]
    assert gates.soft_BS[0].tolist() == [0.5, 0.5]
    gates.hard_BS.sum().backward()
    assert soft.grad is not None
    assert soft.grad.tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_state_travels() -> None:
    first, second = (Router(pool(("a", "b"), seed=seed), RouterConfig(), 4) for seed in (0, 1))
    asked = request(("a", "b"))
    assert not torch.equal(first.gates(asked).soft_BS, second.gates(asked).soft_BS)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.gates(asked).soft_BS, second.gates(asked).soft_BS)
