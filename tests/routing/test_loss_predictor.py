from __future__ import annotations

import pytest
import torch

from qrdistill.routing import loss_predictor
from qrdistill.routing.loss_predictor import LossPredictor

STYLES = ("program", "vanilla")


def world(paths: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(paths, 4, generator=generator), torch.randint(0, 2, (paths,), generator=generator)


def losses(features_BF: torch.Tensor, style_B: torch.Tensor, level: float = 1.0) -> torch.Tensor:
    """Student a pays for the first feature, student b for the style."""
    a_B = level + 0.2 * features_BF[:, 0].double()
    b_B = level + 0.3 * (style_B == 1).double()
    return torch.stack([a_B, b_B], dim=1)


def test_it_is_the_ridge_regression_of_a_textbook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without forgetting, step by step equals the closed form over all rows at once."""
    monkeypatch.setattr(loss_predictor, "_FORGET", 1.0)
    features_BF, style_B = world(40)
    y_BS = losses(features_BF, style_B)
    y_BS = y_BS - y_BS.mean(0)  # the running mean is then 0 for every split of the rows into two halves of equal mean
    predictor = LossPredictor(("a", "b"), 4, STYLES)
    predictor.update(features_BF, style_B, y_BS)
    x_BD = torch.cat(
        [features_BF.double() / 2, torch.nn.functional.one_hot(style_B, 2).double(), torch.ones(40, 1).double()], 1
    )
    weights_DS = torch.linalg.solve(x_BD.T @ x_BD + torch.eye(7, dtype=torch.float64), x_BD.T @ y_BS)
    torch.testing.assert_close(predictor.predict(features_BF, style_B)[0], x_BD @ weights_DS)


def test_paths_that_were_never_read_are_predicted() -> None:
    predictor = LossPredictor(("a", "b"), 4, STYLES)
    for step in range(60):
        features_BF, style_B = world(32, seed=step)
        predictor.update(features_BF, style_B, losses(features_BF, style_B))
    features_BF, style_B = world(500, seed=99)
    mean_BS, std_BS = predictor.predict(features_BF, style_B)
    truth_BS = losses(features_BF, style_B)
    for s in range(2):
        assert torch.corrcoef(torch.stack([mean_BS[:, s], truth_BS[:, s]]))[0, 1] > 0.99
    assert bool((std_BS > 0).all())


def test_it_follows_losses_that_fall() -> None:
    predictor = LossPredictor(("a", "b"), 4, STYLES)
    for step in range(300):
        features_BF, style_B = world(32, seed=step)
        predictor.update(features_BF, style_B, losses(features_BF, style_B, level=3.0 - step / 150))
    features_BF, style_B = world(200, seed=999)
    mean_BS, truth_BS = predictor.predict(features_BF, style_B)[0], losses(features_BF, style_B, level=1.0)
    assert (mean_BS - truth_BS).abs().mean() < 0.35  # a memory of 50 steps lags by 50 / 150
    for s in range(2):  # and what tells paths apart keeps its size
        assert float(mean_BS[:, s].std() / truth_BS[:, s].std()) == pytest.approx(1.0, abs=0.15)


def test_what_was_not_measured_leaves_no_trace_and_is_not_known() -> None:
    predictor = LossPredictor(("a", "b"), 4, STYLES)
    features_BF, style_B = world(8)
    nll_BS = losses(features_BF, style_B)
    nll_BS[:, 1] = torch.nan
    predictor.update(features_BF, style_B, nll_BS)
    mean_BS, std_BS = predictor.predict(features_BF, style_B)
    assert predictor.known_S.tolist() == [True, False]
    assert not mean_BS[:, 0].isnan().any()
    assert bool(mean_BS[:, 1].isnan().all())
    assert bool(std_BS[:, 1].isnan().all())
    alone = LossPredictor(("a",), 4, STYLES)
    alone.update(features_BF, style_B, nll_BS[:, :1])
    assert torch.equal(alone.predict(features_BF, style_B)[0], mean_BS[:, :1])


def test_uncertainty_shrinks_where_paths_were_read_and_stays_where_not() -> None:
    predictor = LossPredictor(("a",), 2, STYLES)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):  # nothing is ever read along the second feature
        features_BF = torch.randn(16, 2, generator=generator) * torch.tensor([1.0, 0.0])
        noise_B1 = torch.randn(16, 1, generator=generator)
        predictor.update(features_BF, torch.zeros(16, dtype=torch.long), 1 + 0.1 * noise_B1)
    _, std_BS = predictor.predict(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.zeros(2, dtype=torch.long))
    assert std_BS[1, 0] > 5 * std_BS[0, 0]
    assert std_BS[1, 0] < 1  # and does not blow up


def test_state_goes_on_bit_for_bit() -> None:
    first, second = LossPredictor(("a", "b"), 4, STYLES), LossPredictor(("a", "b"), 4, STYLES)
    features_BF, style_B = world(8)
    first.update(features_BF, style_B, losses(features_BF, style_B))
    second.load_state_dict(first.state_dict())
    for predictor in (first, second):
        predictor.update(features_BF, style_B, losses(features_BF, style_B))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
