"""Decoding with transformers' own cache and left padding, for families that cannot be packed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from qrdistill.students.decode.sampler import Request, choose
from qrdistill.students.student import Student


def decode_batch(student: Student, requests: Sequence[Request], temperature: float) -> None:
    """Writes every request to its end; rows that end early wait for the last.

    Families without a key-value cache (recurrent ones) read each text anew for every token.
    """
    device = student.device
    longest = max(len(request.prompt) for request in requests)
    tokens = torch.full((len(requests), longest), student.codec.end_id)
    mask = torch.zeros(len(requests), longest, dtype=torch.long)
    for row, request in enumerate(requests):
        tokens[row, longest - len(request.prompt) :] = torch.tensor(request.prompt)
        mask[row, longest - len(request.prompt) :] = 1
    tokens, mask = tokens.to(device), mask.to(device)
    live, cache = set(range(len(requests))), None
    while live:
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        with student.precision():
            output: Any = student.core(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=positions[:, -tokens.shape[1] :],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        cache = getattr(output, "past_key_values", None)
        if cache is None:
            for request in requests:
                _decode_whole(student, request, temperature)
            return
        draws = [
            float(request.draws[len(request.written)]) if row in live else 0.0 for row, request in enumerate(requests)
        ]
        chosen, gained = choose(output.logits[:, -1], temperature, draws)
        for row in sorted(live):
            if requests[row].take(chosen[row], gained[row], student.codec.stop_ids):
                live.remove(row)
        tokens = torch.tensor(chosen, device=device)[:, None]
        mask = torch.cat([mask, mask.new_ones(len(requests), 1)], dim=1)


def _decode_whole(student: Student, request: Request, temperature: float) -> None:
    done = False
    while not done:
        tokens = torch.tensor([[*request.prompt, *request.written]], device=student.device)
        with student.precision():
            logits: Any = student.core(input_ids=tokens, use_cache=False).logits[:, -1]
        chosen, gained = choose(logits, temperature, [float(request.draws[len(request.written)])])
        done = request.take(chosen[0], gained[0], student.codec.stop_ids)
