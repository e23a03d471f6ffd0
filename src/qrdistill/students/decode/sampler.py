"""What is asked of a decoder, and the next token of each row: greedy, or by one given uniform number.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Request:
    """One completion to write. draws: uniform numbers, one per token; limit: tokens it may take; ends: whether
    what is written ends the completion (beside the tokens that do)."""

    prompt: tuple[int, ...]
    draws: Tensor
    limit: int
    ends: Callable[[Sequence[int]], bool] | None = None
    written: list[int] = field(default_factory=list[int])
    logprob: float = 0.0
    stopped: bool = False

    def take(self, token: int, logprob: float, stop_ids: frozenset[int]) -> bool:
        """Appends a token; whether that ended the completion."""
        self.written.append(token)
        self.logprob += logprob
        self.stopped = token in stop_ids or (self.ends is not None and self.ends(self.written))
        return self.stopped or len(self.written) >= self.limit


def choose(logits_RV: Tensor, temperature: float, draws: Sequence[float]) -> tuple[list[int], list[float]]:
    """Tokens, and their log-probabilities in nats at temperature 1.

    Temperature 0 takes the likeliest token. Otherwise draw u in [0, 1) selects the first token at which
    the cumulative probability of softmax(logits / temperature) exceeds u.
    """
    logits_RV = logits_RV.float()
    if temperature == 0:
        chosen_R = _likeliest(logits_RV)
    else:
        cumulative_RV = torch.softmax(logits_RV.double() / temperature, -1).cumsum(-1)
        target_R1 = torch.tensor(draws, dtype=torch.float64)[:, None].to(logits_RV.device)
        found_R1 = torch.searchsorted(cumulative_RV, target_R1 * cumulative_RV[:, -1:], right=True)
        chosen_R = found_R1[:, 0].clamp(max=logits_RV.shape[-1] - 1)
    gained_R = logits_RV.gather(-1, chosen_R[:, None])[:, 0] - logits_RV.logsumexp(-1)
    return chosen_R.tolist(), gained_R.tolist()


def _likeliest(logits_RV: Tensor) -> Tensor:
    """The first of the largest; numpy's search takes a small part of torch's time on a CPU."""
    if logits_RV.device.type == "cpu":
        return torch.from_numpy(logits_RV.detach().numpy().argmax(-1))
    return logits_RV.argmax(-1)
