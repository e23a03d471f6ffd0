"""The language-model head at label positions only, never a whole vocabulary times a whole batch.

Legend: N labels (n of one chunk), H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

MAX_LOGITS = 1 << 26  # logits held at once: 256 MiB in float32
FUSED_FROM = 1 << 24  # logits from which the fused loss pays


@dataclass(frozen=True)
class Head:
    """What is known of a head: `project` maps [n, H] to final logits [n, V]; where it is one plain product,
    `weight_VH` is its factor, and `softcap` and `scale` what follows it."""

    project: Callable[[Tensor], Tensor]
    vocabulary: int
    weight_VH: Tensor | None = None
    softcap: float | None = None
    scale: float = 1.0


def head_of(core: Any) -> Head:
    """Of a causal language model [N, H] -> [N, V], with the scaling and soft-capping that families add."""
    config, module = core.config.get_text_config(), core.get_output_embeddings()
    softcap: float | None = getattr(config, "final_logit_softcapping", None)  # Gemma 2
    # Cohere; Granite
    scale: float = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)

    def project(states_NH: Tensor) -> Tensor:
        logits_NV = module(states_NH).float()
        if softcap is not None:
            logits_NV = torch.tanh(logits_NV / softcap) * softcap
        return logits_NV if scale == 1 else logits_NV * scale

    rows = int(core.get_input_embeddings().weight.shape[0])
    return Head(project, rows, plain_weight(module), softcap, scale)


def is_fused(head: Head, num_labels: int) -> bool:
    """Whether `label_nll` makes loss and gradients of so many labels in one pass."""
    return head.weight_VH is not None and num_labels * head.vocabulary > FUSED_FROM


def label_nll(head: Head, states_NH: Tensor, labels_N: Tensor, weights_N: Tensor | None = None) -> Tensor:
    """-log p(label) of each label in nats [N], in float32.

    From FUSED_FROM logits on, a plain head's loss and gradients are made chunk by chunk in one pass, so that no more
    than MAX_LOGITS logits exist. Other heads compute these chunks again in backward, which costs one more product.

    weights_N: what each NLL will be multiplied with, up to a common factor; None: all alike. A wrong guess costs
    that product too, and changes no gradient.
    """

    def chunk_nll(states: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(head.project(states), labels, reduction="none")

    rows = max(1, MAX_LOGITS // head.vocabulary)
    learns = torch.is_grad_enabled() and (states_NH.requires_grad or _learns(head.weight_VH))
    if learns and head.weight_VH is not None and is_fused(head, len(labels_N)):
        weights_N = torch.ones(len(labels_N), device=labels_N.device) if weights_N is None else weights_N
        states_NH = states_NH.to(_product_dtype(states_NH, head.weight_VH))
        nll_N: Any = FusedNLL.apply(states_NH, head.weight_VH, labels_N, weights_N, rows, head.softcap, head.scale)
        return nll_N
    if len(labels_N) <= rows:
        return chunk_nll(states_NH, labels_N)
    pieces = zip(states_NH.split(rows), labels_N.split(rows), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([chunk_nll(states, labels) for states, labels in pieces])
    return torch.cat([_tensor(checkpoint(chunk_nll, states, labels, use_reentrant=False)) for states, labels in pieces])


def plain_weight(module: Any) -> Tensor | None:
    """The weight [V, H] of a head that is nothing but a product: no bias, adapter, shard or four bits."""
    kind = type(module)
    if kind is not torch.nn.Linear or module.bias is not None or module._forward_hooks or module._forward_pre_hooks:
        return None
    return module.weight if type(module.weight) is torch.nn.Parameter else None


def _learns(weight: Tensor | None) -> bool:
    return weight is not None and weight.requires_grad


class FusedNLL(torch.autograd.Function):
    """The product with the head, softmax and loss of each label, with their gradients made in the same pass.

    A label's gradient towards its state is known up to the factor that backward brings. The weight's sums over
    labels, so it is made for the factors that were announced, and made again where others come.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states_NH: Tensor,
        weight_VH: Tensor,
        labels_N: Tensor,
        weights_N: Tensor,
        rows: int,
        softcap: float | None,
        scale: float,
    ) -> Tensor:
        factor_VH = weight_VH.to(states_NH.dtype)
        slopes_NH = torch.empty_like(states_NH) if ctx.needs_input_grad[0] else None
        gradient_VH = torch.zeros_like(weight_VH, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        losses: list[Tensor] = []
        for at in range(0, len(labels_N), rows):
            part = slice(at, at + rows)
            nll_n, slope_nV = _loss_and_slope(states_NH[part], factor_VH, labels_N[part], softcap, scale)
            losses.append(nll_n)
            if slopes_NH is not None:
                slopes_NH[part] = slope_nV.to(factor_VH.dtype) @ factor_VH
            if gradient_VH is not None:
                _add_outer(gradient_VH, slope_nV.mul_(weights_N[part, None]), states_NH[part])
            del slope_nV
        ctx.save_for_backward(states_NH, weight_VH, labels_N, weights_N)
        ctx.slopes_NH, ctx.gradient_VH, ctx.settings = slopes_NH, gradient_VH, (rows, softcap, scale)
        return torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator's type forgets the names)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        states_NH, weight_VH, labels_N, weights_N = ctx.saved_tensors
        factors_N = gradients[0]
        to_states, to_weight = None, None
        if ctx.slopes_NH is not None:
            to_states = (ctx.slopes_NH * factors_N[:, None]).to(states_NH.dtype)
        if ctx.needs_input_grad[1]:
            common = _common_factor(factors_N, weights_N)
            gradient_VH, ctx.gradient_VH = ctx.gradient_VH, None  # it is given away: a second backward makes its own
            if common is None or gradient_VH is None:
                gradient_VH = _weight_gradient(states_NH, weight_VH, labels_N, factors_N, *ctx.settings)
            elif common != 1:
                gradient_VH.mul_(common)
            to_weight = gradient_VH.to(weight_VH.dtype)
        return to_states, to_weight, None, None, None, None, None


def _loss_and_slope(
    states_nH: Tensor, factor_VH: Tensor, labels_n: Tensor, softcap: float | None, scale: float
) -> tuple[Tensor, Tensor]:
    """NLL [n], and its derivative [n, V] by the head's product; float32, in place where it can be."""
    logits_nV, bend_nV = (states_nH @ factor_VH.T).float(), None
    if softcap is not None:
        logits_nV = logits_nV.div_(softcap).tanh_()
        bend_nV = 1 - logits_nV.square()
        logits_nV.mul_(softcap)
    if scale != 1:
        logits_nV.mul_(scale)
    labels_n1 = labels_n[:, None]
    highest_n1, chosen_n1 = logits_nV.amax(1, keepdim=True), logits_nV.gather(1, labels_n1)
    slope_nV = logits_nV.sub_(highest_n1).exp_()
    total_n1 = slope_nV.sum(1, keepdim=True)
    nll_n = (total_n1.log() + highest_n1 - chosen_n1)[:, 0]
    slope_nV.div_(total_n1).scatter_add_(1, labels_n1, torch.full_like(total_n1, -1.0))
    if bend_nV is not None:
        slope_nV.mul_(bend_nV)
    return nll_n, slope_nV.mul_(scale) if scale != 1 else slope_nV


@dataclass(frozen=True)
class FusedCost:
    """Of one fused loss: bytes kept until backward, bytes at the most, products with the head's weight."""

    kept: int
    peak: int
    products: int


def fused_bytes(head: Head, states_NH: Tensor, halved: bool) -> FusedCost:
    """What `FusedNLL` takes for these states, by its own lines. halved: it computes in two bytes a number."""
    assert head.weight_VH is not None
    learns, numbers = head.weight_VH.requires_grad, head.weight_VH.numel()
    logits = min(len(states_NH), max(1, MAX_LOGITS // head.vocabulary)) * head.vocabulary
    kept = states_NH.nbytes + 4 * numbers * learns
    chunk = 4 * logits * (1 if head.softcap is None else 2) + 2 * (logits + numbers) * halved
    return FusedCost(kept, kept + chunk, 3 if learns else 2)


def _add_outer(sum_VH: Tensor, slope_nV: Tensor, states_nH: Tensor) -> None:
    if states_nH.dtype == torch.float32:
        sum_VH.addmm_(slope_nV.T, states_nH)
    else:
        sum_VH.add_(slope_nV.to(states_nH.dtype).T @ states_nH)


def _weight_gradient(
    states_NH: Tensor,
    weight_VH: Tensor,
    labels_N: Tensor,
    factors_N: Tensor,
    rows: int,
    softcap: float | None,
    scale: float,
) -> Tensor:
    factor_VH = weight_VH.to(states_NH.dtype)
    sum_VH = torch.zeros_like(weight_VH, dtype=torch.float32)
    for at in range(0, len(labels_N), rows):
        part = slice(at, at + rows)
        _, slope_nV = _loss_and_slope(states_NH[part], factor_VH, labels_N[part], softcap, scale)
        _add_outer(sum_VH, slope_nV.mul_(factors_N[part, None]), states_NH[part])
    return sum_VH


def _common_factor(factors_N: Tensor, weights_N: Tensor) -> float | None:
    """c where factors are c times the weights, to the precision of float32; None where they are not."""
    at = int(weights_N.abs().argmax())
    if float(weights_N[at]) == 0:
        return None
    common = float(factors_N[at]) / float(weights_N[at])
    near = 1e-6 * float(factors_N.abs().max())
    return common if torch.allclose(factors_N, common * weights_N, rtol=1e-6, atol=near) else None


def _product_dtype(states: Tensor, weight: Tensor) -> torch.dtype:
    kind = states.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def _tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value
