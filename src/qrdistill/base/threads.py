"""How many threads the mathematics uses, and how idle ones wait: settled before torch is imported, in every entry point.

OpenMP's idle threads spin by default. Beside one other busy process two threads then take 5 to 20 times as long as
one: each waits, spinning, for a partner that has no core (docs/performance.md has the figures). A passive wait costs
nothing that can be measured where cores are free.
"""

from __future__ import annotations

import os
from pathlib import Path

_CONTAINER_LIMIT = Path("/sys/fs/cgroup/cpu.max")
_MOST_THREADS = 16
"""Beyond this many threads the matrices of students that train on a CPU are too small to share out."""


def cores() -> int:
    """The cores that this process may use: its affinity, and a container's share of the machine."""
    allowed = _allowed()
    try:
        quota, period = _CONTAINER_LIMIT.read_text().split()
        return min(allowed, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return allowed


def _allowed() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_thread_defaults() -> None:
    """Lets idle threads sleep and bounds their number, where the user's environment does not say otherwise."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # the same for Intel's runtime
    sane = min(cores(), _MOST_THREADS)
    if sane < _allowed():  # torch counts the machine's cores, not a container's share of them
        os.environ.setdefault("OMP_NUM_THREADS", str(sane))


def threads_per_worker(workers: int) -> int:
    """Threads for each of `workers` processes: together they never exceed the cores, nor each OMP_NUM_THREADS."""
    share = max(1, cores() // max(1, workers))
    try:
        return max(1, min(share, int(os.environ["OMP_NUM_THREADS"].split(",")[0])))
    except (KeyError, ValueError):
        return share
