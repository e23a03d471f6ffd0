"""Runs in the sandboxed child: closes every door, then executes the program that came on stdin.

Started by `sandbox.run_program` as a script of its own (`python -I -S -B`), never imported by the
library. What holds an attacker is the kernel: rlimits and a seccomp filter that allows nothing but
computing and writing to the two pipes that are already open. The audit hook and the list of
importable modules stand in front of it and give a refusal a readable reason.
"""

from __future__ import annotations

import builtins
import ctypes
import io
import json
import platform
import resource
import struct
import sys
import time

MODULES = (
    "abc",
    "bisect",
    "calendar",
    "cmath",
    "collections",
    "collections.abc",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "json",
    "math",
    "numbers",
    "operator",
    "random",
    "re",
    "statistics",
    "string",
    "time",
    "typing",
    "__future__",
)

# System calls that a computing Python needs, by machine: read, write, close, fstat, lseek, mmap,
# mprotect, munmap, brk, rt_sigaction, rt_sigprocmask, rt_sigreturn, mremap, madvise, getpid, exit,
# gettimeofday, sigaltstack, futex, sched_yield, clock_gettime, clock_nanosleep, exit_group, getrandom
ALLOWED_CALLS = {
    "x86_64": (
        0xC000003E,
        (0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 25, 28, 39, 60, 96, 131, 202, 24, 228, 230, 231, 318),
    ),
    "aarch64": (
        0xC00000B7,
        (
            63,
            64,
            57,
            80,
            62,
            222,
            226,
            215,
            214,
            134,
            135,
            139,
            216,
            233,
            172,
            93,
            169,
            132,
            98,
            124,
            113,
            115,
            94,
            278,
        ),
    ),
}
HARMLESS_EVENTS = {
    "compile",
    "exec",
    "import",
    "builtins.id",
    "object.__getattr__",
    "object.__setattr__",
    "object.__delattr__",
    "array.__new__",
    "sys._getframe",
    "sys._getframemodulename",
    "sys.unraisablehook",
    "time.sleep",
}
SLEEP_SECONDS = 1  # in all
REFUSED_STATUS = 77  # the program asked for something that the sandbox does not give


class Refused(Exception):
    """What an audit hook raises: says what was asked for."""


def limit_resources(cpu_seconds: int, memory_bytes: int) -> None:
    """Caps CPU time, address space, files (none can be written), processes and core dumps."""
    limits = {
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))


def filter_system_calls() -> bool:
    """Installs the seccomp filter; False where this machine has none (it cannot be lifted again).

    Every call that is not on the list fails with EPERM, so no file, socket or process can be had,
    whatever the program does inside the interpreter.
    """
    known = ALLOWED_CALLS.get(platform.machine())
    if known is None or not sys.platform.startswith("linux"):
        return False
    architecture, calls = known
    load, jump_equal, jump_greater, give = 0x20, 0x15, 0x35, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050001, 0x80000000
    program = [
        (load, 0, 0, 4),
        (jump_equal, 1, 0, architecture),
        (give, 0, 0, kill),
        (load, 0, 0, 0),
        (jump_greater, 0, 1, 0x40000000),  # x32 calls have numbers of their own
        (give, 0, 0, kill),
    ]
    for call in calls:
        program += [(jump_equal, 0, 1, call), (give, 0, 0, allow)]
    program.append((give, 0, 0, refuse))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    no_new_privileges, set_seccomp, mode_filter = 38, 22, 2
    if prctl(no_new_privileges, 1, 0, 0, 0) != 0:
        return False
    return prctl(set_seccomp, mode_filter, ctypes.addressof(header), 0, 0) == 0


def guard_interpreter() -> None:
    """Refuses whatever the interpreter announces and is not plain computing."""

    def hook(event: str, _arguments: object) -> None:
        if event not in HARMLESS_EVENTS:
            raise Refused(event)

    sys.addaudithook(hook)


def restricted_import() -> None:
    """Lets a program import what was loaded before the doors closed, and nothing else."""
    loaded = {name: __import__(name, fromlist=["_"]) for name in MODULES}
    whole = builtins.__import__

    def load(name: str, *arguments: object, **options: object) -> object:
        if name not in loaded:
            raise Refused(f"import of {name!r}")
        return whole(name, *arguments, **options)  # type: ignore[arg-type]

    for name in list(sys.modules):
        if name.partition(".")[0] in ("ctypes", "_ctypes", "resource", "subprocess", "socket", "importlib"):
            del sys.modules[name]
    builtins.__import__ = load  # type: ignore[assignment]


def limit_sleep() -> None:
    """A program that only waits is refused at once rather than ended when its wall time is over."""
    whole, slept = time.sleep, 0.0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += max(0.0, seconds)
        if slept > SLEEP_SECONDS:
            raise Refused(f"time.sleep for more than {SLEEP_SECONDS} s")
        whole(seconds)

    time.sleep = sleep


def main() -> None:
    orders = json.loads(sys.stdin.buffer.readline())
    code = sys.stdin.buffer.read().decode()
    sys.setrecursionlimit(2000)
    output, errors = sys.stdout, sys.stderr
    assert isinstance(output, io.TextIOWrapper)
    assert isinstance(errors, io.TextIOWrapper)
    output.reconfigure(encoding="utf-8", errors="replace")
    errors.reconfigure(encoding="utf-8", errors="replace")
    restricted_import()
    limit_sleep()
    limit_resources(orders["cpu_seconds"], orders["memory_bytes"])
    if not filter_system_calls():
        errors.write("Refused: no seccomp filter on this machine")
        errors.flush()
        _exit(REFUSED_STATUS)
    guard_interpreter()
    status = 0
    try:
        exec(compile(code, "<path>", "exec"), {"__name__": "__main__"})
    except SystemExit:
        pass
    except (Refused, PermissionError, MemoryError) as error:
        status = REFUSED_STATUS
        errors.write(f"{type(error).__name__}: {error}"[:500])
    except BaseException as error:
        status = 1
        errors.write(f"{type(error).__name__}: {error}"[:500])
    output.flush()
    errors.flush()
    # a program may have left finalizers behind: none of them runs
    _exit(status)


if __name__ == "__main__":
    from os import _exit

    main()
