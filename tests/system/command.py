"""The command, or a function, in a process of its own, forked from one that has imported what commands import.

A new interpreter imports torch and transformers for seconds before the command begins; a fork of a process that has
imported them, and done nothing else, begins at once. All else is as a shell has it: exit codes, signals, streams, limits.
"""

from __future__ import annotations

import atexit
import os
import resource
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import TextIOWrapper
from multiprocessing import get_context
from multiprocessing.reduction import DupFd
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

FORKING = get_context("forkserver")
FORKING.set_forkserver_preload(
    [
        "openai",
        "pandas",
        "sklearn.feature_extraction.text",
        "qrdistill.cli",
        "qrdistill.compute.ray_workers",
        "qrdistill.runs.apart.together",
        "qrdistill.runs.outlook.ahead",
        "qrdistill.runs.work",
        "qrdistill.training.train",
        "transformers.models.gemma3.modeling_gemma3",
        "transformers.models.mistral.modeling_mistral",
    ]
)

Main = Callable[[list[str]], object]


def command(words: list[str]) -> int:
    """What the installed script does."""
    from qrdistill.cli import main

    sys.argv = ["qrdistill", *words]
    main()
    return 0


def python(words: list[str]) -> int:
    """What `python -c CODE` does."""
    exec(words[0], {"__name__": "__main__"})
    return 0


def script(words: list[str]) -> int:
    """What `python FILE ...` does."""
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
    return 0


class Command:
    """`qrdistill WORDS` that was started; `errors`: open for reading, or None where they are kept for `said`."""

    def __init__(
        self,
        *words: object,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        listen: bool = False,
        limit: int = resource.RLIM_INFINITY,
        main: Main = command,
        typed: str = "",
    ) -> None:
        """environment: beside this process's own; listen: to standard error line by line; limit: bytes a file may have.

        main: what runs with the words, by default the command; it has to stand in a module that can be imported.
        What it returns is the exit code. typed: what standard input holds.
        """
        self._files = [TemporaryFile("w+") for _ in ("out", "err")]  # noqa: SIM115  closed in `said`
        self.errors: TextIOWrapper[Any] | None = None
        given = TemporaryFile("w+")  # noqa: SIM115  closed below
        given.write(typed)
        given.seek(0)
        streams = [file.fileno() for file in (given, *self._files)]
        if listen:
            ours, streams[2] = os.pipe()
            self.errors = os.fdopen(ours)
        own = {"OMP_NUM_THREADS": "1", **os.environ, **(environment or {})}
        self._process = FORKING.Process(
            target=_become,
            args=(main, [*map(str, words)], str(cwd or "."), own, [DupFd(stream) for stream in streams], limit),
        )
        self._process.start()
        given.close()
        if listen:
            os.close(streams[2])
        self.pid: int = self._process.pid or 0

    def wait(self, timeout: float = 300) -> int:
        """The exit code; minus the signal's number where a signal ended it. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("qrdistill", timeout)
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def said(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Waits; its exit code and both streams."""
        code = self.wait(timeout)
        texts: list[str] = []
        for file in self._files:
            file.seek(0)
            texts.append(file.read())
            file.close()
        return subprocess.CompletedProcess("qrdistill", code, *texts)

    def kill_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def __del__(self) -> None:
        for file in (*self._files, self.errors):  # of who asked for the exit code alone
            if file is not None:
                file.close()


def call(
    *words: object,
    cwd: Path | None = None,
    limit: int = resource.RLIM_INFINITY,
    main: Main = command,
    typed: str = "",
    **environment: str,
) -> Any:
    """Runs the command, or another `main`, to its end: `returncode`, `stdout`, `stderr`."""
    return Command(*words, cwd=cwd, limit=limit, main=main, typed=typed, environment=environment).said()


def _become(
    main: Main, words: list[str], cwd: str, environment: dict[str, str], streams: list[Any], limit: int
) -> None:
    """In the new process: what a shell would set up, then `main`, then an interpreter's end."""
    os.setsid()
    signal.pthread_sigmask(
        signal.SIG_UNBLOCK, {signal.SIGINT}
    )  # a study of this test process may have begun the forking
    for number, stream in enumerate(streams):
        descriptor = stream.detach()
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  multiprocessing has put an empty one there
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place not in sys.path]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.modules.pop("__mp_main__", None)

    code: object = 0
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)
