"""What untrusted code gets: attempts to escape, each against the real kernel."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from qrdistill.verdicts.checks import confine, sandbox
from qrdistill.verdicts.checks.sandbox import Execution, run_program, run_programs

pytestmark = pytest.mark.usefixtures("seccomp")

# reaches the real `os` functions without importing anything
OS = (
    "wrap = [c for c in ().__class__.__base__.__subclasses__() if c.__name__ == '_wrap_close'][0]\n"
    "os = wrap.__init__.__globals__\n"
)


# waits for ever, and no call says so
WAIT = OS + "lock = os['sys'].modules['_thread'].allocate_lock()\nlock.acquire()\nlock.acquire()\n"


def test_ordinary_programs_run() -> None:
    code = """
        import math, statistics, re, datetime
        from fractions import Fraction
        from dataclasses import dataclass
        from collections import Counter

        @dataclass
        class Box:
            apples: int

        print(math.comb(5, 2), statistics.mean([1, 2]), Fraction(1, 3), Box(3).apples)
        print(datetime.date(2024, 2, 28) + datetime.timedelta(days=1), Counter("aab")["a"])
        print(re.sub("x", "é", "x"))
    """
    assert run_program(textwrap.dedent(code)) == Execution("finished", "10 1.5 1/3 3\n2024-02-29 2\né\n")


@pytest.mark.parametrize(
    "code",
    [
        "print(open('/etc/passwd').read())",
        "open('note', 'w').write('x')",
        "import os; os.system('id')",
        "import subprocess; subprocess.run(['id'])",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import ctypes; ctypes.CDLL(None).system(b'id')",
        "import importlib; importlib.import_module('os')",
        "import sys; sys.modules['os']",
        "__import__('posix').system('id')",
        "print(input())",
        OS + "os['system']('id')",
        OS + "print(os['read'](os['open']('/etc/passwd', 0), 100))",
        OS + "while True: os['fork']()",
        OS + "os['kill'](os['getppid'](), 9)",
        OS + "os['stat']('/etc/passwd')",  # raises no audit event: the kernel refuses it
        OS + "os['pipe']()",
        OS + "os['getcwd']()",
        OS + "os['execv']('/bin/sh', ['sh'])",
    ],
)
def test_doors_are_closed(code: str) -> None:
    execution = run_program(code)
    assert execution.ending == "refused", execution
    assert "root:" not in execution.output


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("while True: pass", "time"),
        ("import time; time.sleep(60)", "refused"),
        ("import time\nwhile True: time.sleep(0.3)", "refused"),
        ("import time; time.sleep(0.1)", "finished"),
        (WAIT, "time"),
        ("print(10 ** 10 ** 8)", "time"),
        ("x = [0] * 10 ** 10", "memory"),
        ("x = []\nwhile True: x.append('a' * 10 ** 6)", "memory"),
        ("while True: print('x' * 1000)", "output"),
        ("def f(): f()\nf()", "failed"),
        ("print(1 / 0)", "failed"),
        ("print(", "failed"),
        ("raise SystemExit(3)", "finished"),
    ],
)
def test_limits(code: str, ending: str) -> None:
    started = time.monotonic()
    wall_seconds = 1.5 if code == WAIT else 60  # a busy machine must not turn a failure into a time-out
    assert run_program(code, cpu_seconds=1, wall_seconds=wall_seconds).ending == ending
    assert time.monotonic() - started < 60  # without a limit it would take forever


def test_failures_name_the_exception() -> None:
    assert run_program("print(1 / 0)").detail == "ZeroDivisionError: division by zero"


def test_leaving_at_once_prints_nothing() -> None:
    assert run_program(OS + "print(7)\nos['_exit'](0)") == Execution("finished", "")


def test_a_program_cannot_read_its_own_orders_or_the_environment() -> None:
    assert run_program(OS + "print(dict(os['environ']))").output in ("{}\n", "{'LC_CTYPE': 'C.UTF-8'}\n")


def test_the_kernel_filter_holds_alone(tmp_path: Path) -> None:
    """Without audit hook and import list, after every Python-level guard is gone."""
    script = f"""
        import os, socket, subprocess, sys
        sys.path.insert(0, {str(Path(confine.__file__).parent)!r})
        import confine
        assert confine.filter_system_calls()
        attempts = dict(
            read=lambda: os.open('/etc/passwd', os.O_RDONLY),
            write=lambda: os.open({str(tmp_path / "x")!r}, os.O_WRONLY | os.O_CREAT),
            list=lambda: os.listdir('/'),
            socket=lambda: socket.socket(),
            fork=lambda: os.fork(),
            spawn=lambda: os.posix_spawn('/bin/true', ['true'], {{}}),
            kill=lambda: os.kill(os.getpid(), 0),
            unlink=lambda: os.unlink({str(tmp_path / "keep")!r}),
            thread=lambda: __import__('_thread').start_new_thread(print, ()),
        )
        for name, attempt in attempts.items():
            try:
                attempt()
            except (PermissionError, RuntimeError) as error:
                print(name, 'refused')
            else:
                print(name, 'ESCAPED')
    """
    (tmp_path / "keep").write_text("still here")
    done = subprocess.run(
        [sys.executable, "-S", "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    lines = done.stdout.split("\n")[:-1]
    assert len(lines) == 9, done
    assert all(line.endswith("refused") for line in lines), lines
    assert [file.name for file in tmp_path.iterdir()] == ["keep"]


def test_programs_that_wait_do_so_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost a place each, and there are several places per core."""
    together = threading.Barrier(4 * (os.cpu_count() or 1))

    def wait(code: str, **_: object) -> Execution:
        together.wait(timeout=60)
        return Execution("time", code)

    monkeypatch.setattr(sandbox, "run_program", wait)
    codes = [str(number) for number in range(together.parties)]
    assert [execution.output for execution in run_programs(codes)] == codes


def test_ctrl_c_ends_the_programs_that_run_and_starts_no_other() -> None:
    begun: list[int] = []
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt() -> None:
        while not (found := children()):
            time.sleep(0.01)
        begun.extend(found)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_programs([WAIT] * 200)  # hours, if each were waited for
    finally:
        signal.signal(signal.SIGINT, inherited)
    watcher.join()
    assert begun
    # an interrupt in the start of a thread: nobody waits for its program, which hears of it all the same
    deadline = time.monotonic() + 30
    while children():
        assert time.monotonic() < deadline, "a program runs on"
        time.sleep(0.05)


def children() -> list[int]:
    """Processes that run a confined program for this one."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if b"confine.py" in command and int(parent) == os.getpid():
                found.append(int(folder.name))
    return found
