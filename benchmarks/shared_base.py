"""LoRA students on one copy of their base, beside students with a base each: resident memory and time of a step.

    python benchmarks/shared_base.py MODEL [--students 2 4] [--rounds 5] [--tokens 256]

Memory is one process per arm (its growth by loading, and the highest over loading while two steps are taken; Linux).
Time is one process in which both arms take every step in turn; a step is a forward and backward pass of each student
over `--tokens` tokens, and the update.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from qrdistill.students.adapters import Bases
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded
from qrdistill.training.optimizers import student_optimizer

_PATH = 64  # tokens of one path
_RANKS = (8, 16, 32, 4)


class Arm:
    """Students that learn together; each has a rank of its own."""

    def __init__(self, model: str, count: int, *, shared: bool) -> None:
        bases = Bases() if shared else None
        configs = [
            StudentConfig(name=f"s{at}", model=model, lora=LoraSettings(rank=_RANKS[at % len(_RANKS)]))
            for at in range(count)
        ]
        self.students = [load_student(one, base_dir=Path(), seed=at, bases=bases) for at, one in enumerate(configs)]
        self._optimizers = [student_optimizer(one.trainable_parameters(), one.config) for one in self.students]

    def step(self, paths: Sequence[Encoded]) -> list[float]:
        losses: list[float] = []
        for student, optimizer in zip(self.students, self._optimizers, strict=True):
            torch.manual_seed(len(losses))
            loss = student.forward(paths).nll_B.sum()
            loss.backward()
            losses.append(float(loss))
            optimizer.step()
            optimizer.zero_grad()
        return losses


def paths_of(student: Student, tokens: int) -> list[Encoded]:
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(100, student.num_rows - 100, (max(1, tokens // _PATH), _PATH), generator=draw).tolist()
    return [Encoded(tuple(row[:16]), tuple(row[16:]), []) for row in ids]


def resident(name: str) -> float:
    """VmRSS (now) or VmHWM (highest since the last reset), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def memory(model: str, count: int, tokens: int, *, shared: bool) -> dict[str, float]:
    load_student(StudentConfig(name="first", model=model, frozen=True), base_dir=Path())  # code and caches are there
    _settle()
    before = resident("VmRSS")
    arm = Arm(model, count, shared=shared)
    _settle()
    loaded = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    paths = paths_of(arm.students[0], tokens)
    for _ in range(2):
        arm.step(paths)
    return {"loaded": loaded - before, "peak": resident("VmHWM") - before}


def _settle() -> None:
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def clock(model: str, count: int, tokens: int, rounds: int) -> dict[str, list[float]]:
    arms = {name: Arm(model, count, shared=name == "shared") for name in ("separate", "shared")}
    paths = paths_of(arms["shared"].students[0], tokens)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        losses: dict[str, list[float]] = {}
        for name in sorted(arms, reverse=bool(turn % 2)):
            begun = time.process_time()
            losses[name] = arms[name].step(paths)
            if turn:  # the first is a warm-up
                seconds[name].append(time.process_time() - begun)
        assert losses["shared"] == losses["separate"], losses
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("model", help="folder or hub id")
    parser.add_argument("--students", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--memory", choices=("shared", "separate"), help="one arm's memory alone, as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if given.memory:
        found = memory(given.model, given.students[0], given.tokens, shared=given.memory == "shared")
        print(json.dumps(found))
        return
    print("students  base      loaded MB  peak MB  s a step  to separate")
    for count in given.students:
        seconds = clock(given.model, count, given.tokens, given.rounds)
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        for name in ("separate", "shared"):
            command = [sys.executable, __file__, given.model, "--students", str(count), "--memory", name]
            command += ["--tokens", str(given.tokens)]
            took = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            pairs = zip(seconds[name], seconds["separate"], strict=True)
            ratio = statistics.median(own / other for own, other in pairs)
            print(
                f"{count:8}  {name:8} {took['loaded']:10.0f} {took['peak']:8.0f} {middle[name]:9.2f} {ratio:12.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
