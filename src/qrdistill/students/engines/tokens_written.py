"""Tokens that were written, by the student or by another: their ids, and the student's log-probabilities of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from qrdistill.students.decode.decode import decode_requests
from qrdistill.students.decode.sampler import Request
from qrdistill.students.student import Student
from qrdistill.students.tokens import Codec, Encoded, Unencodable

_AT_ONCE = 4096  # tokens of one forward


def write(
    student: Student,
    prompts: Sequence[str],
    limit: int,
    *,
    temperature: float = 0.0,
    draws: torch.Generator | None = None,
) -> list[Request]:
    """What the student writes after each prompt, as tokens."""
    requests = [
        Request(
            student.codec.prompt_ids(prompt), torch.rand(limit, generator=draws) if draws else torch.zeros(limit), limit
        )
        for prompt in prompts
    ]
    decode_requests(student, requests, batch_size=len(requests) or 1, temperature=temperature)
    return requests


@torch.no_grad()
def token_log_probabilities(student: Student, paths: Sequence[Encoded]) -> list[list[float]]:
    """Of every response token of every path, in nats, without dropout."""
    training = student.model.training
    student.model.eval()
    try:
        view = student.forward(paths, max_tokens=_AT_ONCE)
        return [[-nll for nll in row.tolist()] for row in view.token_nll]
    finally:
        student.model.train(training)


def rounded(student: Student, paths: Sequence[Encoded]) -> list[list[float]]:
    """The same by a forward pass in bfloat16, whatever the student computes in."""
    before, student.autocast_dtype = student.autocast_dtype, torch.bfloat16
    try:
        return token_log_probabilities(student, paths)
    finally:
        student.autocast_dtype = before


def encoded(codec: Codec, prompt: str, text: str, *, ended: bool) -> Encoded:
    """A prompt and a text that was written after it; with the end token where it `ended`."""
    prompt_ids = codec.prompt_ids(prompt)
    try:
        ids = codec.encode(prompt, text).response_ids[:-1] if text else ()
    except Unencodable:
        ids = ()
    return Encoded(prompt_ids, (*ids, codec.end_id) if ended or not ids else ids, [])
