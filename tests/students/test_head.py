"""The fused loss of a large vocabulary is the plain one, gradients too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from qrdistill.students import head
from qrdistill.students.head import Head, label_nll, plain_weight


def build(softcap: float | None, scale: float, *, frozen: bool = False) -> tuple[Callable[[bool], Head], Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(50, 12, generator=generator), requires_grad=not frozen)

    def project(states: Tensor) -> Tensor:
        logits = F.linear(states, weight).float()
        return (logits if softcap is None else torch.tanh(logits / softcap) * softcap) * scale

    return lambda fused: Head(project, 50, weight if fused else None, softcap, scale), weight


def gradients(made: Head, weight: Tensor, factors: Tensor, told: Tensor | None) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(23, 12, generator=generator).requires_grad_()
    labels = torch.randint(50, (23,), generator=generator)
    weight.grad = None
    nll = label_nll(made, states, labels, told)
    (nll * factors).sum().backward()
    return [nll.detach(), states.grad, weight.grad]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "FUSED_FROM", 0)
    monkeypatch.setattr(head, "MAX_LOGITS", 50 * 7)


@pytest.mark.parametrize(("softcap", "scale"), [(None, 1.0), (3.0, 1.0), (None, 0.25), (2.0, 0.5)])
@pytest.mark.parametrize("told", ["right", "wrong", "nothing", "zero"])
def test_the_fused_loss_has_the_plain_ones_value_and_gradients(softcap: float | None, scale: float, told: str) -> None:
    made, weight = build(softcap, scale)
    factors = torch.linspace(-1, 2, 23)
    given = {"right": 7 * factors, "wrong": factors + 1, "nothing": None, "zero": torch.zeros(23)}[told]
    plain, fused = (gradients(made(how), weight, factors, given) for how in (False, True))
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5)


def test_one_pass_is_enough_where_the_factors_were_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made, weight = build(None, 1.0)
    factors, chunks = torch.linspace(1, 2, 23), []
    once = head._loss_and_slope  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(head, "_loss_and_slope", lambda *given: chunks.append(1) or once(*given))
    gradients(made(True), weight, factors, 3 * factors)
    assert len(chunks) == 4
    gradients(made(True), weight, factors, None)
    assert len(chunks) == 4 + 8


def test_autocast_and_a_frozen_head() -> None:
    made, weight = build(None, 1.0)
    factors = torch.ones(23)
    with torch.autocast("cpu", torch.bfloat16):
        plain, fused = (gradients(made(how), weight, factors, None) for how in (False, True))
    torch.testing.assert_close(fused, plain, rtol=0.02, atol=0.05)
    made, weight = build(None, 1.0, frozen=True)
    plain, fused = (gradients(made(how), weight, factors, None) for how in (False, True))
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5)
    assert fused[2] is None


def test_a_second_backward_makes_the_gradient_again() -> None:
    made, weight = build(None, 1.0)
    states = torch.randn(9, 12, generator=torch.Generator().manual_seed(2)).requires_grad_()
    loss = label_nll(made(True), states, torch.arange(9)).sum()
    first = torch.autograd.grad(loss, [states, weight], retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(2 * loss, [states, weight]), [2 * each for each in first])


def test_only_a_plain_product_is_fused() -> None:
    class Wrapped(torch.nn.Linear):
        """As adapters and four-bit layers are."""

    assert plain_weight(torch.nn.Linear(2, 3, bias=False)) is not None
    assert plain_weight(torch.nn.Linear(2, 3)) is None
    assert plain_weight(Wrapped(2, 3, bias=False)) is None
