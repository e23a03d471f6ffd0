"""A process that runs a grid's runs one after another, forked from one that has imported torch for all of them.

Through its channel a run comes as (run directory, last stage, whether to stop before the first stage that asks nobody),
and None ends it; progress and outcomes go back as dictionaries. Where the parent dies, the channel closes, and so do
we at once.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from qrdistill.base.errors import QRDistillError
from qrdistill.base.stop_signals import interruptible
from qrdistill.base.untrusted.redact import redact
from qrdistill.runs.pipeline import Part, run

_FORKS = sys.platform == "linux"  # elsewhere a process that has loaded torch cannot be forked safely
PRELOADED = ["qrdistill.studies.grid.worker", "qrdistill.training.train", "transformers.modeling_utils"]
_one_at_a_time = threading.Lock()  # multiprocessing reads an exit code once, whichever thread asks


class Worker:
    """A worker that was started, with as many threads of mathematics as told.

    light: it begins at once, without torch, while the others wait for torch to be imported.
    """

    forked = not _FORKS  # whether one was, and torch is there for the next, or none ever will be

    def __init__(self, threads: int, *, light: bool = False) -> None:
        forks = _FORKS and not light
        context: Any = get_context("forkserver" if forks else "spawn")
        if forks:
            context.set_forkserver_preload(PRELOADED)
            Worker.forked = True
        self.channel, theirs = context.Pipe()
        # the process that forks has the environment of its own start
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        self.process = context.Process(target=_serve, args=(theirs, threads, environment), name="grid worker")
        with _one_at_a_time:
            # Ctrl-C reaches the whole process group, also what imports torch for seconds: what starts now inherits the block
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self.process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def ended(self) -> int | None:
        """Its exit code, minus the signal's number where one ended it; None while it lives."""
        with _one_at_a_time:
            return self.process.exitcode

    def quit(self) -> int:
        """Waits for it, dead or asked to quit; its exit code."""
        with suppress(OSError):
            self.channel.send(None)
        self.channel.close()
        wait([self.process.sentinel])
        with _one_at_a_time:
            self.process.join()  # a spawned one's sentinel is there a moment before its exit code
        code = self.ended()
        assert code is not None
        return code


def _serve(channel: Connection, threads: int, environment: dict[str, str]) -> None:
    """What the process does, from its first line on."""
    # Ctrl-C reaches the whole process group: the parent decides, and ends us with SIGTERM
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what a library prints is not for the terminal
        os.dup2(nowhere, stream)
    os.environ.clear()
    os.environ.update(environment)
    if "torch" in sys.modules:  # it has read its variable already
        sys.modules["torch"].set_num_threads(threads)
    jobs: queue.Queue[tuple[str, str, bool] | None] = queue.Queue()
    threading.Thread(target=_listen, args=(channel, jobs), daemon=True).start()
    try:
        with interruptible():
            sys.exit(_work(channel, jobs))
    except KeyboardInterrupt:
        sys.exit(130)


def _work(channel: Connection, jobs: queue.Queue[tuple[str, str, bool] | None]) -> int:
    while (job := jobs.get()) is not None:
        folder, until, asks_only = job
        code, message = 0, ""
        try:
            run(
                Path(folder) / "config.yaml",
                folder,
                until=until,
                share=Path(folder).parent,
                progress=_Sent(channel),
                part=Part(lambda stage: stage.asks) if asks_only else None,
            )
        except QRDistillError as error:
            code, message = error.exit_code, redact(str(error))
        except Exception as error:  # a defect of ours must not take the other runs along
            code, message = 1, redact(f"{type(error).__name__}: {error}")
        channel.send({"event": "finished", "code": code, "message": message})
        if code == 130:
            return code
    return 0


def _listen(channel: Connection, jobs: queue.Queue[tuple[str, str, bool] | None]) -> None:
    with suppress(OSError, EOFError):
        while (job := channel.recv()) is not None:
            jobs.put(job)
        jobs.put(None)
        return
    os._exit(1)


class _Sent:
    """A progress whose events go to the process that shows several runs at once."""

    def __init__(self, channel: Connection) -> None:
        self._channel, self._lock = channel, threading.Lock()

    def _say(self, event: str, **fields: object) -> None:
        with self._lock:
            self._channel.send({"event": event, **fields})

    def start(self, stage: str, total: int | None = None) -> None:
        self._say("start", stage=stage)

    def advance(self, steps: int = 1, **facts: object) -> None:
        self._say("advance")

    def done(self, **facts: object) -> None:
        self._say("done", facts={name: str(fact) for name, fact in facts.items()})

    def log(self, message: str) -> None: ...

    def warn(self, message: str) -> None:
        self._say("warn", message=message)
