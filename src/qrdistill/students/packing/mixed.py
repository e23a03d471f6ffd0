"""Several students' paths in one forward over the base that they share.

The base's products run over everyone's tokens at once, each student's adapters over its own. Losses and gradients are
those of a forward per student, up to the rounding of longer products; dropout draws the same.

Tensor suffixes: T tokens of the forward (t of one student), I and O a layer's input and output width, N labels, H hidden
width; A and B are an adapter's two matrices, as peft names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from qrdistill.students import batches
from qrdistill.students.student import Student, View
from qrdistill.students.tokens import Encoded


@dataclass(frozen=True)
class Read:
    """What one student reads of a micro-batch. learnt: see `Student.forward`. seed: of its dropout."""

    student: Student
    encoded: Sequence[Encoded]
    learnt: Sequence[float]
    seed: int


def mixes(students: Sequence[Student]) -> list[Mix]:
    """The students that can be read together: packed, trained by plain low-rank adapters on one loaded base."""
    able = [student for student in students if _is_able(student)]
    groups = [list(group) for _, group in groupby(sorted(able, key=_base_key), _base_key)]
    found = [Mix(group) for group in groups if len(group) > 1]
    return [mix for mix in found if mix.reaches_all_tokens()]


class Mix:
    """Students on one base; `forward` reads for any of them at once."""

    def __init__(self, students: Sequence[Student]) -> None:
        self.students = students
        self._base: Any = students[0].base
        self._adapters = {student.name: _adapters(student) for student in students}
        self._now: list[tuple[Mapping[str, Any], int, torch.Generator | None]] = []
        self._base.set_attn_implementation(students[0].core.config._attn_implementation)
        modules = dict(self._base.named_modules())
        for path in sorted({path for own in self._adapters.values() for path in own}):
            modules[path].register_forward_hook(partial(self._add, path))

    def forward(self, reads: Sequence[Read], *, hidden: bool = False, shared_prefix: bool = True) -> list[View]:
        """Each one's `Student.forward`, in training mode, differentiable unless under torch.no_grad()."""
        first = reads[0].student
        parts = [batches.build(read.encoded, share=shared_prefix, device=first.device) for read in reads]
        self._now = [
            (
                self._adapters[read.student.name],
                len(part.tokens_T),
                torch.Generator(first.device).manual_seed(read.seed),
            )
            for read, part in zip(reads, parts, strict=True)
        ]
        self._base.train()
        torch.manual_seed(reads[0].seed)  # for dropout of the base's own, where it has any
        with first.precision():
            states = first.states(batches.joined(parts), self._base).split([len(part.rows_N) for part in parts])
            return [
                read.student.view(part, states_NH, list(read.learnt), hidden=hidden)
                for read, part, states_NH in zip(reads, parts, states, strict=True)
            ]

    @torch.no_grad()
    def reaches_all_tokens(self) -> bool:
        """Whether every adapted layer reads all tokens in their order, as experts for some of them do not."""
        path = Encoded((1, 2, 3), (4, 5), [])
        try:
            self.forward([Read(student, [path], [1.0], 0) for student in self.students])
        except ValueError:
            return False
        return True

    def _add(self, path: str, module: torch.nn.Module, given: tuple[Tensor, ...], output_1TO: Tensor) -> Tensor:
        """A hook: a layer's output with what each student's adapters add to it."""
        sizes = [size for _, size, _ in self._now]
        if given[0].shape[:-1] != (1, sum(sizes)):
            raise ValueError(f"{path} does not read all tokens")
        added: list[Tensor] = []
        for input_1tI, (adapters, size, draws) in zip(given[0].split(sizes, dim=1), self._now, strict=True):
            if path in adapters:
                added.append(_update(adapters[path], input_1tI, draws))
            else:
                added.append(output_1TO.new_zeros(1, size, output_1TO.shape[-1]))
        return (output_1TO + torch.cat(added, dim=1)).to(output_1TO.dtype)


def _is_able(student: Student) -> bool:
    if student.base is None or student.config.frozen or not hasattr(student.model, "peft_config"):
        return False
    recomputes = any(getattr(module, "gradient_checkpointing", False) for module in student.core.modules())
    if not student.packed or student.rope_limit is not None or recomputes:
        return False
    adapters = _adapters(student).values()
    known = {id(one) for one in student.base.parameters()}
    known |= {id(one) for layer in adapters for part in (layer.lora_A, layer.lora_B) for one in part.parameters()}
    # anything else in its layers (DoRA's magnitudes, a module of its own) is not in the one forward
    own = {id(one) for one in student.core.get_decoder().parameters()}
    return own <= known and not any(layer.lora_variant for layer in adapters)


def _base_key(student: Student) -> int:
    return id(student.base)


def _adapters(student: Student) -> dict[str, Any]:
    """The decoder's adapted layers by their name in the base; an adapted head stays the student's own."""
    inside = {id(module) for module in student.core.get_decoder().modules()}
    return {
        path: module
        for path, module in student.core.named_modules()
        if id(module) in inside and hasattr(module, "lora_variant")
    }


def _update(layer: Any, input_1tI: Tensor, draws: torch.Generator | None) -> Tensor:
    """What one student's adapter adds, as peft computes it."""
    (name,) = layer.active_adapters
    into, out, drop = layer.lora_A[name], layer.lora_B[name], getattr(layer.lora_dropout[name], "p", 0.0)
    input_1tI = input_1tI.to(into.weight.dtype)
    if drop:
        kept = torch.empty_like(input_1tI).bernoulli_(1 - drop, generator=draws).div_(1 - drop)
        input_1tI = input_1tI * kept
    return out(into(input_1tI)) * layer.scaling[name]
