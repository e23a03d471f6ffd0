"""Completions from a student: batched, greedy or sampled, the same whatever shares the batch.

Prompts are read without padding, many at a time, what several of them begin with once; rows are decoded together with a
key-value cache; a row that ends makes place for the next prompt at once. Families that cannot be packed go through
transformers' own cache (`students.decode.padded`).

Legend: R rows that are being decoded, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from qrdistill.students import batches
from qrdistill.students.batches import Batch
from qrdistill.students.decode import padded as plain_decoding
from qrdistill.students.decode.kv_cache import RowCache
from qrdistill.students.decode.sampler import Request, choose
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded

_FAMILY = 0.5  # prompts that begin alike for at least this share of the shortest are read together
_SHRINK = 0.7  # with no prompts left, rows are dropped when so few are live


@dataclass(frozen=True)
class Completion:
    """text: without special tokens; with its thought, in tags, where there is one. logprob: summed over `tokens` tokens (the end token included), nats,
    of the untempered distribution. finish_reason: `length` where `max_tokens` or the context cut it."""

    text: str
    logprob: float
    tokens: int
    finish_reason: Literal["stop", "length"]


@torch.no_grad()
def decode(
    student: Student,
    prompts: Sequence[str],
    *,
    max_tokens: int,
    batch_size: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    samples: int = 1,
    stop: Sequence[str] = (),
) -> list[list[Completion]]:
    """`samples` completions of each prompt, in order; temperature 0 is greedy.

    A completion ends before the first of the `stop` texts. A sampled completion depends on (seed, prompt, sample) only, not on its neighbours. A prompt that fills
    the student's context yields an empty completion with finish_reason `length`.
    """
    context = student.codec.max_context or 1 << 40
    ends = _ends_in(student, stop) if stop else None
    requests: list[Request] = []
    for prompt in prompts:
        ids = student.codec.prompt_ids(prompt)
        limit = max(0, min(max_tokens, context - len(ids)))
        for sample in range(samples):
            draws = _draws(seed, prompt, sample, limit) if temperature > 0 else torch.zeros(limit)
            requests.append(Request(ids, draws, limit, ends))
    decode_requests(student, requests, batch_size=batch_size, temperature=temperature)
    done = [_completion(student, request, stop) for request in requests]
    return [done[start : start + samples] for start in range(0, len(done), samples)]


@torch.no_grad()
def decode_requests(student: Student, requests: Sequence[Request], *, batch_size: int, temperature: float) -> None:
    """Writes every request to its end, longest prompts first, in evaluation mode."""
    queue = _in_order(student, [request for request in requests if request.limit])
    training = student.model.training
    student.model.eval()
    try:
        # longrope: a row that grows long would turn the positions of its neighbours
        turns = any(len(r.prompt) + r.limit > (student.rope_limit or 1 << 40) for r in queue)
        if student.packed and not turns:
            _decode_rows(student, queue, batch_size, temperature)
        else:
            batch_size = 1 if student.alone or turns else batch_size
            for start in range(0, len(queue), batch_size):
                plain_decoding.decode_batch(student, queue[start : start + batch_size], temperature)
    finally:
        student.model.train(training)


def _in_order(student: Student, requests: Sequence[Request]) -> list[Request]:
    """Longest prompts first, so that rows are of similar length; those that share most of a prompt stay together."""
    ordered = sorted(requests, key=lambda request: (-len(request.prompt), request.prompt))
    families: list[list[Request]] = []
    prompts = [Encoded(request.prompt, (student.codec.end_id,), []) for request in ordered]
    for group in batches.group_by_prefix(prompts):
        members = [ordered[at] for at in sorted(group.members)]
        alike = group.prefix >= _FAMILY * len(members[-1].prompt)
        families += [members] if alike else [[member] for member in members]
    families.sort(key=lambda family: (-len(family[0].prompt), family[0].prompt))
    return [request for family in families for request in family]


def _completion(student: Student, request: Request, stop: Sequence[str]) -> Completion:
    written = request.written
    ids = written[:-1] if request.stopped and written[-1] in student.codec.stop_ids else written
    text = before(student.codec.completion(ids), stop)
    return Completion(text, request.logprob, len(written), "stop" if request.stopped else "length")


def before(text: str, stop: Sequence[str]) -> str:
    """A text up to the first of the `stop` texts in it."""
    for end in stop:
        text = text.partition(end)[0]
    return text


def _ends_in(student: Student, stop: Sequence[str]) -> Callable[[Sequence[int]], bool]:
    """Whether the newest tokens write one of these texts; a token writes a byte at least."""
    reach = max(len(text.encode()) for text in stop) + 1

    def ends(written: Sequence[int]) -> bool:
        text = student.codec.decode(written[-reach:])
        return any(end in text for end in stop)

    return ends


def _draws(seed: int, prompt: str, sample: int, count: int) -> Tensor:
    digest = hashlib.blake2b(f"{seed}\n{sample}\n{prompt}".encode(), digest_size=7).digest()
    return torch.rand(count, generator=torch.Generator().manual_seed(int.from_bytes(digest, "big")))


def _decode_rows(student: Student, queue: Sequence[Request], batch_size: int, temperature: float) -> None:
    """Writes all requests, in order, at most `batch_size` at once.

    Prompts are read ahead, as many at a time as there are rows, and wait with their keys and values for a row: so those
    of one question meet in one reading however its rows end.
    """
    if not queue:
        return
    num_rows = min(batch_size, len(queue))
    cache = RowCache(num_rows, max(len(r.prompt) + r.limit for r in queue), student.device)
    rows: list[Request | None] = [None] * num_rows
    unread = deque(queue)
    ready = _Ready()
    while True:
        free = [place for place, request in enumerate(rows) if request is None]
        while free and (ready.requests or unread):
            if not ready.requests:
                ready = _read(student, [unread.popleft() for _ in range(min(num_rows, len(unread)))], temperature)
            ready.move(cache, rows, free)
        live = [place for place, request in enumerate(rows) if request is not None]
        if not live:
            return
        if free and len(live) <= _SHRINK * len(rows):
            cache.keep(live)
            rows = [rows[place] for place in live]
        _step(student, cache, rows, temperature)


@dataclass
class _Ready:
    """Requests with their first token written and no row yet, each with its path of the batch that read them."""

    requests: deque[tuple[int, Request]] = field(default_factory=deque[tuple[int, Request]])
    batch: Batch | None = None

    def move(self, cache: RowCache, rows: list[Request | None], free: list[int]) -> None:
        """Gives them the free rows, as far as these go."""
        if self.batch is None or not self.requests:
            return
        taken = [self.requests.popleft() for _ in range(min(len(free), len(self.requests)))]
        places, free[:] = free[: len(taken)], free[len(taken) :]
        cache.admit(self.batch, [path for path, _ in taken], places)
        for place, (_, request) in zip(places, taken, strict=True):
            rows[place] = request
        if not self.requests:
            self.batch = None  # its keys and values are copied


def _read(student: Student, requests: list[Request], temperature: float) -> _Ready:
    """Reads prompts and writes the first token of each."""
    prompts = [Encoded(request.prompt, (student.codec.end_id,), []) for request in requests]
    batch = batches.build(prompts, share=True, device=student.device, capture=True)
    with student.precision():
        logits = student.logits(student.states(batch))
    going: list[Request | None] = [*requests]
    _write(student, going, list(range(len(requests))), logits, temperature)
    return _Ready(deque((path, one) for path, one in enumerate(going) if one is not None), batch)


def _step(student: Student, cache: RowCache, rows: list[Request | None], temperature: float) -> None:
    """One more token for every row; rows without a request are computed and ignored."""
    last = [request.written[-1] if request else student.codec.end_id for request in rows]
    longest = max(len(r.prompt) + len(r.written) - 1 for r in rows if r)
    cache.begin(longest)
    with student.precision():
        output = student.core.get_decoder()(
            input_ids=torch.tensor(last, device=student.device)[:, None],
            position_ids=cache.lengths_R[:, None],
            attention_mask=student.open_mask,
            use_cache=False,
            plan=cache,
        )
        logits = student.logits(output.last_hidden_state[:, 0])
    cache.end()
    _write(student, rows, list(range(len(rows))), logits, temperature)


def _write(
    student: Student, rows: list[Request | None], places: list[int], logits_RV: Tensor, temperature: float
) -> None:
    """Chooses each row's next token; a row that ends becomes None."""
    draws = [0.0] * len(places)
    if temperature > 0:
        for at, place in enumerate(places):
            if (request := rows[place]) is not None:
                draws[at] = float(request.draws[len(request.written)])
    chosen, gained = choose(logits_RV, temperature, draws)
    for place, token, logprob in zip(places, chosen, gained, strict=True):
        request = rows[place]
        if request is not None and request.take(token, logprob, student.codec.stop_ids):
            rows[place] = None
