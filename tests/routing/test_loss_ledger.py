from __future__ import annotations

import numpy as np
import pytest
import torch

from qrdistill.routing.loss_ledger import Ledger

NAN = float("nan")


def test_missing_is_nan_and_never_zero() -> None:
    ledger = Ledger(3, ("a", "b"))
    ledger.record(np.array([1]), torch.tensor([[0.4, NAN]]), step=7)
    assert ledger.known_NS.tolist() == [[False, False], [True, False], [False, False]]
    assert ledger.nll_NS[~ledger.known_NS].isnan().all()
    assert ledger.relative_NS[~ledger.known_NS].isnan().all()
    assert ledger.step_NS[1].tolist() == [7, -1]


def test_a_zero_loss_is_a_known_loss() -> None:
    ledger = Ledger(1, ("a",))
    ledger.record(np.array([0]), torch.tensor([[0.0]]), step=0)
    assert ledger.known_NS.tolist() == [[True]]


def test_what_was_not_measured_again_stays() -> None:
    ledger = Ledger(2, ("a", "b"))
    ledger.record(np.array([0, 1]), torch.tensor([[0.4, 0.9], [0.2, 0.7]]), step=0)
    ledger.record(np.array([1, 0]), torch.tensor([[NAN, 0.1], [0.3, NAN]]), step=5)
    torch.testing.assert_close(ledger.nll_NS, torch.tensor([[0.3, 0.9], [0.2, 0.1]]), check_dtype=False)
    assert ledger.step_NS.tolist() == [[5, 0], [0, 5]]


def test_z_scores_are_each_students_own() -> None:
    """Twice the loss throughout, and another tokenizer's unit, give the same comparison."""
    ledger = Ledger(4, ("a", "b"))
    losses = torch.tensor([0.1, 0.2, 0.3, 0.6])
    ledger.record(np.arange(4), torch.stack([losses, 2 * losses + 1], dim=1), step=0)
    torch.testing.assert_close(ledger.relative_NS[:, 0], ledger.relative_NS[:, 1])
    assert ledger.relative_NS[:, 0].mean().item() == pytest.approx(0, abs=1e-6)
    assert ledger.relative_NS[:, 0].std(unbiased=False).item() == pytest.approx(1, abs=1e-6)


def test_an_old_value_is_judged_by_its_own_time() -> None:
    ledger = Ledger(4, ("a",))
    ledger.record(np.array([0, 1]), torch.tensor([[1.0], [2.0]]), step=0)
    before = ledger.relative_NS[:2].clone()
    for step in range(1, 20):  # losses fall to a tenth: the old values must not look bad for being old
        ledger.record(np.array([2, 3]), torch.tensor([[0.1], [0.2]]), step=step)
    assert torch.equal(ledger.relative_NS[:2], before)
    assert abs(ledger.relative_NS[2:].mean().item()) < 0.2


def test_one_absurd_loss_is_cut() -> None:
    ledger = Ledger(100, ("a",))
    losses = torch.linspace(0.1, 0.2, 100)[:, None].clone()
    losses[0] = 50.0
    ledger.record(np.arange(100), losses, step=0)
    assert ledger.relative_NS.max().item() == 3.0


def test_staleness_is_the_mean_age_of_what_is_known() -> None:
    ledger = Ledger(3, ("a", "b"))
    assert ledger.staleness(np.array([0, 1]), 4) is None
    ledger.record(np.array([0]), torch.tensor([[0.1, NAN]]), step=1)
    ledger.record(np.array([1]), torch.tensor([[0.1, 0.1]]), step=4)
    assert ledger.staleness(np.array([0, 1, 2]), 4) == pytest.approx((3 + 0 + 0) / 3)


def test_state_travels() -> None:
    first, second = Ledger(2, ("a",)), Ledger(2, ("a",))
    first.record(np.array([0]), torch.tensor([[0.3]]), step=2)
    second.load_state_dict(first.state_dict())
    for ledger in (first, second):
        ledger.record(np.array([1]), torch.tensor([[0.5]]), step=3)
    assert all(
        torch.equal(a, b) or (a.isnan() == b.isnan()).all()
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    torch.testing.assert_close(first.relative_NS, second.relative_NS, equal_nan=True, rtol=0, atol=0)
