"""The contract of every router: gates of 0 and 1, repeatable, each eligible path read by somebody, a state that travels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from qrdistill.base.plugins import registry
from qrdistill.routing.config import RouterConfig
from qrdistill.routing.gates import Assigner, Pool, Request
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.routing.rules import make_assigner

NAMES = ("a", "b", "c")
ACCURACY = {"a": {"x": 0.9, "y": 0.7}, "b": {"x": 0.6, "y": 0.3}, "c": {"x": 0.1, "y": 0.4}}
LOSSES = torch.tensor([[0.1 + 0.1 * (i % 5), 1.0 + 0.3 * (i % 4), 0.5] for i in range(24)], dtype=torch.float64)


def make(kind: str, measured: Callable[[], Any] | None = None) -> Assigner:
    sources = [measured] * 3 if measured else [lambda: LOSSES, lambda: ACCURACY, lambda: {"a": "x", "b": "x", "c": "y"}]
    pool = Pool([f"p{i}" for i in range(24)], ["x", "y"] * 12, NAMES, 0, *sources)  # type: ignore[arg-type]
    return make_assigner(pool, RouterConfig(kind=kind), 4)


def prepared(kind: str) -> tuple[Assigner, Request]:
    router, ledger = make(kind), Ledger(24, NAMES)
    router.prepare(ledger)
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((24, 4)).astype(np.float32))
    return router, Request(np.arange(24), features, ledger, 3, 10)


@pytest.mark.parametrize("kind", registry.bundled("routers"))
class TestEveryRouter:
    def test_gates_are_zero_or_one_and_soft_gates_are_shares(self, kind: str) -> None:
        router, request = prepared(kind)
        gates = router.gates(request)
        assert gates.hard_BS.shape == gates.soft_BS.shape == (24, 3)
        assert set(gates.hard_BS.detach().flatten().tolist()) <= {0.0, 1.0}
        assert ((gates.soft_BS >= 0) & (gates.soft_BS <= 1)).all()

    def test_it_repeats_itself(self, kind: str) -> None:
        first, second = (prepared(kind) for _ in range(2))
        assert torch.equal(first[0].gates(first[1]).hard_BS, second[0].gates(second[1]).hard_BS)

    def test_every_eligible_path_finds_a_student(self, kind: str) -> None:
        router, request = prepared(kind)
        eligible_N = router.eligible_N()
        assert (eligible_N.dtype, eligible_N.shape) == (np.dtype(bool), (24,))
        assert eligible_N.any()
        assert router.gates(request).chosen_BS.any(1)[torch.from_numpy(eligible_N)].all()

    def test_a_step_may_hold_any_rows_once(self, kind: str) -> None:
        router, request = prepared(kind)
        rows = np.array([7, 0, 23])
        few = Request(rows, request.features_BF[torch.from_numpy(rows)], request.ledger, 9, 10)
        assert router.gates(few).hard_BS.shape == (3, 3)

    def test_its_state_travels_without_preparing_again(self, kind: str) -> None:
        router, request = prepared(kind)
        router.observe(ACCURACY)

        def fail() -> Any:
            raise AssertionError("measured again on resume")

        resumed = make(kind, fail)
        resumed.load_state_dict(router.state_dict())
        assert torch.equal(router.gates(request).hard_BS, resumed.gates(request).hard_BS)
        assert (router.eligible_N() == resumed.eligible_N()).all()

    def test_what_trains_gets_a_gradient_and_a_rule_has_none(self, kind: str) -> None:
        router, request = prepared(kind)
        gates = router.gates(request)
        assert gates.soft_BS.requires_grad == bool(router.parameters())
        if router.parameters():
            (gates.hard_BS * torch.arange(3.0)).sum().backward()
            assert all(parameter.grad is not None for parameter in router.parameters())
