"""Are the engine's weights those that were trained? Asked each time it is opened, before its text is used.

The student writes a fixed sample itself: up to eight of the prompts, 32 tokens each, sampled at temperature 1 by one
seed, where weights that differ show more than in greedy text. The engine's log-probabilities of these tokens are
compared with the student's. An engine that cannot tell them continues the same prompts greedily: its text has to be
the student's token by token, but for ties, and a log-probability that it states has to be the student's. What differs
by more than the bound raises, with the numbers. The bound is what rounding explains: twice what a forward pass in
bfloat16 does to the student's own numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from qrdistill.base.errors import BoundaryError
from qrdistill.students.decode.decode import Completion, decode
from qrdistill.students.decode.sampler import Request
from qrdistill.students.engines.config import CheckedEngine
from qrdistill.students.engines.engine import Measures, Surroundings, Writer
from qrdistill.students.engines.tokens_written import encoded, rounded, token_log_probabilities, write
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded

_PROMPTS, _TOKENS = 8, 32
_ROUNDINGS = 2  # an engine may differ by twice what bfloat16 does to the student's own numbers
_LEAST = 0.001  # nats
_HALVES = (0.05, 0.25)  # the bounds where the student's weights are rounded already: its own numbers tell nothing
_SEED = 20_250_816
_CHANCE = 0.01  # an engine that samples may look as if it did not so often, at most


@dataclass(frozen=True)
class _Greedy:
    """What the student writes greedily after one prompt."""

    prompt: str
    request: Request
    text: str


def _distances(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> list[float]:
    return [abs(a - b) for own, their in zip(one, other, strict=True) for a, b in zip(own, their, strict=True)]


class Proof:
    """The fixed sample of one student; made before the engine opens, which may need the memory."""

    def __init__(self, around: Surroundings, config: CheckedEngine, prompts: Sequence[str]) -> None:
        self._around, self._config = around, config
        student = around.student()
        room = (student.codec.max_context or 1 << 40) - _TOKENS
        fitting = [prompt for prompt in dict.fromkeys(prompts) if len(student.codec.prompt_ids(prompt)) < room]
        self._prompts = fitting[:_PROMPTS]
        draws = torch.Generator().manual_seed(_SEED)
        sampled = write(student, self._prompts, _TOKENS, temperature=1.0, draws=draws)
        self._paths = [Encoded(one.prompt, tuple(one.written), []) for one in sampled]
        self._known = token_log_probabilities(student, self._paths)
        self._greedy = [
            _Greedy(prompt, one, student.codec.completion([i for i in one.written if i not in student.codec.stop_ids]))
            for prompt, one in zip(self._prompts, write(student, self._prompts, _TOKENS), strict=True)
        ]
        self._bound, self._widest = self._bounds(student)
        self._sampling_is_seen = False
        self._alike = 0  # prompts whose samples were all the same so far

    def _bounds(self, student: Student) -> tuple[float, float]:
        """Nats per token that the numbers may differ by in the mean, and that one token may be less likely."""
        if self._config.tolerance is not None:
            return self._config.tolerance, self._config.tolerance
        if student.config.quantize or any(one.dtype != torch.float32 for one in student.model.parameters()):
            return _HALVES
        gaps = _distances(rounded(student, self._paths), self._known) or [0.0]
        return max(_LEAST, _ROUNDINGS * sum(gaps) / len(gaps)), max(_LEAST, _ROUNDINGS * max(gaps))

    def check(self, writer: Writer) -> None:
        """Raises BoundaryError, with the numbers, where the engine's weights are others or nothing can be compared."""
        measured = writer.log_probabilities(self._paths) if isinstance(writer, Measures) else None
        if measured is None:
            self._compare_greedy(writer)
            return
        gaps = _distances(measured, self._known)
        if not gaps:
            self._refuse("there is no prompt that leaves room in its context, so nothing can be compared")
        mean, most = sum(gaps) / len(gaps), max(gaps)
        if not mean <= self._bound:  # also where one is no number
            self._refuse(
                f"over {len(gaps)} tokens of {len(self._paths)} samples its log-probabilities differ from the trained "
                f"student's by {mean:.4g} nats a token (at most {most:.4g})"
            )
        self._log(f"{len(gaps)} log-probabilities differ by {mean:.2g} nats in the mean (at most {most:.2g})")

    def _compare_greedy(self, writer: Writer) -> None:
        theirs = [several[0] for several in writer(self._prompts, max_tokens=_TOKENS)]
        own_numbers = not (isinstance(writer, Measures) and writer.measured_here)
        equal = tokens = compared = 0
        worst = stated = 0.0
        for own, their in zip(self._greedy, theirs, strict=True):
            if their.text == own.text:
                equal, tokens = equal + 1, tokens + len(own.request.written)
                compared += len(own.request.written)
                stated += abs(their.logprob - own.request.logprob) if own_numbers else 0.0
            else:
                same, gap = self._parting(own, their)
                tokens, worst = tokens + same, max(worst, gap)
        if not tokens:
            self._refuse("it gives no log-probabilities and no text that could be compared")
        found = f"{equal} of {len(theirs)} greedy texts are the trained student's ({tokens} tokens)"
        if worst > self._widest:
            less = f"{worst:.4g} nats less likely, and may find it {self._widest:.2g}"
            self._refuse(f"{found}; where one parts, the student finds its token {less}")
        if not (stated := stated / max(1, compared)) <= self._bound:  # also where it is no number
            self._refuse(f"{found}, but it states log-probabilities that differ by {stated:.4g} nats a token")
        self._around.progress.warn(
            f"{self._around.settings.name}: engine {self._config.kind} gives no log-probabilities of given tokens, so "
            f"greedy texts were compared instead: {found}; weights that differ too little to change them would pass"
        )

    def _parting(self, own: _Greedy, their: Completion) -> tuple[int, float]:
        """Tokens up to the one where a text parts from the student's, and by how much less likely its next token is, in nats."""
        student = self._around.student()
        path = encoded(student.codec, own.prompt, their.text, ended=their.finish_reason == "stop")
        mine, other = tuple(own.request.written), path.response_ids
        same = next(
            (at for at, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), min(len(mine), len(other))
        )
        if same == len(mine) or same == len(other):  # the same tokens, spelled or cut in another way
            return same, 0.0
        ways = [Encoded(path.prompt_ids, (*mine[:same], token), []) for token in (mine[same], other[same])]
        likely, less = (row[-1] for row in token_log_probabilities(student, ways))
        return same + 1, likely - less

    def check_sampling(
        self, prompts: Sequence[str], written: Sequence[Sequence[Completion]], temperature: float, max_tokens: int
    ) -> None:
        """Raises BoundaryError where an engine writes the likeliest text although it was asked to sample.

        Samples may be alike by chance, so what was written for all prompts so far decides: refused is what an engine that
        samples as the student does would show once in a hundred times.
        """
        if self._sampling_is_seen or not prompts:
            return
        if any(len({one.text for one in several}) > 1 for several in written):
            self._sampling_is_seen = True
            return
        student, first, limit = self._around.student(), list(prompts[:_PROMPTS]), min(_TOKENS, max_tokens)
        greedy = decode(student, first, max_tokens=limit)
        if any(not them[0].text.startswith(own[0].text) for them, own in zip(written, greedy, strict=False)):
            self._sampling_is_seen = True
            return
        drawn = decode(student, first, max_tokens=limit, samples=2, temperature=temperature, seed=_SEED)
        varied = sum(len({one.text for one in several}) > 1 for several in drawn)
        self._alike += len(prompts)
        if (1 - varied / (len(first) + 1)) ** self._alike < _CHANCE:
            self._refuse(
                f"asked for temperature {temperature:g} it writes the likeliest text each time, for {self._alike} prompts, "
                f"where the student's own samples differ for {varied} of {len(first)}; the server has sampling switched off"
            )

    def _refuse(self, found: str) -> Any:
        raise BoundaryError(
            f"{self._around.settings.name}: engine {self._config.kind} has other weights than the trained student, or "
            f"reads them otherwise: {found}; the bound is {self._bound:.2g}. Nothing that it wrote is kept. "
            "Load the new weights there (see `reload`), or raise `tolerance` where its precision explains the numbers"
        )

    def _log(self, found: str) -> None:
        self._around.progress.log(
            f"{self._around.settings.name}: engine {self._config.kind} has the trained student's weights: {found}; the "
            f"bound is {self._bound:.2g}"
        )
