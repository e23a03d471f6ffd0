"""The room that a training takes at least, beside what this machine has: before anything is bought for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qrdistill.base.device import free_disk, memory_of, resolve_device
from qrdistill.base.errors import InputError
from qrdistill.students.preflight import Look
from qrdistill.training.config import TrainConfig


@dataclass(frozen=True)
class Room:
    """What a training needs at least, in bytes, beside what this machine has.

    memory: weights, gradients and the optimizer's state of all students, which are in memory together; activations
    come on top, more with longer batches. disk: checkpoints and exported students of all rounds.
    """

    memory: int
    memory_here: int
    place: str
    disk: int
    disk_here: int

    @property
    def problem(self) -> str:
        """Why it cannot go well, with the mend; empty where it may."""
        if self.memory > self.memory_here > 0:
            return (
                f"the students need at least {_gib(self.memory)} of memory to train, the {self.place} has "
                f"{_gib(self.memory_here)}; choose smaller models, or give them lora (and quantize: nf4)"
            )
        if self.disk > self.disk_here:
            return (
                f"checkpoints and exported students need about {_gib(self.disk)} of disk, {_gib(self.disk_here)} are "
                "free; make room, lower train.keep_last, or give the students lora"
            )
        return ""

    def text(self) -> str:
        return (
            f"memory at least {_gib(self.memory)} of {_gib(self.memory_here)} ({self.place}), activations on top; "
            f"disk about {_gib(self.disk)} of {_gib(self.disk_here)} free"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 // 10 else f"{size / 2**20:.0f} MiB"


def room_plan(looks: Sequence[Look], config: TrainConfig, *, rounds: int, folder: Path) -> Room:
    """The room that students take whose sizes are known; others count as nothing."""
    device = resolve_device(config.device)
    memory = disk = 0
    bases: set[tuple[object, ...]] = set()
    for look in looks:
        fixed = look.student.frozen or look.student.lora is not None
        half = look.student.dtype in ("bfloat16", "float16") or (
            look.student.dtype == "auto" and fixed and device.type == "cuda"
        )
        weight = 0.6 if look.student.quantize else 2 if half else 4
        state = 2 if look.student.optimizer == "adamw_8bit" else 8
        base = (look.student.model, look.student.quantize, weight)
        resident = 0 if fixed and base in bases else look.parameters * weight  # one copy: `students.adapters`
        bases |= {base} if fixed else set()
        memory += round(resident + look.trained * (4 + state))
        written = 4 * look.trained if fixed else round(weight * look.parameters)
        disk += (rounds + 1) * written + config.keep_last * look.trained * (4 + state)
    return Room(memory, memory_of(device), "GPU" if device.type == "cuda" else "machine", disk, free_disk(folder))


def check_room(looks: Sequence[Look], config: TrainConfig, *, rounds: int, folder: Path) -> None:
    """Raises InputError where memory or disk cannot hold the training."""
    if problem := room_plan(looks, config, rounds=rounds, folder=folder).problem:
        raise InputError(problem)
