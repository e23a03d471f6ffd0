"""Runs a program that nobody trusts, and returns what it printed.

The child process has no network, no file system and no way to start another process: a seccomp
filter (Linux on x86-64 and arm64) leaves it only the system calls that computing needs, rlimits
bound CPU time and address space, the parent bounds wall time and output. See `confine` for what
runs inside. Where there is no seccomp nothing is run: Python alone cannot hold a determined program.
"""

from __future__ import annotations

import functools
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qrdistill.base.threads import cores

CPU_SECONDS = 2
WALL_SECONDS = 20.0  # for programs that sleep; generous, so that a busy machine changes no outcome
MEMORY_BYTES = 256 << 20
OUTPUT_BYTES = 64 << 10
REFUSED_STATUS = 77  # as in `confine`
# a program that waits takes a place and no processor: with several places per core it holds up nobody else, and a
# core's programs still end long before WALL_SECONDS when all of them compute for CPU_SECONDS
_PLACES_PER_CORE = 4
_GLANCE = 0.1  # seconds between two looks at whether running is to stop

Ending = Literal["finished", "failed", "refused", "time", "memory", "output"]


@dataclass(frozen=True)
class Execution:
    """How a program ended: `finished` is the only ending whose `output` says what it computes.

    `failed`: an exception of its own, named in `detail`. `refused`: it asked for a file, a socket, a
    process or a module that the sandbox does not give.
    """

    ending: Ending
    output: str = ""
    detail: str = ""


def run_program(
    code: str,
    *,
    cpu_seconds: int = CPU_SECONDS,
    wall_seconds: float = WALL_SECONDS,
    memory_bytes: int = MEMORY_BYTES,
    stop: threading.Event | None = None,
) -> Execution:
    """Executes Python source and returns what it printed; `stop`, once set, ends it like the wall time does.

    >>> run_program("print(3 + 4)").output
    '7\\n'
    """
    orders = {"cpu_seconds": cpu_seconds, "memory_bytes": memory_bytes}
    script = str(Path(__file__).with_name("confine.py"))
    with tempfile.TemporaryDirectory(prefix="qrdistill-") as empty:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=empty,
            env={},
            start_new_session=True,
            close_fds=True,
        )
        with process:
            try:
                payload = json.dumps(orders).encode() + b"\n" + code.encode(errors="replace")
                output, errors, stopped = _talk(process, payload, wall_seconds, stop or threading.Event())
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
    return _ending(process.returncode, output, errors, stopped)


def _talk(
    process: subprocess.Popen[bytes], payload: bytes, wall_seconds: float, stop: threading.Event
) -> tuple[bytes, bytes, Ending | None]:
    """Feeds the child and collects its output, both bounded; the ending is None where it ended itself."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + wall_seconds
    collected = {process.stdout: bytearray(), process.stderr: bytearray()}
    ending: Ending | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdin, selectors.EVENT_WRITE)
        for stream in collected:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and ending is None:
            ready = selector.select(min(_GLANCE, max(0.0, deadline - time.monotonic())))
            if time.monotonic() >= deadline or stop.is_set():
                ending = "time"
            for key, _ in ready:
                stream = key.fileobj
                if stream is process.stdin:
                    try:
                        payload = payload[os.write(key.fd, payload[:4096]) :]
                    except BrokenPipeError:
                        payload = b""
                    if not payload:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                block = os.read(key.fd, 1 << 16)
                collected[stream] += block  # pyright: ignore[reportArgumentType]
                if not block:
                    selector.unregister(stream)
                elif len(collected[stream]) > OUTPUT_BYTES:  # pyright: ignore[reportArgumentType]
                    ending = "output"
    if ending is None:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:  # it closed its pipes and went on
            ending = "time"
    return bytes(collected[process.stdout]), bytes(collected[process.stderr]), ending


def _ending(status: int, output: bytes, errors: bytes, stopped: Ending | None) -> Execution:
    text = output.decode(errors="replace")
    detail = errors.decode(errors="replace").strip()[-500:]
    if stopped == "time" or (stopped is None and status in (-signal.SIGXCPU, -signal.SIGKILL)):
        return Execution("time", text, "out of time")
    if stopped == "output":
        return Execution("output", text[:200], f"more than {OUTPUT_BYTES} bytes of output")
    if detail.startswith("MemoryError"):
        return Execution("memory", text, "out of memory")
    if status == REFUSED_STATUS:
        return Execution("refused", text, detail)
    if status != 0:
        return Execution("failed", text, detail or f"ended with status {status}")
    return Execution("finished", text)


def run_programs(codes: Sequence[str]) -> list[Execution]:
    """Runs several, some side by side, in order. Ctrl-C ends those that run and starts no other."""
    stop = threading.Event()
    pool = ThreadPoolExecutor(_PLACES_PER_CORE * cores())
    try:
        return list(pool.map(lambda code: run_program(code, stop=stop), codes))
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


@functools.cache
def available() -> bool:
    """Whether this machine can hold a program: tried out, not guessed."""
    return sys.platform == "linux" and run_program("print(3 + 4)") == Execution("finished", "7\n")
