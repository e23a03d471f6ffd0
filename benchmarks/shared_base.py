"""LoRA students on one copy of their base, beside students with a base each: resident memory and time of a step.

    python benchmarks/shared_base.py MODEL [--students 2 4] [--rounds 5] [--tokens 64 256] [--quantize]

`separate` and `shared` read one student after the other, `mixed` all of them in one forward over the shared base. Memory
is one process per arm (its growth by loading, and the highest over loading while two steps are taken; Linux). Time is CPU
seconds on one thread in one process, in which all arms take every step in turn; a step is a forward and backward pass of
each student over `--tokens` tokens, and the update.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
import json
import math
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
from qrdistill.students.packing.mixed import Mix, Read
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded
from qrdistill.training.optimizers import student_optimizer

_PATH = 64  # tokens of one path
_RANKS = (8, 16, 32, 4)
_ARMS = ("separate", "shared", "mixed")


class Arm:
    """Students that learn together; each has a rank of its own."""

    def __init__(self, model: str, count: int, kind: str, *, quantize: bool) -> None:
        bases = None if kind == "separate" else Bases()
        bits = "nf4" if quantize else None
        configs = [
            StudentConfig(name=f"s{at}", model=model, quantize=bits, lora=LoraSettings(rank=_RANKS[at % len(_RANKS)]))
            for at in range(count)
        ]
        self.students = [load_student(one, base_dir=Path(), seed=at, bases=bases) for at, one in enumerate(configs)]
        self._optimizers = [student_optimizer(one.trainable_parameters(), one.config) for one in self.students]
        self._mix = Mix(self.students) if kind == "mixed" else None

    def step(self, paths: Sequence[Encoded]) -> list[float]:
        reads = [Read(student, paths, [1.0] * len(paths), seed) for seed, student in enumerate(self.students)]
        if self._mix is not None:
            losses = [view.nll_B.sum() for view in self._mix.forward(reads)]
            torch.stack(losses).sum().backward()
        else:
            losses: list[torch.Tensor] = []
            for read in reads:
                torch.manual_seed(read.seed)
                losses.append(read.student.forward(paths).nll_B.sum())
                losses[-1].backward()
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return [float(loss) for loss in losses]


def paths_of(student: Student, tokens: int) -> list[Encoded]:
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(100, student.num_rows - 100, (max(1, tokens // _PATH), _PATH), generator=draw).tolist()
    return [Encoded(tuple(row[:16]), tuple(row[16:]), []) for row in ids]


def resident(name: str) -> float:
    """VmRSS (now) or VmHWM (highest since the last reset), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def memory(model: str, count: int, tokens: int, kind: str, *, quantize: bool) -> dict[str, float]:
    load_student(StudentConfig(name="first", model=model, frozen=True), base_dir=Path())  # code and caches are there
    _settle()
    before = resident("VmRSS")
    arm = Arm(model, count, kind, quantize=quantize)
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


def clock(model: str, count: int, tokens: int, rounds: int, *, quantize: bool) -> dict[str, list[float]]:
    arms = {kind: Arm(model, count, kind, quantize=quantize) for kind in _ARMS}
    paths = paths_of(arms["shared"].students[0], tokens)
    seconds: dict[str, list[float]] = {kind: [] for kind in arms}
    for turn in range(rounds + 1):
        losses: dict[str, list[float]] = {}
        for kind in sorted(arms, reverse=bool(turn % 2)):
            begun = time.process_time()
            losses[kind] = arms[kind].step(paths)
            if turn:  # the first is a warm-up
                seconds[kind].append(time.process_time() - begun)
        assert losses["shared"] == losses["separate"], losses
        assert all(math.isclose(*pair, rel_tol=1e-3) for pair in zip(losses["mixed"], losses["shared"], strict=True))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("model", help="folder or hub id")
    parser.add_argument("--students", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--quantize", action="store_true", help="the base in four bits (NF4)")
    parser.add_argument("--memory", choices=_ARMS, help="one arm's memory alone, as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if given.memory:
        found = memory(given.model, given.students[0], given.tokens[0], given.memory, quantize=given.quantize)
        print(json.dumps(found))
        return
    print("students  tokens  base      loaded MB  peak MB  CPU s a step  to separate")
    for count, tokens in itertools.product(given.students, given.tokens):
        seconds = clock(given.model, count, tokens, given.rounds, quantize=given.quantize)
        for kind in _ARMS:
            command = [sys.executable, __file__, given.model, "--students", str(count), "--memory", kind]
            command += ["--tokens", str(tokens), *(["--quantize"] if given.quantize else [])]
            took = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            pairs = zip(seconds[kind], seconds["separate"], strict=True)
            ratio = statistics.median(own / other for own, other in pairs)
            print(
                f"{count:8}  {tokens:6}  {kind:8} {took['loaded']:10.0f} {took['peak']:8.0f} "
                f"{statistics.median(seconds[kind]):13.2f} {ratio:12.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
