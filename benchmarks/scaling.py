"""Two processes beside one, and what processes send one another.

    python benchmarks/scaling.py                     both parts, some minutes on two cores
    python benchmarks/scaling.py --parts wire --steps 3

time: a training of two students, each in a process of its own with one thread (mesh 2 x 1), beside the same training in one
process with two threads. They take their steps in turn, so that both meet the same moods of the machine.

wire: bytes that each process gives to its TCP connections (the kernel's own count, Linux only), by the peer they go to and
by the meeting of the processes that they belong to, beside the bytes that `qrdistill plan` states. gloo, bfloat16 shards.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import statistics
import struct
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it: threads that wait their turn sleep

import tiny
import torch
from transformers import MistralForCausalLM  # noqa: F401  once, before the forks

from qrdistill.base.progress import Silent
from qrdistill.cost import cluster
from qrdistill.cost.shape import read_shape
from qrdistill.paths.styles import STYLES
from qrdistill.routing.config import RouterConfig
from qrdistill.students.config import StudentConfig
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.mesh.config import MeshConfig
from qrdistill.training.mesh.watch import Watch
from qrdistill.training.mesh.world import leave
from qrdistill.training.plan import TrainData, TrainPlan
from qrdistill.training.train import train

LAYOUTS = [(2, 1), (1, 2), (2, 2)]
SMALL = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4}
FORKING = get_context("fork")  # torch is imported once
_SENT = 200  # where the kernel's tcp_info has tcpi_bytes_sent (Linux 4.19 and later)


def students(work: Path, **shape: Any) -> list[StudentConfig]:
    for at in range(2):
        if not (work / f"s{at}").exists():
            tiny.make_student("mistral", work / f"s{at}", seed=at, **shape)
    return [StudentConfig(name=f"s{at}", model=str(work / f"s{at}")) for at in range(2)]


def run(work: Path, progress: Silent, steps: int, mesh: tuple[int, int], weight: float, autocast: Any) -> list[Any]:
    """A training; its metrics."""
    questions, paths, embeddings = tiny.pool(24)
    config = TrainConfig(
        steps=steps,
        paths_per_step=tiny.PATHS_PER_STEP,
        max_tokens_per_batch=1 << 20,
        autocast=autocast,
        device="cpu",
        mesh=MeshConfig(students=mesh[0], data=mesh[1]),
    )
    plan = TrainPlan(students(work), RouterConfig(warm="none"), MutualConfig(weight=weight), config)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        data = TrainData(questions, paths, STYLES, embeddings)
        train(data, plan, Path(folder), base_dir=work, seed=0, progress=progress)
        lines = Path(folder, "metrics.jsonl")
        return [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []


def in_processes(mesh: tuple[int, int], body: Callable[[int], None]) -> None:
    """Starts as many processes as the mesh has; `body(rank)` trains in each."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def one(rank: int) -> None:
        where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": mesh[0] * mesh[1], "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in where.items()} | {"MASTER_ADDR": "127.0.0.1"})
        torch.set_num_threads(1)
        body(rank)
        leave()

    for rank in range(mesh[0] * mesh[1]):
        FORKING.Process(target=one, args=(rank,)).start()


class Turns(Silent):
    """One arm's step, then the other's. `first`: it has the first turn."""

    def __init__(self, barrier: Any, first: bool, steps: int) -> None:
        super().__init__()
        self.barrier, self.first, self.left = barrier, first, steps
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def start(self, stage: str, total: int | None = None) -> None:
        if stage == "train" and not self.first:
            self.barrier.wait()
        self._since = time.perf_counter(), time.process_time()

    def advance(self, steps: int = 1, **facts: object) -> None:
        if not facts:
            return
        self.wall.append(time.perf_counter() - self._since[0])
        self.cpu.append(time.process_time() - self._since[1])
        self.left -= 1
        self.barrier.wait()
        if self.left or self.first:
            self.barrier.wait()
        self._since = time.perf_counter(), time.process_time()


