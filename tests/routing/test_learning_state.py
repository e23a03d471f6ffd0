from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from qrdistill.routing.config import NEAR_RANDOM, RouterConfig
from qrdistill.routing.gates import Pool, Request
from qrdistill.routing.learning_state import LearningState, correlation, stratified
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.routing.router import Router
from qrdistill.training.losses import load_balance, routed_advantage

NAMES = ("a", "b")
PATHS, STEPS, SIZE = 100_000, 1000, 32  # a third of an epoch


class Play:
    """Routing alone, at a pool's real size: what the students would pay is a formula, falling as they learn."""

    def __init__(self, planted: float, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.cluster_N = generator.integers(0, 2, PATHS)
        features = generator.standard_normal((PATHS, 8)).astype(np.float32)
        features[:, 0] += np.where(self.cluster_N == 1, 2.0, -2.0)  # an embedding cluster, not a style
        features /= features.std(0)
        self.features_NF = torch.from_numpy(features)
        styles = ["xyz"[index] for index in generator.integers(0, 3, PATHS)]
        hard_N = 0.15 * generator.standard_normal(PATHS)  # what both students find hard
        sign_N = np.where(self.cluster_N == 1, 0.5, -0.5)
        self.nll_NS = torch.from_numpy(
            np.stack([1 + hard_N + planted * sign_N, 1.3 + hard_N - planted * sign_N], axis=1)
        )
        self.ledger = Ledger(PATHS, NAMES)
        self.state = LearningState(self.ledger, self.features_NF, styles)
        self.ids = [f"p{row}" for row in range(PATHS)]
        self.router = Router(Pool(self.ids, styles, NAMES, seed, torch.empty, dict, dict), RouterConfig(), 8)
        self.optimizer = torch.optim.AdamW(self.router.parameters(), lr=RouterConfig().learning_rate)
        self.draws = generator.permutation(PATHS)
        self.known: list[float] = []
        warm = stratified(self.ids, styles, PATHS // 50, seed)
        self.state.start(warm, self.nll_NS[warm])

    def request(self, step: int, rows: np.ndarray | None = None) -> Request:
        rows = np.sort(self.draws[step * SIZE : (step + 1) * SIZE]) if rows is None else rows
        return Request(rows, self.features_NF[torch.from_numpy(rows)], self.ledger, step, STEPS)

    def step(self, step: int) -> None:
        asked = self.request(step)
        seen = self.state.look(asked)
        self.known.append(float(seen.known_B.double().mean()))
        gates = self.router.gates(replace(asked, state=seen))
        nll_BS = self.nll_NS[torch.from_numpy(asked.rows_B)] * (1 - 0.5 * step / STEPS)
        self.ledger.record(asked.rows_B, torch.where(gates.chosen_BS, nll_BS, torch.nan), step)
        self.state.learn(asked, torch.ones(SIZE, dtype=torch.bool))
        relative_BS = self.state.look(asked, fresh=0).relative_BS
        loss = routed_advantage(gates.hard_BS, relative_BS) + load_balance(gates.soft_BS)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def probability_of_first(self, step: int) -> np.ndarray:
        """Of 2,000 paths that nobody has read."""
        asked = self.request(step, np.sort(self.draws[-2000:]))
        gates = self.router.gates(replace(asked, state=self.state.look(asked)))
        return gates.soft_BS[:, 0].detach().numpy()


def test_a_compatibility_in_the_embedding_is_found_in_a_tenth_of_an_epoch() -> None:
    play = Play(planted=0.1)
    before = [parameter.detach().clone() for parameter in play.router.parameters()]
    for step in range(PATHS // 10 // SIZE):
        play.step(step)
    first = play.probability_of_first(step)
    cluster = play.cluster_N[np.sort(play.draws[-2000:])]
    assert first[cluster == 0].mean() > 0.8  # there a pays 0.05 less than usual, b 0.05 more
    assert first[cluster == 1].mean() < 0.2
    assert all(not torch.equal(a, b) for a, b in zip(before, play.router.parameters(), strict=True))
    assert set(play.known) == {1.0}  # both states, in every gating, from the first step on


def test_without_one_the_router_stays_within_chance() -> None:
    play = Play(planted=0.0)
    for step in range(STEPS):
        play.step(step)
    assert set(play.known) == {1.0}
    first, cluster = play.probability_of_first(STEPS - 1), play.cluster_N[np.sort(play.draws[-2000:])]
    chosen = np.random.default_rng(0).random(len(first)) < first  # as training samples them
    joint = np.histogram2d(cluster, chosen, bins=2)[0] / len(chosen)
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    # a network that was never trained depends on its features a little too: about 0.01 nats of 0.69
    assert (joint * np.log(np.maximum(joint, 1e-12) / apart)).sum() < NEAR_RANDOM * np.log(2)


def test_what_is_fresh_is_measured_and_what_is_not_is_predicted() -> None:
    features, styles = torch.tensor([[1.0], [-1.0], [0.0]]), ["x", "y", "x"]
    state = LearningState(Ledger(3, NAMES), features, styles)
    asked = Request(np.arange(3), features, state.ledger, 0, 100)
    assert not state.look(asked).known_B.any()  # nothing was measured: nothing is known, and nothing is zero
    state.start([0, 1], torch.tensor([[1.0, 2.0], [3.0, 2.5]]))
    seen = state.look(asked)
    assert seen.known_B.all()
    assert seen.uncertainty_BS[:2].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert torch.equal(seen.relative_BS[:2], state.ledger.relative_NS[:2])
    assert (seen.uncertainty_BS[2] > 0).all()
    later = state.look(replace(asked, step=21))
    assert (later.uncertainty_BS > 0).all()  # 21 steps on, even what was measured is predicted again
    assert not torch.equal(later.relative_BS[:2], seen.relative_BS[:2])


def test_paths_with_a_fixed_destination_teach_the_predictor_nothing() -> None:
    features = torch.zeros(2, 1)
    state = LearningState(Ledger(2, NAMES), features, ["x", "x"])
    asked = Request(np.arange(2), features, state.ledger, 0, 10)
    state.ledger.record(np.arange(2), torch.tensor([[1.0, 1.0], [9.0, 9.0]]), 0)
    state.learn(asked, torch.tensor([True, False]))
    assert state.look(replace(asked, step=50)).predicted_BS[0, 0] == pytest.approx(1.0)


def test_every_style_has_its_share_of_the_sample() -> None:
    styles = ["x"] * 900 + ["y"] * 95 + ["z"] * 5
    ids = [f"p{row}" for row in range(1000)]
    rows = stratified(ids, styles, 100, 0)
    assert Counter(styles[row] for row in rows) == {"x": 90, "y": 10, "z": 1}
    assert rows == sorted(set(rows))
    assert rows != stratified(ids, styles, 100, 1)
    assert stratified(ids, styles, 5000, 0) == list(range(1000))


def test_correlation_knows_what_it_does_not_know() -> None:
    nan = float("nan")
    assert correlation(torch.tensor([1.0, 2.0, 3.0, nan]), torch.tensor([2.0, 4.0, 6.0, 1.0])) == pytest.approx(1.0)
    assert correlation(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])) is None
    assert correlation(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0, 4.0, 5.0])) is None
