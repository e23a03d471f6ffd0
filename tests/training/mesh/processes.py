"""Four processes that train in one world after the other, and note what they wrote and sent.

The worlds of a phase go on side by side.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from command import call, python

from qrdistill.base.progress import Silent


@dataclass
class Job:
    """One training by `size` processes. stop_after: steps after which all of them leave, saying nothing."""

    size: int
    folder: Path
    data: Any
    plan: Any
    stop_after: int | None = None
    rest: dict[str, Any] = field(default_factory=dict)


def train_in_phases(phases: Sequence[Sequence[Job]], place: Path) -> None:
    """Runs all jobs; raises AssertionError with what a process said where one failed."""
    plan = place / "phases.pickle"
    ports = [[_free_port() for _ in phase] for phase in phases]
    plan.write_bytes(pickle.dumps((phases, ports)))
    code = f"import processes, sys; sys.exit(processes.main({str(plan)!r}))"
    done = call(code, main=python, PYTHONPATH=str(Path(__file__).parent))
    assert done.returncode == 0, done.stdout + done.stderr


class Leaving(Silent):
    """Keeps what was said, and leaves after so many steps, where a kill could fall: before the checkpoint."""

    def __init__(self, steps: int | None) -> None:
        super().__init__()
        self.left, self.said, self.sent = steps, list[str](), list[int]()

    def log(self, message: str) -> None:
        self.said.append(message)

    def advance(self, steps: int = 1, **facts: object) -> None:
        self.sent.append(_written())
        if facts and self.left is not None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


def _written() -> int:
    """Bytes that this process has given to files and sockets, as the kernel counts them."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _one_process(number: int, phases: Sequence[Sequence[Job]], ports: Sequence[Sequence[int]]) -> None:
    from qrdistill.training.mesh.world import leave
    from qrdistill.training.train import train

    for phase, own_ports in zip(phases, ports, strict=True):
        first = 0
        for job, port in zip(phase, own_ports, strict=True):
            rank = number - first
            first += job.size
            if not 0 <= rank < job.size:
                continue
            os.environ |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(job.size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            progress = Leaving(job.stop_after)
            with suppress(KeyboardInterrupt):
                train(job.data, job.plan, job.folder, base_dir=Path("."), seed=0, progress=progress, **job.rest)
            (job.folder / f"sent-{rank}.txt").write_text("\n".join(map(str, progress.sent)))
            (job.folder / f"said-{rank}.txt").write_text("\n".join((*progress.said, *progress.warnings)))
            leave()


def main(plan: str) -> int:
    import qrdistill.training.mesh.many
    import qrdistill.training.train  # noqa: F401

    phases, ports = pickle.loads(Path(plan).read_bytes())
    children: list[int] = []
    for number in range(max(sum(job.size for job in phase) for phase in phases)):
        child = os.fork()
        if not child:
            code = 1
            try:
                _one_process(number, phases, ports)
                code = 0
            except BaseException:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)
        children.append(child)
    for _ in tuple(children):
        child, status = os.wait()
        children.remove(child) if status == 0 else None
        if status:
            for other in children:
                if other != child:
                    os.kill(other, signal.SIGKILL)
            return 1
    return 0