def time_part(work: Path, steps: int) -> str:
    barrier, answers = FORKING.Barrier(3), FORKING.Queue()

    def train_in_turn(mesh: tuple[int, int]) -> None:
        torch.set_num_threads(2 // mesh[0])
        turns = Turns(barrier, mesh == (1, 1), steps)
        run(work, turns, steps, mesh, 0.0, "none")
        answers.put((mesh, turns.wall, turns.cpu))

    FORKING.Process(target=train_in_turn, args=((1, 1),)).start()
    in_processes((2, 1), lambda rank: train_in_turn((2, 1)))
    one, *two = sorted(answers.get(timeout=600) for _ in range(3))
    wall = [max(pair) / single for single, *pair in zip(one[1], *(each[1] for each in two), strict=True)][2:]
    cpu = sum(sum(each[2][2:]) for each in two) / sum(one[2][2:])
    return (
        f"a step of two processes over one of one process with two threads: {statistics.median(wall):.2f} of the wall time "
        f"(quartiles {' to '.join(f'{q:.2f}' for q in statistics.quantiles(wall)[::2])}), {cpu:.2f} of the CPU seconds; "
        f"{len(wall)} steps"
    )


def sent() -> Counter[tuple[int, int]]:
    """Bytes given to each TCP connection to another process, by own and peer's port; the store's are left out."""
    found: Counter[tuple[int, int]] = Counter()
    store = int(os.environ.get("MASTER_PORT", 0))
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as one:
                if one.type != socket.SOCK_STREAM or one.family not in (socket.AF_INET, socket.AF_INET6):
                    continue
                ports = one.getsockname()[1], one.getpeername()[1]
                if store not in ports:
                    info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    found[ports] = struct.unpack_from("Q", info, _SENT)[0]
    return found


class Wire(Silent):
    """Counts from the end of the first step to that of the last, by the meeting that this process is at."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.place, self.before, self.left, self.counting = "elsewhere", sent(), steps, False
        self.bytes: Counter[tuple[str, int, int]] = Counter()

    def mark(self) -> None:
        now = sent()
        if self.counting:
            for ports, total in now.items():
                if total > self.before[ports]:
                    self.bytes[self.place, *ports] += total - self.before[ports]
        self.before = now

    def advance(self, steps: int = 1, **facts: object) -> None:
        if facts:
            self.mark()
            self.left -= 1
            self.counting = self.left > 0

    def listen(self) -> None:
        at = Watch.at

        @contextmanager
        def heard(watch: Watch, what: str, **more: Any) -> Generator[None]:
            self.mark()
            before, self.place = self.place, what
            with at(watch, what, **more):
                yield
            self.mark()
            self.place = before

        Watch.at = heard


def wire(work: Path, mesh: tuple[int, int], steps: int, weight: float) -> str:
    answers = FORKING.Queue()

    def body(rank: int) -> None:
        counted = Wire(steps)
        counted.listen()
        metrics = run(work, counted, steps, mesh, weight, "bfloat16")
        answers.put((rank, dict(counted.bytes), [own for own, _ in counted.before], metrics))

    in_processes(mesh, body)
    found = sorted((answers.get(timeout=600) for _ in range(mesh[0] * mesh[1])), key=lambda each: each[0])
    owner = {port: rank for rank, _, ports, _ in found for port in ports}
    within: Counter[str] = Counter()
    across = within.copy()
    for rank, counted, _, _ in found:
        for (place, _, peer), count in counted.items():
            same = owner[peer] // mesh[1] == rank // mesh[1]
            (within if same else across)[place] += count
    share = len(found) * (steps - 1)
    name = f"({mesh[0]}, {mesh[1]}){', mutual' if weight else ''}"
    parts = "; ".join(f"{place} {count / share:,.0f}" for place, count in across.most_common())
    crossing = f"{sum(across.values()) / share:,.0f} ({parts})" if across else "0"
    stated = " | ".join(f"{count:,.0f}" for count in stated_bytes(work, mesh, found[0][3][1:], compared=weight > 0))
    return f"| {name} | {sum(within.values()) / share:,.0f} | {crossing} | {stated} |"


def stated_bytes(
    work: Path, mesh: tuple[int, int], metrics: list[Any], *, compared: bool
) -> tuple[float, float, float]:
    """What `plan` says that a process sends in a step: within its column by gloo and by NCCL, and between columns."""
    column = tuple(s * mesh[0] // 2 for s in range(2))
    gloo, nccl, across = 0.0, 0.0, 0.0
    for student in students(work):
        tokens = statistics.mean(line["tokens"][student.name] for line in metrics)
        settings = cluster.Settings(1 << 20, [tokens, tokens], 0.5, 256, tiny.PATHS_PER_STEP, False, compared=compared)
        shape = read_shape(student, work)
        assert shape is not None
        whole, alone = (cluster.Layout(mesh[0], data, column) for data in (mesh[1], 1))
        across = cluster.wire_bytes(shape, alone, settings, tokens, 2)
        gloo += (cluster.wire_bytes(shape, whole, settings, tokens, 2, backend="gloo") - across) / mesh[0]
        nccl += (cluster.wire_bytes(shape, whole, settings, tokens, 2) - across) / mesh[0]
    return (gloo, nccl, across) if mesh[1] > 1 else (0, 0, across)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", default="time,wire")
    parser.add_argument("--mutual", default="0,0.1", help="weights of mutual distillation in the part wire")
    parser.add_argument("--steps", type=int, default=12, help="of the part time; wire takes a third")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for part in options.parts.split(","):
        with tempfile.TemporaryDirectory() as place:
            make = FORKING.Process(target=students, args=(Path(place),), kwargs=SMALL if part == "wire" else {})
            make.start()  # in a process of its own: threads do not outlive a fork
            make.join()
            if part == "time":
                print(time_part(Path(place), options.steps), flush=True)
                continue
            print(
                "| bytes a step and process | within a column | plan | between columns | plan |\n" + "| --- " * 5 + "|"
            )
            for weight, mesh in itertools.product(map(float, options.mutual.split(",")), LAYOUTS):
                print(wire(Path(place), mesh, max(2, options.steps // 3), weight), flush=True)


if __name__ == "__main__":
    main()
