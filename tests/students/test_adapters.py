"""Adapters on one base: one copy of its weights, and every number that students with bases of their own would have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from qrdistill.students.adapters import Bases
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.decode.decode import decode
from qrdistill.students.export import export_student
from qrdistill.students.loading import load_student, recompute_activations
from qrdistill.students.student import Student
from qrdistill.training.optimizers import student_optimizer

PATHS = [("Ann has 3 apples.\n", "3 + 4 = 7"), ("Ann has 3 apples.\n", "7 apples."), ("x - 5 = 12\n", "x = 17")]
RANKS = {"ada": LoraSettings(rank=2, dropout=0.2), "bob": LoraSettings(rank=4, targets=["q_proj"], dropout=0.1)}
THREE = {**RANKS, "eve": LoraSettings(rank=8, dora=True, dropout=0.0)}


def load(folder: Path, kinds: dict[str, LoraSettings], bases: Bases | None, **options: Any) -> list[Student]:
    return [
        load_student(
            StudentConfig(name=name, model=str(folder), lora=lora, **options), base_dir=Path("/"), seed=at, bases=bases
        )
        for at, (name, lora) in enumerate(kinds.items())
    ]


def resident(students: Sequence[Student]) -> int:
    """Bytes of all parameters, those that students share counted once."""
    tensors = {one.data_ptr(): one.numel() * one.element_size() for s in students for one in s.model.parameters()}
    return sum(tensors.values())


def steps(students: Sequence[Student], count: int = 2) -> list[list[torch.Tensor]]:
    """Losses, gradients and trained weights of joint steps, the students' forwards in turn, each with its own dropout."""
    optimizers = [student_optimizer(student.trainable_parameters(), student.config) for student in students]
    found: list[list[torch.Tensor]] = [[] for _ in students]
    for step in range(count):
        for s, student in enumerate(students):
            student.model.train()
            torch.manual_seed(100 * s + step)
            loss_B = student.forward([student.encode(*path) for path in PATHS[s:]]).nll_B
            loss_B.sum().backward()
            found[s] += [
                loss_B.detach(),
                *(one.grad.clone() for one in student.trainable_parameters() if one.grad is not None),
            ]
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    for s, student in enumerate(students):
        found[s] += [one.detach().clone() for one in student.trainable_parameters()]
    return found


@pytest.mark.parametrize(
    ("family", "kinds", "options"),
    [("llama", RANKS, {}), ("gemma2", THREE, {}), ("llama", RANKS, {"quantize": "nf4"})],
    ids=["two", "three", "nf4"],
)
def test_losses_gradients_and_weights_are_bit_for_bit_those_of_separate_models(
    tiny_student_folder: Callable[..., Path], tmp_path: Path, family: str, kinds: dict[str, LoraSettings], options: Any
) -> None:
    folder = tiny_student_folder(family)
    apart, together = load(folder, kinds, None, **options), load(folder, kinds, Bases(), **options)
    for one, other in zip(steps(apart), steps(together), strict=True):
        assert len(one) == len(other) > 2
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    base = resident(apart[:1]) - sum(one.numel() * 4 for one in apart[0].trainable_parameters())
    assert resident(apart) - resident(together) == (len(kinds) - 1) * base
    for one, other in zip(apart, together, strict=True):
        texts = [decode(student, [PATHS[0][0]], max_tokens=6)[0][0] for student in (one, other)]
        assert texts[0] == texts[1]
        for merge in (False, True):
            folders = [
                export_student(each, tmp_path / f"{n}-{merge}-{each.name}", merge=merge)
                for n, each in enumerate((one, other))
            ]
            weights = "model.safetensors" if merge else "adapter_model.safetensors"
            assert len({(each / weights).read_bytes() for each in folders}) == 1


def test_what_one_student_does_is_not_seen_by_the_others(tiny_student_folder: Callable[..., Path]) -> None:
    first, second = load(tiny_student_folder("llama"), RANKS, bases := Bases())
    recompute_activations(first.model)
    first.model.eval()
    first.core.config.use_cache = False
    assert second.model.training
    saving = [any(getattr(one, "gradient_checkpointing", False) for one in s.model.modules()) for s in (first, second)]
    assert saving == [True, False]
    frozen = load_student(StudentConfig(name="cat", model=first.source, frozen=True), base_dir=Path("/"), bases=bases)
    assert resident([first, frozen]) == resident([first])
    full = load_student(StudentConfig(name="dan", model=first.source), base_dir=Path("/"), bases=bases)
    assert all(one.requires_grad for one in full.model.parameters())
    assert not any(one.requires_grad for one in frozen.model.parameters())
    assert resident([first, full]) > 1.9 * resident([first])  # it trains what others rely on, so it has its own
