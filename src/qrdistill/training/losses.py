"""The losses of joint training, as pure functions.

Losses are sums divided by counts that the caller gives, over the whole step: so a step may be cut
into any micro-batches and their losses simply add up.

Tensor suffixes: B paths, S students, T target tokens of one path, K text spans, D shared dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TINY = 1e-12  # p log p and its gradient stay finite at p = 0


def routed_nll(nll: Tensor, gates: Tensor, num_targets: Tensor | float) -> Tensor:
    """Imitation: sum of alpha * NLL, divided by the step's count of routed target tokens.

        L = sum_s  sum_b alpha_bs NLL_bs / N_s,     N_s = sum_b |alpha_bs| T_bs

    `nll` are nats summed over a path's target tokens ([B] for one student or [B, S]), `gates` alpha
    of the same shape, `num_targets` N_s over the *whole step* in student s's own tokens. A pair with
    a closed gate adds exactly nothing, not even where its NLL is NaN because nobody measured it. A
    negative alpha is an advantage: on the student's own samples this is REINFORCE.

    Deviation: arXiv 2508.16861 divides by nothing; we divide per student, so that neither a
    student's share nor its tokenizer changes the scale of its gradient, which `clip` acts on.

    >>> nll = torch.tensor([[4.0, 9.0], [6.0, 3.0], [8.0, float("nan")]])
    >>> gates = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> routed_nll(nll, gates, torch.tensor([6.0, 3.0])).item()  # (4 + 8) / 6 + 3 / 3
    3.0
    """
    open_gates = gates != 0
    paid = torch.where(open_gates, torch.where(open_gates, nll, 0.0) * gates, 0.0)
    return (paid / (num_targets + (num_targets == 0))).sum()  # no target: no open gate, 0 / 1


def dynamic_weights(nll_T: Tensor) -> Tensor:
    """What each target token's NLL is multiplied by in dynamic fine-tuning: its own probability, held constant.

        L = -sum_t sg(p_t) log p_t

    So the gradient of a token is -p_t grad log p_t = -grad p_t: unlikely tokens no longer pull hardest.
    Source: arXiv 2508.05629.

    >>> dynamic_weights(torch.tensor([0.0, math.log(4.0)]))
    tensor([1.0000, 0.2500])
    """
    return (-nll_T.detach()).exp()


def routed_advantage(gates_BS: Tensor, relative_BS: Tensor) -> Tensor:
    """The router's task loss: gates times z-scored losses, averaged over paths.

        L = 1/B sum_b sum_s alpha_bs z_bs,     z_bs = (NLL_bs / characters_b - mean_s) / sd_s

    z is detached and compares a student with itself, so neither tokenizer nor overall strength
    decides. NaN (nothing is known) is left out: it neither draws a path nor repels it. The gradient
    reaches the router through the straight-through gates.

    >>> routed_advantage(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[-1.0, 2.0], [float("nan"), 0.5]]))
    tensor(-0.2500)
    """
    known_BS = ~relative_BS.isnan()
    signal_BS = relative_BS.detach().nan_to_num(0.0).to(gates_BS)
    return torch.where(known_BS, gates_BS * signal_BS, 0.0).sum() / gates_BS.shape[0]


def load_balance(soft_BS: Tensor) -> Tensor:
    """Against collapse: KL(mean gate share || uniform), in nats; 0 if balanced, log S if collapsed.

    Over the batch's mean, so each single path may be routed with certainty. Deviation: the paper
    regularises entropy per path, which also forbids certainty; that term is `gate_entropy`.

    >>> load_balance(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).item()
    0.0
    >>> round(load_balance(torch.tensor([[1.0, 0.0], [1.0, 0.0]])).item(), 4)
    0.6931
    """
    share_S = soft_BS.mean(0)
    return (share_S * share_S.clamp_min(_TINY).log()).sum() + math.log(soft_BS.shape[1])


def gate_entropy(soft_BS: Tensor) -> Tensor:
    """Mean entropy of a path's gate probabilities, nats in [0, log S] (arXiv 2508.16861, L_ent).

    The step subtracts it, times `router.entropy`: the router is kept from being certain too early.

    >>> round(gate_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])).item(), 4)  # (log 2 + 0) / 2
    0.3466
    """
    return -(soft_BS * soft_BS.clamp_min(_TINY).log()).sum(1).mean()


def mutual_mse(z_SKD: Tensor, target_SKD: Tensor, pulled_SK: Tensor, num_spans: float) -> Tensor:
    """Mutual distillation: mean squared error to the (detached) target, averaged over spans.

        L = sum_s sum_k w_sk / D ||z_sk - target_sk||^2 / (S num_spans)

    `pulled_SK` are 0 or 1: which student is pulled on which span. `num_spans` counts the whole
    step's, whether pulled or not. Source: arXiv 2508.16861, mutual-student distillation.

    >>> z = torch.tensor([[[1.0, 1.0]], [[3.0, 1.0]]])
    >>> mutual_mse(z, z.mean(0, keepdim=True).expand(2, 1, 2), torch.ones(2, 1), 1).item()
    0.5
    """
    error_SK = (z_SKD - target_SKD.detach()).square().mean(-1)
    return (error_SK * pulled_SK).sum() / (z_SKD.shape[0] * num_spans)


def competence_loss(logits_BS: Tensor, nll_BS: Tensor, num_paths: float, temperature: float = 0.1) -> Tensor:
    """Teaches the competence net who really does better on a path.

        L = 1/num_paths sum_b H(softmax(-NLL_b / temperature), softmax(l_b))

    `nll_BS` in nats per character, detached; `temperature` in the same unit: a student that pays
    0.1 nats per character less counts e times as much. `num_paths` counts the whole step's.

    >>> round(competence_loss(torch.zeros(1, 2), torch.tensor([[0.2, 0.9]]), 1).item(), 4)
    0.6931
    """
    target_BS = (-nll_BS.detach() / temperature).softmax(-1).to(logits_BS)
    return -(target_BS * logits_BS.log_softmax(-1)).sum() / num_paths
