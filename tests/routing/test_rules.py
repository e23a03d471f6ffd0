"""What each rule is for; the contract of all routers is in tests/contracts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qrdistill.base.errors import ConfigError
from qrdistill.routing.config import RouterConfig
from qrdistill.routing.gates import DevAccuracy, Pool, Request
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.routing.rules import make_assigner

STYLES = ["x", "y", "z"] * 8
NAMES = ("a", "b")
ACCURACY = {"a": {"x": 0.9, "y": 0.7, "z": 0.2}, "b": {"x": 0.6, "y": 0.3, "z": 0.5}}
LOSSES = torch.tensor([[0.1 + 0.1 * (i % 5), 1.0 + 0.3 * (i % 4)] for i in range(24)], dtype=torch.float64)


def build(kind: str, names: tuple[str, ...] = NAMES, seed: int = 0, **settings: Any) -> tuple[Any, Request]:
    columns = [NAMES.index(name) for name in names]

    def accuracy() -> DevAccuracy:
        return ACCURACY

    def best() -> dict[str, str]:
        return {name: max(ACCURACY[name], key=ACCURACY[name].__getitem__) for name in names}

    pool = Pool([f"p{i}" for i in range(24)], STYLES, names, seed, lambda: LOSSES[:, columns], accuracy, best)
    assigner = make_assigner(pool, RouterConfig(kind=kind, **settings), 4)  # type: ignore[arg-type]
    ledger = Ledger(24, names)
    assigner.prepare(ledger)
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((24, 4)).astype(np.float32))
    return assigner, Request(np.arange(24), features, ledger, 3, 10)


@pytest.mark.parametrize("kind", ["learned", "fixed_loss", "best_style", "all", "balanced"])
def test_permuting_the_students_permutes_the_gates(kind: str) -> None:
    (first, asked), (second, asked_too) = build(kind), build(kind, names=("b", "a"))
    assert torch.equal(first.gates(asked).hard_BS, second.gates(asked_too).hard_BS[:, [1, 0]])


def test_random_is_even_and_drawn_anew_each_step() -> None:
    assigner, request = build("random")
    draws = torch.stack(
        [
            assigner.gates(Request(request.rows_B, request.features_BF, request.ledger, step, 200)).hard_BS
            for step in range(200)
        ]
    )
    assert (draws.sum(-1) == 1).all()
    assert draws[..., 0].mean().item() == pytest.approx(0.5, abs=0.03)
    assert draws[..., 0].std(0).min() > 0.4


def test_style_takes_the_map_and_deals_out_the_rest() -> None:
    assigner, request = build("style", styles={"x": "b"})
    chosen = assigner.gates(request).chosen_BS
    owner = {style: NAMES[int(row.long().argmax())] for style, row in zip(STYLES, chosen, strict=True)}
    assert owner == {"x": "b", "y": "a", "z": "b"}


def test_fixed_loss_compares_each_student_with_itself() -> None:
    assigner, request = build("fixed_loss")
    chosen = assigner.gates(request).chosen_BS
    scores = (LOSSES - LOSSES.mean(0)) / LOSSES.std(0, unbiased=False)
    assert torch.equal(chosen.long().argmax(1), scores.argmin(1))
    assert 0 < chosen[:, 1].sum() < 24  # student b's losses are all higher, and it still gets its share
    assert request.ledger.known_NS.all()


def test_balanced_gives_nobody_more_than_its_share_at_least_cost() -> None:
    assigner, request = build("balanced")
    chosen = assigner.gates(request).chosen_BS
    assert chosen.sum(0).tolist() == [12, 12]
    cost = request.ledger.relative_NS
    gain = cost[:, 0] - cost[:, 1]
    best = cost[:, 1].sum() + gain.sort().values[:12].sum()  # the twelve paths that suit a most
    assert (cost * chosen).sum().item() == pytest.approx(best.item())


def test_best_style_reads_dev_and_draws_nothing_else() -> None:
    assigner, request = build("best_style")
    chosen = assigner.gates(request).chosen_BS
    assert [style for style, keep in zip(STYLES, assigner.eligible_N(), strict=True) if keep] == ["x"] * 8
    assert chosen[::3].all()  # both are best at x
    assert not chosen[1::3].any()
    explicit, request = build("best_style", styles={"a": "y", "b": "z"})
    chosen = explicit.gates(request).chosen_BS
    assert chosen[:3].tolist() == [[False, False], [True, False], [False, True]]


def test_bandit_follows_relative_accuracy_and_new_evidence() -> None:
    def share_of_a(assigner: Any, request: Request) -> list[float]:
        rows = [
            assigner.gates(Request(request.rows_B, request.features_BF, request.ledger, step, 100)).hard_BS[:3, 0]
            for step in range(100)
        ]
        return torch.stack(rows).mean(0).tolist()

    assigner, request = build("bandit")
    x, y, z = share_of_a(assigner, request)
    assert min(x, y) > 0.7  # a's lead over its own mean, less b's over b's: x 0.17, y 0.27, z -0.43
    assert z < 0.2
    for _ in range(6):
        assigner.observe({"a": ACCURACY["b"], "b": ACCURACY["a"]})
    assert share_of_a(assigner, request)[1] < 0.2


@pytest.mark.parametrize(
    ("kind", "styles", "said"),
    [
        ("style", {"x": "nobody"}, "router.styles.x: unknown student 'nobody'; there are: a, b"),
        ("best_style", {"nobody": "x"}, "unknown student 'nobody'"),
        ("best_style", {"a": "w"}, "no path of style 'w' is left after filtering; there are: x, y, z"),
    ],
)
def test_a_name_that_does_not_exist_is_said(kind: str, styles: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(kind, styles=styles)
